"""Plans under way: taken in, shown, followed, taken up again. How one is taken forward is ``gateway.pipeline``.

A plan is taken forward by one task. When all that is left waits for people, the task ends and nothing is kept in
memory: the rows and the log are the state, and an answer (or a restart) picks the plan up from there.
"""

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from gateway.cached_results import CachedResults
from gateway.calls import Relay
from gateway.conversations import Conversations
from gateway.dead_letters import is_dead
from gateway.entries import EntryDraft
from gateway.errors import HandrailError, Refused, Unavailable, Uncertain
from gateway.model import PlanStatus, Principal, StepStatus, UnverifiedPlan
from gateway.objectives import Objectives
from gateway.permissions import Permission, permits
from gateway.personal_data import Scanner
from gateway.plans.caps import Caps
from gateway.plans.followers import Event, Followers, index_of, newest_id, plan_event, plan_events
from gateway.plans.live import Instead, Live, NotNeeded, Redact, ToRedact
from gateway.plans.patience import Patience
from gateway.plans.revive import revive
from gateway.ports import (
    Append,
    AuditLog,
    Contexts,
    Credentials,
    Directory,
    Freezes,
    Hands,
    Letters,
    Offers,
    Payloads,
    PlanStore,
    PolicyEngine,
    Signer,
)
from gateway.ports.runs import Turns
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.stages import approval, drafts, record, verify
from gateway.state import PlanState
from gateway.telemetry import Metrics, Tracer

_log = structlog.get_logger("handrail.plans")

_NEVER_RECORDED = frozenset(
    {Reason.VERIFY_REPLAYED, Reason.VERIFY_CONTEXT, Reason.LIMIT_APPROVALS, Reason.FREEZE_ACTIVE}
)
"""Why a plan is refused after it became one, and leaves nothing to settle."""

ELSEWHERE_SECONDS = 0.5
"""How often whoever follows a plan looks for what other gateways recorded of it."""


@dataclass(slots=True)
class Plans(ABC):
    """The plans of this process, and everything that taking one forward needs."""

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
    contexts: Contexts
    freezes: Freezes
    offers: Offers
    letters: Letters
    cached: CachedResults
    objectives: Objectives
    scanner: Scanner = field(default_factory=Scanner)
    """Looks for personal data in results."""
    turns: Turns | None = None
    """Of runs, where the gateway has any."""
    clock: Callable[[], float] = time.time
    offered: Callable[[Collection[tuple[str, str]]], None] = lambda _: None
    """Told of tenants and remote hands for which there is new work."""
    _live: dict[str, Live] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    followers: Followers = field(default_factory=Followers)
    conversations: Conversations = field(default_factory=Conversations)
    stalled: set[str] = field(default_factory=set)
    """Plans whose record may be ahead of what was acted on."""
    overtaken: set[str] = field(default_factory=set)
    """Plans that an answer, or another gateway, took further meanwhile; to be taken up from their record."""
    withheld: set[tuple[str, str]] = field(default_factory=set)
    """Steps whose intent may be on record although they were surely never dispatched."""
    patience: Patience = field(default_factory=Patience)
    """Of those who wait for people, and for what other processes do."""
    recorder: record.Recorder = field(init=False)
    caps: Caps = field(init=False)

    def __post_init__(self) -> None:
        self.metrics.plans_live.set_function(lambda: len(self._live))
        self.recorder = record.Recorder(
            self.log, self.store, self.signer, self.contexts, self.freezes, self.offers, self.letters, self.turns
        )
        self.caps = Caps(self.store.open_approvals)

    @abstractmethod
    async def _process(self, live: Live, source: UnverifiedPlan | PlanState) -> None:
        """Take a plan as far as it can go: see ``gateway.pipeline``."""

    # --- what callers ask for ----------------------------------------------------------------------------------------

    async def submit(
        self,
        unverified: UnverifiedPlan,
        *,
        wait_seconds: float = 0.0,
        relay: Relay | None = None,
        instead: Instead | None = None,
        redact: Redact | None = None,
    ) -> dict[str, Any]:
        """Take in a plan; returns its view once it is on record, or done, or ``wait_seconds`` later.

        Args:
            relay: see ``calls.Relay``; of a plan of one step.
            instead: finds the step on record by which a person was asked about exactly this call, where policy does not
                let a plan of one step go. The view is then of that step as it stands, and the plan comes on no record.
            redact: gives the plan anew where policy wants something taken out of its one step; this one comes on no
                record then. A step with something of that left in it is denied.

        Raises:
            HandrailError: the whole plan is refused, and nothing of it runs.
        """
        if len(self._tasks) >= self.settings.server.plans_max_concurrent:
            raise Unavailable(Reason.OVERLOADED)
        self.caps.check_plans(unverified.caller, self.settings.server.plans_max_concurrent_per_principal)
        live = Live(relay=relay, instead=instead, redact=redact)
        self._spawn(live, unverified)
        await live.recorded.wait()
        if live.refusal is not None:
            await self._record_refusal(unverified, live.refusal)
            raise live.refusal
        if redact is not None and live.to_redact:
            anew = await redact(live.to_redact)
            return await self.submit(anew, wait_seconds=wait_seconds, relay=relay, instead=instead)
        if live.found is not None:
            view = await self.view(live.found.plan_id, unverified.caller)
            # Of this step alone: whoever signs plans may have asked for more in the same one.
            return {**view, "steps": [step for step in view["steps"] if step["id"] == live.found.step_id]}
        plan = live.plan
        if plan is None:
            raise Unavailable(Reason.INTERNAL, "recorded without a plan")
        self.metrics.plans.labels("accepted").inc()
        if wait_seconds > 0 and not live.settled.is_set():
            with contextlib.suppress(TimeoutError, Unavailable):  # it is on record, whatever cannot be looked up now
                async with asyncio.timeout(wait_seconds):
                    await live.settled.wait()
                    plan = await self._until_rest(plan)
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
        view = plan.view()
        if any(is_dead(state) for state in plan):
            settled = await self.letters.settled(plan_id)
            for shown in (one for one in view["steps"] if one["id"] in settled):
                one = settled[shown["id"]]
                shown["settled"] = {"verdict": str(one.verdict), "retry_plan": one.retry_plan}
        return {**view, "acceptance": self.recorder.acceptance(plan, plan.plan.received_at)}

    async def events(self, plan_id: str, viewer: Principal, after: int = 0) -> AsyncIterator[Event]:
        """The plan's progress: what it is now, then every change, each once and with a higher id than the last.

        Ends after ``done``, or when the follower is too slow to keep up; it may come back with ``after``.
        """
        with self.followers.follow(plan_id) as queue:
            plan = await self.load(plan_id, viewer)
            now = plan_events(plan)
            seen = after
            if plan.status is not PlanStatus.DONE and now[-1][0] <= after:
                yield plan_event(plan)  # nothing is new; say so at once rather than keep a follower in the dark
            while True:
                for event in now:
                    if event[0] > seen:
                        seen = event[0]
                        yield event
                    if event[1] == "done":
                        return
                following = await self._following(queue, plan_id, seen)
                if following is None:
                    return
                now = following

    async def _until_rest(self, plan: PlanState) -> PlanState:
        """The plan, once nothing of it is with a remote hand any more: done, or waiting for people."""
        if plan.status is not PlanStatus.RUNNING:
            return plan
        plan_id = plan.plan.plan_id
        with contextlib.suppress(TimeoutError):
            async with self.patience.within():
                with self.followers.follow(plan_id) as queue:
                    while (plan := await self.load(plan_id)).status is PlanStatus.RUNNING:
                        if await self._following(queue, plan_id, newest_id(plan)) is None:
                            break
        return plan

    async def _following(self, queue: asyncio.Queue[Event | None], plan_id: str, seen: int) -> list[Event] | None:
        """What comes next of a plan, after the event ``seen``; ``None`` where the follower was cut off. What another
        gateway records is looked for in the rows, as long as this one does not take the plan forward itself."""
        while True:
            try:
                async with asyncio.timeout(ELSEWHERE_SECONDS):
                    following = await queue.get()
            except TimeoutError:
                if plan_id in self._live or await self.offers.progress(plan_id) <= index_of(seen):
                    continue
                return plan_events(await self.load(plan_id))
            return None if following is None else [following]

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

    def wake(self) -> None:
        """Have every plan that is under way here look again at what may go on."""
        for live in self._live.values():
            live.wake.set()

    async def settle(self, plan_id: str) -> None:
        """Take a plan up from its record, and wait until nothing is left to do but wait. One that cannot be read stays
        as it is: nothing of it can run either."""
        try:
            plan = await self.load(plan_id)
        except Unavailable:
            raise
        except HandrailError as error:
            _log.error("plan cannot be read", plan_id=plan_id, reason=str(error.reason), detail=error.detail)
            return
        await self.resume(plan).settled.wait()

    def live(self, plan_id: str) -> PlanState | None:
        """The state of a plan that this process is taking forward now."""
        live = self._live.get(plan_id)
        return live.plan if live is not None else None

    async def finish(self) -> None:
        """Returns when no plan is taken forward here any more. What waits for people, or is with remote hands, is on
        record and nowhere else, and does not count."""
        while self._tasks:
            await asyncio.wait(self._tasks)

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
        certain = True
        try:
            await self._process(live, source)
        except NotNeeded as known:
            live.found = known.step
        except ToRedact as first:
            live.to_redact = first.kinds
        except HandrailError as error:
            certain = not isinstance(error, Uncertain)
            self._stop_short(live, error)
        except Exception:  # noqa: BLE001
            _log.exception("plan failed")
            self._stop_short(live, Unavailable(Reason.INTERNAL))
        finally:
            if live.running:
                # A step that was let go is seen through to its outcome, whatever became of the others.
                await asyncio.gather(*live.running, return_exceptions=True)
            self._release(live)
            if live.plan is not None:
                self.contexts.left(live.plan, certain=certain)
            self.caps.end(caller)
            if live.plan is not None and self._live.get(live.plan.plan.plan_id) is live:
                del self._live[live.plan.plan.plan_id]
            live.recorded.set()
            live.settled.set()

    def _stop_short(self, live: Live, error: HandrailError) -> None:
        plan = live.plan
        if not live.recorded.is_set():
            live.refusal = error
        if plan is not None and live.recorded.is_set() and error.reason is Reason.REQUEST_CONFLICT:
            # Nothing of this round is on record. What another gateway has running is not ours to call ambiguous.
            self.overtaken.add(plan.plan.plan_id)
            _log.info("plan was taken further elsewhere", plan_id=plan.plan.plan_id, detail=error.detail)
        elif plan is not None and error.reason not in _NEVER_RECORDED:
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

    async def revive(self, plan_id: str) -> PlanState | None:
        """A plan from its record; ``None`` where there is none."""
        stored = await self.store.load(plan_id)
        if stored is None:
            return None
        check = partial(approval.check_proof, jws=self.jws, signer=self.signer, audience=self.log.origin)
        return await revive(stored, self.payloads, self.directory, self.hands, check)

    async def _record_refusal(self, unverified: UnverifiedPlan, refusal: HandrailError) -> None:
        """A refused plan leaves an entry; where even that cannot be written, the answer is the log's unavailability."""
        self.metrics.plans.labels("refused").inc()
        self.metrics.refusals.labels(str(refusal.reason)).inc()
        if isinstance(refusal, Unavailable):
            return
        kind, reasons = drafts.recordable(refusal.reason), (str(refusal.reason),)
        caller = unverified.caller
        await self.log.append(Append([EntryDraft(kind, caller.tenant, principal=caller.pseudonym, reasons=reasons)]))


def may_see(plan: PlanState, viewer: Principal) -> bool:
    """Whose plan it is, or a role that reads every plan of the tenant whose hands are all within the viewer's scope."""
    if plan.plan.tenant != viewer.tenant:
        return False
    if viewer.id in {plan.plan.principal.id, plan.plan.caller.id}:
        return True
    return permits(viewer, Permission.PLANS_READ_ALL) and may_use_all(plan, viewer)


def may_use_all(plan: PlanState, viewer: Principal) -> bool:
    """Whether every hand of the plan is within the viewer's scope."""
    return all(viewer.may_use(state.step.hand) for state in plan)
