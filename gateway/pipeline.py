"""The way of a plan. Read this file first.

:meth:`Pipeline._process` is the whole of Handrail in one function: nine numbered steps, each in the file of its name
under ``gateway/stages``. Every ingress ends here and nothing reaches a hand by another road.

A plan is taken forward by one task. It judges every step whose inputs are known in one policy evaluation, records the
decisions together with the intent, dispatches, and goes round again when a step ends or a person answers. When all
that is left waits for people, the task ends and nothing is kept in memory: the rows and the log are the state, and an
answer (or a restart) picks the plan up from there.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from gateway.caps import Caps
from gateway.entries import EntryDraft
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.followers import Event, Followers, done_event, plan_event, step_event
from gateway.model import Plan, PlanStatus, Principal, StepStatus, UnverifiedPlan, commit, subject_key
from gateway.permissions import Permission, permits
from gateway.ports import Append, AuditLog, Credentials, Directory, Hands, Payloads, PlanStore, PolicyEngine, Signer
from gateway.reasons import Reason
from gateway.revive import revive
from gateway.settings import Settings
from gateway.stages import (
    approval,
    credential,
    dispatch,
    ingress,
    policy,
    record,
    result,
    schema,
    standing,
    verify,
)
from gateway.state import PlanState, StepState
from gateway.telemetry import Metrics, Tracer

_log = structlog.get_logger("handrail.pipeline")

_NEVER_RECORDED = frozenset({Reason.VERIFY_REPLAYED, Reason.VERIFY_CONTEXT, Reason.LIMIT_APPROVALS})
"""Why a plan is refused after it became one, and leaves nothing to settle."""


@dataclass(slots=True)
class Live:
    """A plan that this process is taking forward now."""

    plan: PlanState | None = None
    recorded: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the plan is on record, or refused."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once nothing is left to do but wait."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a person answered."""
    refusal: HandrailError | None = None
    running: set[asyncio.Task[None]] = field(default_factory=set)
    """Steps being executed."""
    opening: int = 0
    """Approval requests that there is room kept for until they are on record."""


@dataclass(slots=True)
class Pipeline:
    """Takes plans forward. Built once by ``gateway.app``."""

    settings: Settings
    log: AuditLog
    payloads: Payloads
    store: PlanStore
    signer: Signer
    credentials: Credentials
    directory: Directory
    hands: Hands
    engine: PolicyEngine
    jws: verify.Jws
    metrics: Metrics
    tracer: Tracer
    clock: Callable[[], float] = time.time
    _live: dict[str, Live] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    followers: Followers = field(default_factory=Followers)
    stalled: set[str] = field(default_factory=set)
    """Plans whose record may be ahead of what was acted on."""
    withheld: set[tuple[str, str]] = field(default_factory=set)
    """Steps whose intent may be on record although they were surely never dispatched."""
    recorder: record.Recorder = field(init=False)
    caps: Caps = field(init=False)

    def __post_init__(self) -> None:
        self.metrics.plans_live.set_function(lambda: len(self._live))
        self.recorder = record.Recorder(self.log, self.store, self.signer)
        self.caps = Caps(self.store.open_approvals)

    # --- the nine steps ----------------------------------------------------------------------------------------------

    async def _process(self, live: Live, source: UnverifiedPlan | PlanState) -> None:
        """Take a plan as far as it can go: from bytes, or from where its record left it."""
        stage = self.tracer.stage
        if isinstance(source, UnverifiedPlan):
            # 1 ingress: size, type and time were bounded and the caller authenticated before this task began.
            with stage("1 ingress"):
                unverified = ingress.admit(
                    source.raw, source.caller, source.received_at, max_bytes=self.settings.server.body_max_bytes
                )

            # 2 verify: JWS, issuer key valid at iat and not revoked, type, audience, freshness, subject. That the plan
            #   is no replay, and that the context is the caller's, the database itself decides with the first record.
            with stage("2 verify"):
                claimed = verify.claimed_issuer(unverified, self.jws)
                issuer = await self.directory.issuer(claimed.issuer, unverified.caller.tenant)
                subjects = {name: await self._principal(issuer.tenant, name) for name in issuer.speaks_for}
                verified = verify.verify(
                    unverified,
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

        async def execute(state: StepState) -> None:
            ending = state.begin_ending()
            # 7 dispatch: the exact call that was decided, approved and recorded; never retried.
            with stage("7 dispatch", context_id), self.metrics.step_seconds.labels(state.step.hand).time():
                await dispatch.dispatch(plan, ending, self.hands)

            # 8 result: schema, size, redaction.
            with stage("8 result", context_id):
                result.settle(plan, ending, self.hands)

            # 9 record: outcome and receipt. Nobody sees a result, and nothing follows from it, before it is on record.
            with stage("9 record", context_id):
                await self._record_outcome(plan, state, ending)

        while True:
            live.wake.clear()
            fallen = await standing.fallen(plan, self.directory, self.clock())
            voided = standing.outdated(plan, self.hands, self.engine.digest)
            judged = plan.undecided()

            # 3 schema, of each step: references resolved, args against the pinned manifest.
            with stage("3 schema", context_id):
                schema.check_steps(plan, judged, self.hands, args_max_bytes=self.settings.policy.input_max_bytes)

            # 4 policy: one evaluation for all steps whose inputs are known.
            with stage("4 policy", context_id):
                sound = [state for state in judged if not state.status.final]
                await policy.decide(plan, sound, self.engine, self.settings.policy, now)

            # 5 approval: `ask` holds a step until the quorum answered for this exact call.
            with stage("5 approval", context_id):
                requests = approval.hold(judged, self.settings.plans, self.clock())
                if requests:
                    most = self.settings.server.approvals_max_open_per_principal
                    caller = plan.plan.caller
                    live.opening = await self.caps.reserve(caller, len(requests), most, replaced=len(voided))
                    approval.fit(plan, requests, live.opening, most)

            # 6 credential: one per step that may go now, good for that call alone.
            with stage("6 credential", context_id):
                orphans = plan.skip_orphans()
                launched = [state for state in plan if plan.ready(state)]
                credential.mint(
                    plan,
                    launched,
                    self.credentials,
                    ttl_max_seconds=self.settings.keys.token_lifetime_seconds,
                    now=self.clock(),
                )

            # record: decisions and intent, durable before anything runs, and for every denial.
            with stage("6 record", context_id):
                this = record.Round(judged, requests, orphans, fallen, voided, launched)
                await self.recorder.intent(plan, this, now)
            live.recorded.set()
            self._release(live)
            self.metrics.count([*judged, *orphans, *fallen])
            self.followers.announce(plan, [*judged, *orphans, *fallen, *launched])

            if len(launched) == 1 and not running and plan.alone(launched[0]):
                await execute(launched[0])
            else:
                running |= {asyncio.create_task(execute(state)) for state in launched}
                if not running and not live.wake.is_set():
                    return
                live.running = running = await _next_change(running, live.wake)
            now = self.clock()

    # --- what callers ask for ----------------------------------------------------------------------------------------

    async def submit(self, unverified: UnverifiedPlan, *, wait_seconds: float = 0.0) -> dict[str, Any]:
        """Take in a plan; returns its view once it is on record, or done, or ``wait_seconds`` later.

        Raises:
            HandrailError: the whole plan is refused, and nothing of it runs.
        """
        if len(self._tasks) >= self.settings.server.plans_max_concurrent:
            raise Unavailable(Reason.OVERLOADED)
        self.caps.check_plans(unverified.caller, self.settings.server.plans_max_concurrent_per_principal)
        live = Live()
        self._spawn(live, unverified)
        await live.recorded.wait()
        if live.refusal is not None:
            await self._record_refusal(unverified, live.refusal)
            raise live.refusal
        plan = live.plan
        if plan is None:
            raise Unavailable(Reason.INTERNAL, "recorded without a plan")
        self.metrics.plans.labels("accepted").inc()
        if wait_seconds > 0 and not live.settled.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(live.settled.wait(), wait_seconds)
        view = plan.view()
        if plan.status is not PlanStatus.DONE or any(state.receipt is None for state in plan):
            view["acceptance"] = self.recorder.acceptance(plan, plan.plan.received_at)
        return view

    async def view(self, plan_id: str, viewer: Principal) -> dict[str, Any]:
        """The plan as it stands.

        Raises:
            Refused: ``request.not_found`` where there is none that the viewer may see.
        """
        plan = await self.load(plan_id, viewer)
        return {**plan.view(), "acceptance": self.recorder.acceptance(plan, plan.plan.received_at)}

    async def events(self, plan_id: str, viewer: Principal, after: int = 0) -> AsyncIterator[Event]:
        """The plan's progress: what it is now, then every change, each once and with a higher id than the last.

        Ends after ``done``, or when the follower is too slow to keep up; it may come back with ``after``.
        """
        with self.followers.follow(plan_id) as queue:
            plan = await self.load(plan_id, viewer)
            now = [step_event(plan, state) for state in plan if state.log_index is not None]
            now = [*sorted(now, key=lambda event: event[0]), plan_event(plan)]
            seen = after
            if plan.status is PlanStatus.DONE:
                now.append(done_event(plan))
            elif now[-1][0] <= after:
                yield plan_event(plan)  # nothing is new; say so at once rather than keep a follower in the dark
            while True:
                for event in now:
                    if event[0] > seen:
                        seen = event[0]
                        yield event
                    if event[1] == "done":
                        return
                following = await queue.get()
                if following is None:
                    return
                now = [following]

    async def load(self, plan_id: str, viewer: Principal | None = None) -> PlanState:
        """The plan, from memory where this process is taking it forward, else from its record.

        Raises:
            Refused: ``request.not_found``.
        """
        live = self._live.get(plan_id)
        plan = live.plan if live is not None and live.recorded.is_set() and live.refusal is None else None
        if plan is None:
            plan = await self.revive(plan_id)
        if plan is None or (viewer is not None and not may_see(plan, viewer)):
            raise Refused(Reason.REQUEST_NOT_FOUND)
        return plan

    # --- the life of tasks -------------------------------------------------------------------------------------------

    def resume(self, plan: PlanState) -> Live:
        """Take a plan up again from its record: after an answer, or a restart."""
        live = self._live.get(plan.plan.plan_id)
        if live is not None:
            live.wake.set()
            return live
        live = Live(plan)
        live.recorded.set()
        self._live[plan.plan.plan_id] = live
        self._spawn(live, plan)
        return live

    def live(self, plan_id: str) -> PlanState | None:
        """The state of a plan that this process is taking forward now."""
        live = self._live.get(plan_id)
        return live.plan if live is not None else None

    async def close(self) -> None:
        """Let running steps finish for a moment, then stop; what is cut off is ``ambiguous`` at the next start."""
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=5)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    def _spawn(self, live: Live, source: UnverifiedPlan | PlanState) -> None:
        caller = source.caller if isinstance(source, UnverifiedPlan) else source.plan.caller
        self.caps.begin(caller)
        task = asyncio.create_task(self._shepherd(live, source, caller))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shepherd(self, live: Live, source: UnverifiedPlan | PlanState, caller: Principal) -> None:
        """Run ``_process``; turn every way it can end into something that a caller or the next recovery sees."""
        try:
            await self._process(live, source)
        except HandrailError as error:
            self._stop_short(live, error)
        except Exception:  # noqa: BLE001
            _log.exception("plan failed")
            self._stop_short(live, Unavailable(Reason.INTERNAL))
        finally:
            if live.running:
                # A step that was let go is seen through to its outcome, whatever became of the others.
                await asyncio.gather(*live.running, return_exceptions=True)
            self._release(live)
            self.caps.end(caller)
            if live.plan is not None and self._live.get(live.plan.plan.plan_id) is live:
                del self._live[live.plan.plan.plan_id]
            live.recorded.set()
            live.settled.set()

    def _stop_short(self, live: Live, error: HandrailError) -> None:
        plan = live.plan
        if not live.recorded.is_set():
            live.refusal = error
        if plan is not None and error.reason not in _NEVER_RECORDED:
            # What is on record may be ahead of what was acted on: recovery settles it from the rows.
            self.stalled.add(plan.plan.plan_id)
            self.withheld.update(
                (plan.plan.plan_id, state.step.id)
                for state in plan
                if state.status is StepStatus.RUNNING and not state.dispatched
            )
            _log.warning("plan stopped short", plan_id=plan.plan.plan_id, reason=str(error.reason), detail=error.detail)

    def _release(self, live: Live) -> None:
        """The approval requests of a round are on record, or never will be."""
        if live.opening and live.plan is not None:
            self.caps.release(live.plan.plan.caller, live.opening)
            live.opening = 0

    def _begin(self, live: Live, plan: Plan) -> PlanState:
        if plan.plan_id in self._live:
            # The same bytes again while the first are still under way; the record would refuse them too.
            raise Refused(Reason.VERIFY_REPLAYED)
        committed = commit(plan.raw, subject_key(plan.tenant, plan.principal.id, plan.context_id))
        live.plan = PlanState(plan, committed, committed.commitment, {s.id: StepState(s) for s in plan.steps.values()})
        self._live[plan.plan_id] = live
        return live.plan

    async def revive(self, plan_id: str) -> PlanState | None:
        """A plan from its record; ``None`` where there is none."""
        stored = await self.store.load(plan_id)
        if stored is None:
            return None
        check = partial(approval.check_proof, jws=self.jws, signer=self.signer, audience=self.log.origin)
        return await revive(stored, self.payloads, self.directory, self.hands, check)

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

    async def _record_refusal(self, unverified: UnverifiedPlan, refusal: HandrailError) -> None:
        """A refused plan leaves an entry; where even that cannot be written, the answer is the log's unavailability."""
        self.metrics.plans.labels("refused").inc()
        self.metrics.refusals.labels(str(refusal.reason)).inc()
        if isinstance(refusal, Unavailable):
            return
        kind, reasons = record.recordable(refusal.reason), (str(refusal.reason),)
        caller = unverified.caller
        await self.log.append(Append([EntryDraft(kind, caller.tenant, principal=caller.pseudonym, reasons=reasons)]))


def may_see(plan: PlanState, viewer: Principal) -> bool:
    """Whose plan it is, or a role that reads every plan of the tenant."""
    if plan.plan.tenant != viewer.tenant:
        return False
    if viewer.id in {plan.plan.principal.id, plan.plan.caller.id}:
        return True
    return permits(viewer, Permission.PLANS_READ_ALL)


async def _next_change(running: set[asyncio.Task[None]], wake: asyncio.Event) -> set[asyncio.Task[None]]:
    """Wait until a step ended or a person answered; returns the steps still running."""
    answered = asyncio.create_task(wake.wait())
    try:
        await asyncio.wait({*running, answered}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        answered.cancel()
    return {task for task in running if not task.done()}
