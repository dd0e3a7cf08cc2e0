"""The way of a plan. Read this file first.

:meth:`Pipeline._process` is the whole of Handrail in one function: nine numbered steps, each in the file of its name
under ``gateway/stages``. Every ingress ends here and nothing reaches a hand by another road.

A plan is taken forward by one task. It judges every step whose inputs are known in one policy evaluation, records the
decisions together with the intent, dispatches, and goes round again when a step ends or a person answers. When all
that is left waits for people, the task ends and nothing is kept in memory: the rows and the log are the state, and an
answer (or a restart) picks the plan up from there.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from gateway import data_subjects
from gateway.commitments import commit
from gateway.errors import HandrailError, Mistaken, Refused, Unavailable
from gateway.model import Effect, Plan, PlanStatus, Principal, StepStatus, UnverifiedPlan
from gateway.plans.live import Live, NotNeeded, ToRedact
from gateway.plans.under_way import Plans
from gateway.reasons import Reason
from gateway.stages import (
    approval,
    attempts,
    credential,
    dispatch,
    drafts,
    ingress,
    offer,
    policy,
    refused,
    release,
    result,
    schema,
    standing,
    verify,
)
from gateway.state import PlanState, StepState

JUDGED_AGAIN_MAX: Final = 16
"""How often one round is judged again because another gateway wrote about its context or principal meanwhile."""

_log = structlog.get_logger("handrail.pipeline")


@dataclass(slots=True)
class Pipeline(Plans):
    """Takes plans forward. Built once by ``gateway.app``."""

    async def _process(self, live: Live, source: UnverifiedPlan | PlanState) -> None:
        """Take a plan as far as it can go: from bytes, or from where its record left it."""
        stage = self.tracer.stage
        if isinstance(source, UnverifiedPlan):
            # 1 ingress: size, type and time were bounded and the caller authenticated before this task began.
            with stage("1 ingress"):
                ingress.admit(source, body_max_bytes=self.settings.server.body_max_bytes)

            # 2 verify: JWS, issuer key valid at iat and not revoked, type, audience, freshness, subject. That the plan
            #   is no replay, and that the context is the caller's, the database itself decides with the first record.
            with stage("2 verify"):
                claimed = verify.claimed_issuer(source, self.jws)
                named = await self.directory.issuer(claimed.issuer, source.caller.tenant)
                issuer = verify.speaking(named, claimed)
                subjects = {name: await self._principal(issuer.tenant, name) for name in issuer.speaks_for}
                verified = verify.verify(
                    source,
                    claimed,
                    issuer,
                    self.jws,
                    audience=self.log.origin,
                    limits=self.settings.plans,
                    principals=subjects.get,
                )

            # 3 schema, of the plan: its envelope and its graph.
            plan = self._begin(live, schema.admit(verified, steps_max=self.settings.plans.steps_max))
        else:
            plan = source
        context_id = plan.plan.context_id
        now = plan.plan.received_at if plan.log_index is None else self.clock()
        running: set[asyncio.Task[None]] = set()
        retrying = attempts.Attempts(
            self.log,
            self.freezes,
            self.directory,
            self.hands,
            self.engine,
            self.credentials,
            self.settings.keys.token_lifetime_seconds,
            self.clock,
        )
        again = 0

        async def execute(state: StepState) -> None:
            ending = state.begin_ending()
            # 7 dispatch: the exact call that was decided, approved and recorded; again only on record, and ended by a
            #   freeze.
            began = time.perf_counter()
            with stage("7 dispatch", context_id), self.metrics.step_seconds.labels(state.step.hand).time():
                halts = self.freezes.halts
                await dispatch.dispatch(plan, ending, self.cached, retrying, halts, self.conversations, live.relay)
            seconds = time.perf_counter() - began

            # 8 result: schema, size, redaction, personal data.
            with stage("8 result", context_id):
                await result.settle(plan, ending, self.hands, self.scanner)

            # 9 record: outcome and receipt. Nobody sees a result, and nothing follows from it, before it is on record.
            with stage("9 record", context_id):
                await self._record_outcome(plan, state, ending)
            self.objectives.measure(plan, state, seconds)
            the = plan.plan.plan_id
            good = state.status is StepStatus.SUCCEEDED
            self.cached.ended(the, state.step.id, state.receipt_id(the), good=good)

        while True:
            live.wake.clear()
            before = plan.snapshot()
            frozen = await self.freezes.current()
            fallen = await standing.fallen(plan, self.directory, self.hands, frozen, self.clock())
            since = self.clock() - self.settings.plans.approval_ttl_seconds
            fallen += await refused.fallen(plan, self.store, self.load, since)
            outdated = standing.outdated(plan, self.hands, self.engine)
            judged = plan.undecided()

            # 3 schema, of each step: references resolved, args against the pinned manifest.
            with stage("3 schema", context_id):
                schema.check_steps(plan, judged, self.hands, args_max_bytes=self.settings.policy.input_max_bytes)

            # 4 policy: one evaluation for all steps whose inputs are known.
            with stage("4 policy", context_id):
                sound = [state for state in judged if not state.status.final]
                await policy.decide(
                    plan, sound, self.engine, self.contexts, self.settings.policy, now, scanner=self.scanner
                )
                self._unless_to_redact(live, plan, judged)
            if policy.put_off(plan, outdated):
                # What waits for people goes on waiting: nothing of this round counts, and it is tried again soon.
                plan = self._anew(live, plan, drafts.Round(judged, fallen=fallen, frozen=frozen), before)
                live.recorded.set()
                if not running:
                    return
                live.running = running = await _next_change(running, live.wake)
                now = self.clock()
                continue

            # 5 approval: `ask` holds a step until the quorum answered for this exact call. A request that waits already
            #   stays open where the policy changed and asks the same. What a person refused of late is not asked again.
            with stage("5 approval", context_id):
                await self._unless_another(live, plan, judged)
                await refused.deny(plan, judged, self.store, self.load, since)
                requests = approval.hold(judged, self.settings.plans, self.clock())
                rebound = approval.rebind(plan, requests, outdated)
                voided = {name: question for name, question in outdated.items() if name not in rebound}
                if requests:
                    most = self.settings.server.approvals_max_open_per_principal
                    caller = plan.plan.caller
                    instead = min(len(requests), len(voided))
                    live.opening = await self.caps.reserve(caller, len(requests) - instead, most)
                    approval.fit(plan, requests, instead + live.opening, most)

            # 6 credential: one per step that may go now, good for that call alone; and which secrets go with it.
            with stage("6 credential", context_id):
                fallen += await offer.unfit(plan, self.offers, self.settings.hands)
                orphans = plan.skip_orphans()
                launched = [state for state in plan if plan.ready(state)]
                credential.mint(
                    plan,
                    launched,
                    self.credentials,
                    ttl_max_seconds=self.settings.keys.token_lifetime_seconds,
                    now=self.clock(),
                )
                await credential.name_secrets(plan, launched, self.hands)

            # record: decisions and intent, durable before anything runs, and for every denial.
            with stage("6 record", context_id):
                this = drafts.Round(judged, requests, orphans, fallen, voided, launched, rebound, frozen)
                try:
                    await self.recorder.intent(plan, this, now)
                except Mistaken:
                    # Nothing of this round is on record, and there is more to know than it was judged by.
                    again += 1
                    if again > JUDGED_AGAIN_MAX:
                        raise Unavailable(Reason.OVERLOADED, "judged again and again") from None
                    plan = self._anew(live, plan, this, before)
                    continue
            again = 0
            live.recorded.set()
            self._release(live)
            late = [state for state in launched if state.status.final and state.approved]
            self.metrics.count([*judged, *late, *orphans, *fallen])
            self.followers.announce(plan, [*judged, *orphans, *fallen, *launched])

            here = self._hand_over(live, plan, launched)
            if len(launched) == len(here) == 1 and not running and plan.alone(here[0]):
                await execute(here[0])
            else:
                running |= {asyncio.create_task(execute(state)) for state in here}
                if not running and not live.wake.is_set():
                    if not await self._caught_up(plan) and not live.wake.is_set():
                        return
                    now = self.clock()
                    continue
                live.running = running = await _next_change(running, live.wake)
            now = self.clock()

    def _hand_over(self, live: Live, plan: PlanState, launched: Sequence[StepState]) -> list[StepState]:
        """Have those who run the steps that were let go know of it. Returns the steps that are called from here: remote
        hands come for theirs (``gateway.remote_steps``), and what is released its client runs. From such a step no
        other follows, since nobody here sees it succeed: the plan is looked at again at once."""
        if plan.status is not PlanStatus.DONE and any(release.by_client(state) for state in launched):
            live.wake.set()
        self.offered({(plan.plan.tenant, state.step.hand) for state in launched if offer.remote(state)})
        return [state for state in launched if not offer.remote(state) and not release.by_client(state)]

    @staticmethod
    def _unless_to_redact(live: Live, plan: PlanState, judged: Sequence[StepState]) -> None:
        """Raises ``ToRedact`` where policy wants something taken out first: nothing of that is to come on record."""
        if plan.log_index is None and live.redact is not None and judged and judged[0].to_redact:
            raise ToRedact(judged[0].to_redact)

    async def _unless_another(self, live: Live, plan: PlanState, judged: Sequence[StepState]) -> None:
        """Raises ``NotNeeded`` where a person was asked about exactly this call already: nobody is asked twice, and
        what was approved and done is told also where policy denies it by now."""
        stopped = any(state.decision is not None and state.decision.effect is not Effect.ALLOW for state in judged)
        if plan.log_index is None and live.instead is not None and stopped:
            found = await live.instead()
            if found is not None:
                raise NotNeeded(found)

    async def _caught_up(self, plan: PlanState) -> bool:
        """Before a plan is left to its record: whether a step that this process does not run itself has ended there
        meanwhile. Whoever recorded an ending last has seen the others', so that none of two gateways waits for the
        other."""
        elsewhere = [state for state in plan if state.status is StepStatus.RUNNING]
        found = await self.revive(plan.plan.plan_id) if elsewhere else None
        if found is None:
            return False
        ended = [state for state in elsewhere if found.steps[state.step.id].status.final]
        for state in ended:
            state.adopt(found.steps[state.step.id])
        return bool(ended)

    def _begin(self, live: Live, plan: Plan) -> PlanState:
        if plan.plan_id in self._live:
            # The same bytes again while the first are still under way; the record would refuse them too.
            raise Refused(Reason.VERIFY_REPLAYED)
        committed = commit(plan.raw, *data_subjects.of_plan(plan, partial(self.hands.manifest, plan.tenant)))
        live.plan = PlanState(plan, committed, committed.commitment, {s.id: StepState(s) for s in plan.steps.values()})
        self._live[plan.plan_id] = live
        return live.plan

    def _anew(self, live: Live, plan: PlanState, this: drafts.Round, before: Mapping[str, StepState]) -> PlanState:
        """The plan as it was before this round."""
        self._release(live)
        self.contexts.left(plan, certain=True)
        if before:
            for state in (*this.judged, *this.orphans, *this.fallen, *this.launched):
                state.go_back(before[state.step.id])
            return plan
        steps = {state.step.id: StepState(state.step) for state in plan}
        live.plan = PlanState(plan.plan, plan.committed, plan.commitment, steps)
        return live.plan

    async def _principal(self, tenant: str, principal_id: str) -> Principal | None:
        try:
            return await self.directory.principal(tenant, principal_id)
        except Refused:
            return None

    async def _record_outcome(self, plan: PlanState, state: StepState, ending: StepState) -> None:
        try:
            await self.recorder.outcome(plan, state, ending, self.clock())
        except Exception as error:  # noqa: BLE001
            reason = error.reason if isinstance(error, HandrailError) else Reason.INTERNAL
            state.fail(StepStatus.AMBIGUOUS, reason)
            self.stalled.add(plan.plan.plan_id)
            _log.error("outcome not recorded", plan_id=plan.plan.plan_id, step_id=state.step.id, reason=str(reason))
        self.metrics.count([state])
        self.followers.announce(plan, [state])


async def _next_change(running: set[asyncio.Task[None]], wake: asyncio.Event) -> set[asyncio.Task[None]]:
    """Wait until a step ended or a person answered; returns the steps still running."""
    answered = asyncio.create_task(wake.wait())
    try:
        await asyncio.wait({*running, answered}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        answered.cancel()
    return {task for task in running if not task.done()}
