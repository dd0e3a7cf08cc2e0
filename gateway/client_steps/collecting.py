"""The same call again, after a person approved it: it passes once.

A client that asks, is told to wait for a person and asks again, must not ask that person again. So an identical call of
the same principal in the same context finds the step that waits, or that was released once it was approved. Whoever is
told to go ahead *collects* the step: once among all gateways, for as long as the approval counts, and only while what
it rests on still holds. Nothing but the rows says which steps those are, and no hash of arguments is kept for it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.canonical import canonical
from gateway.errors import HandrailError, Outdated, Unavailable
from gateway.model import Principal, StepStatus
from gateway.pipeline import Pipeline
from gateway.ports import Append, ClientMove, StoredCall
from gateway.ports.client_calls import ClientCallRows
from gateway.reasons import Conflict, Reason
from gateway.stages import standing
from gateway.state import PlanState, StepState

_Read = dict[str, PlanState | None]
_TRIES_MAX: Final = 8
_UNDER_WAY: Final = frozenset({StepStatus.HELD, StepStatus.RUNNING})
_GONE: Final = frozenset({StepStatus.RELEASED, StepStatus.SUCCEEDED})
"""What becomes of an approved step: its client may run it, or a hand ran it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as its client asks for it.

    Attributes:
        id: what the client calls it; empty where it gives it no name.
    """

    hand: str
    action: str
    args: Mapping[str, Any] = field(repr=False)
    id: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A step that stands for a call.

    Attributes:
        collected: its approval is used up with that; else it is to be collected once it went.
    """

    step: StoredCall
    collected: bool


@dataclass(slots=True)
class Collecting:
    """Finds and collects steps that people were asked about.

    What was approved is what goes: the same caller, hand, action and args, by the manifest that was pinned then and the
    policy that asked, in its time, and while nothing of it is frozen.
    """

    pipeline: Pipeline
    rows: ClientCallRows

    async def standing(self, caller: Principal, context_id: str | None, call: Call) -> Found | None:
        """The step that stands for exactly this call, so that nobody is asked about it again: one that waits for a
        person, or runs since one approved it; or one that went, which is collected with that.

        Args:
            context_id: see :meth:`find`.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        found = await self.find(caller, context_id, call)
        if found is None:
            return None
        state = await self._same(caller, found, call, _Read())
        if state is None or not _passes(state):
            return Found(found, collected=False)
        taken = await self.take(caller, context_id, call)
        return None if taken is None else Found(taken, collected=True)

    async def find(
        self, caller: Principal, context_id: str | None, call: Call, but: Collection[tuple[str, str]] = ()
    ) -> StoredCall | None:
        """The step about exactly this call that was approved and not collected, though it may run yet; or one that
        waits for a person.

        Args:
            context_id: in which people were asked; ``None`` where the client names none, so that any of its is meant.
            but: plan and step ids that are taken.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        waits, read = None, _Read()
        for found in await self._asked(caller, context_id, call, waiting=True):
            if (found.plan_id, found.step_id) in but:
                continue
            state = await self._same(caller, found, call, read)
            if state is not None and state.approved and (state.status in _UNDER_WAY or _passes(state)):
                return found
            if state is not None and state.status in _UNDER_WAY:
                waits = waits or found
        return waits

    async def take(self, caller: Principal, context_id: str | None, call: Call) -> StoredCall | None:
        """The step by which exactly this call was approved, and went, collected with that; ``None`` where there is none
        any more. Each is given once, at whichever gateway.

        Args:
            context_id: see :meth:`find`.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        read = _Read()
        for found in await self._asked(caller, context_id, call, waiting=False):
            same = await self._same(caller, found, call, read) is not None
            if same and await self.collect(caller, found.plan_id, found.step_id, call_id=call.id):
                return found
        return None

    async def unreported(self, caller: Principal, context_id: str, call: Call) -> StoredCall | None:
        """The newest released step about exactly this call of which nothing was reported yet; ``None`` for none.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        read = _Read()
        for found in await self.rows.unreported(caller, context_id, call.hand, call.action):
            state = await self._same(caller, found, call, read)
            if state is not None and state.status is StepStatus.RELEASED:
                return found
        return None

    async def collect(self, caller: Principal, plan_id: str, step_id: str, *, call_id: str = "") -> bool:
        """Tell the client, through whoever calls this, to go ahead with an approved step, or what came of it where a
        hand ran it. False where somebody was told before, or something that it rests on holds no more: then the call is
        to be judged anew.

        Args:
            call_id: what the client calls it, where it runs the step itself; written with it, if it is a new name.

        Raises:
            Unavailable: ``log.unavailable``; nobody may be told.
        """
        pipeline = self.pipeline
        for _ in range(_TRIES_MAX):
            plan = await self._plan(caller, plan_id)
            state = None if plan is None else plan.steps.get(step_id)
            frozen = await pipeline.freezes.current()
            if plan is None or state is None or not _passes(state) or await self._over(plan, state):
                return False
            guards = [pipeline.store.once(plan_id, step_id, ClientMove.COLLECTED)]
            if call_id not in {"", step_id} and state.status is StepStatus.RELEASED:
                guards.append(self.rows.naming(caller, call_id, plan_id, step_id))
            if not pipeline.freezes.stands(frozen):
                continue
            try:
                await pipeline.log.append(Append((), (), guards, rests_on=pipeline.freezes.rests_on()))
            except Outdated:
                continue
            except HandrailError as error:
                if error.facts.get("problem") == Conflict.ID_TAKEN:
                    call_id = ""  # it means another step already; this one goes by what was asked alone
                    continue
                if error.reason is Reason.REQUEST_CONFLICT:
                    return False
                raise
            return True
        raise Unavailable(Reason.OVERLOADED, "what is frozen changes again and again")

    async def _asked(
        self, caller: Principal, context_id: str | None, call: Call, *, waiting: bool
    ) -> Collection[StoredCall]:
        since = self.pipeline.clock() - self.pipeline.settings.plans.approval_ttl_seconds
        return await self.rows.uncollected(caller, context_id, call.hand, call.action, since, waiting=waiting)

    async def _plan(self, caller: Principal, plan_id: str) -> PlanState | None:
        """``None`` where its rows are not sound, or it was dropped."""
        try:
            return await self.pipeline.load(plan_id, caller)
        except Unavailable:
            raise
        except HandrailError:
            return None

    async def _same(self, caller: Principal, found: StoredCall, call: Call, read: _Read) -> StepState | None:
        """A step as it stands, where it is this call, of the caller's own and not sent in another's name.

        Args:
            read: the plans that were read for the same call: of many steps of one it is read once.
        """
        if found.plan_id not in read:
            read[found.plan_id] = await self._plan(caller, found.plan_id)
        plan = read[found.plan_id]
        state = None if plan is None else plan.steps.get(found.step_id)
        if plan is None or state is None or plan.plan.principal.pseudonym != caller.pseudonym:
            return None
        asked = (state.step.hand, state.step.action, state.args_bytes)
        return state if asked == (call.hand, call.action, canonical(dict(call.args))) else None

    async def _over(self, plan: PlanState, state: StepState) -> bool:
        pipeline = self.pipeline
        frozen = await pipeline.freezes.current()
        now = pipeline.clock()
        ended = await standing.withdrawn(plan, state, pipeline.directory, pipeline.hands, pipeline.engine, frozen, now)
        return ended is not None


def _passes(state: StepState) -> bool:
    """Whether a step went once it was approved, and nobody said yet what came of it."""
    return state.args is not None and state.status in _GONE and state.reported is None
