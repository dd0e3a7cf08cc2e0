"""The same call again, after a person approved it: it passes once.

A client that asks, is told to wait for a person and asks again, must not ask that person again. So an identical call of
the same principal in the same context finds the step that waits, or that was released once it was approved. Whoever is
told to go ahead *collects* the step: once among all gateways, for as long as the approval counts, and only while what
it rests on still holds. Nothing but the rows says which steps those are, and no hash of arguments is kept for it.
"""

from dataclasses import dataclass
from typing import Final

from gateway.errors import HandrailError, Outdated, Unavailable
from gateway.model import Principal, StepStatus
from gateway.pipeline import Pipeline
from gateway.ports import Append, ClientMove
from gateway.reasons import Reason
from gateway.stages import standing
from gateway.state import PlanState, StepState

LOOKED_AT_MAX: Final = 32
"""Requests of one principal in one context that are looked through for the same call; the newest first."""
_TRIES_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Found:
    """A step of an earlier plan that is about the same call."""

    plan_id: str
    step_id: str
    held: bool
    """A person has not answered yet; else it was approved and released."""


@dataclass(slots=True)
class Collecting:
    """Finds and collects steps that people were asked about."""

    pipeline: Pipeline

    async def find(
        self, caller: Principal, context_id: str, hand: str, action: str, args_bytes: bytes, but: set[tuple[str, str]]
    ) -> Found | None:
        """The step that waits for a person, or was approved and not collected, about exactly this call.

        Args:
            args_bytes: canonical JSON.
            but: plan and step ids that are taken.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        asked = await self.pipeline.store.uncollected(
            caller.tenant, caller.pseudonym, context_id, hand, action, LOOKED_AT_MAX
        )
        for plan_id, step_id in asked:
            if (plan_id, step_id) in but:
                continue
            state = await self._step(caller, plan_id, step_id)
            if state is None or state.args_bytes != args_bytes:
                continue
            if state.status is StepStatus.HELD:
                return Found(plan_id, step_id, held=True)
            if state.status is StepStatus.RELEASED and state.approved and state.reported is None:
                return Found(plan_id, step_id, held=False)
        return None

    async def unreported(
        self, caller: Principal, context_id: str, hand: str, action: str, args_bytes: bytes
    ) -> Found | None:
        """The newest released step about exactly this call of which nothing was reported yet; ``None`` for none.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        released = await self.pipeline.store.unreported(
            caller.tenant, caller.pseudonym, context_id, hand, action, LOOKED_AT_MAX
        )
        for plan_id, step_id in released:
            state = await self._step(caller, plan_id, step_id)
            if state is not None and state.status is StepStatus.RELEASED and state.args_bytes == args_bytes:
                return Found(plan_id, step_id, held=False)
        return None

    async def _step(self, caller: Principal, plan_id: str, step_id: str) -> StepState | None:
        """``None`` where its rows are not sound, or it was dropped."""
        try:
            plan = await self.pipeline.load(plan_id, caller)
        except Unavailable:
            raise
        except HandrailError:
            return None
        return plan.steps.get(step_id)

    async def collect(self, caller: Principal, plan_id: str, step_id: str) -> bool:
        """Tell the client, through whoever calls this, to go ahead with an approved step. False where somebody was told
        before, or something that it rests on holds no more: then the call is to be judged anew.

        Raises:
            Unavailable: ``log.unavailable``; nobody may be told.
        """
        pipeline = self.pipeline
        for _ in range(_TRIES_MAX):
            plan = await pipeline.load(plan_id, caller)
            state = plan.steps[step_id]
            frozen = await pipeline.freezes.current()
            made = state.reported is not None  # by whoever followed its plan
            if state.status is not StepStatus.RELEASED or made or await self._over(plan, state):
                return False
            once = pipeline.store.once(plan_id, step_id, ClientMove.COLLECTED)
            if not pipeline.freezes.stands(frozen):
                continue
            try:
                await pipeline.log.append(Append((), (), [once], rests_on=pipeline.freezes.rests_on()))
            except Outdated:
                continue
            except HandrailError as error:
                if error.reason is Reason.REQUEST_CONFLICT:
                    return False
                raise
            return True
        raise Unavailable(Reason.OVERLOADED, "what is frozen changes again and again")

    async def _over(self, plan: PlanState, state: StepState) -> bool:
        pipeline = self.pipeline
        frozen = await pipeline.freezes.current()
        now = pipeline.clock()
        ended = await standing.withdrawn(plan, state, pipeline.directory, pipeline.hands, pipeline.engine, frozen, now)
        return ended is not None
