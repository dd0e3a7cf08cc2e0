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
from gateway.ports import Append, ClientMove, Guard, StoredCall
from gateway.reasons import Reason
from gateway.stages import standing
from gateway.state import PlanState, StepState

LOOKED_AT_MAX: Final = 32
"""Requests of one principal in one context that are looked through for the same call; the newest first."""
_TRIES_MAX: Final = 8
_GONE: Final = frozenset({StepStatus.RELEASED, StepStatus.SUCCEEDED})
"""What becomes of an approved step: its client may run it, or a hand ran it."""


@dataclass(slots=True)
class Collecting:
    """Finds and collects steps that people were asked about."""

    pipeline: Pipeline

    async def find(
        self, caller: Principal, context_id: str, hand: str, action: str, args_bytes: bytes, but: set[tuple[str, str]]
    ) -> StoredCall | None:
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
            passes = state.status is StepStatus.RELEASED and state.approved and state.reported is None
            if state.status is StepStatus.HELD or passes:
                return StoredCall(plan_id, step_id, context_id)
        return None

    async def unreported(
        self, caller: Principal, context_id: str, hand: str, action: str, args_bytes: bytes
    ) -> StoredCall | None:
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
                return StoredCall(plan_id, step_id, context_id)
        return None

    async def collect(
        self,
        caller: Principal,
        plan_id: str,
        step_id: str,
        *,
        args_bytes: bytes | None = None,
        naming: Guard | None = None,
    ) -> bool:
        """Tell the client, through whoever calls this, to go ahead with an approved step, or what came of it where a
        hand ran it. False where somebody was told before, or something that it rests on holds no more: then the call is
        to be judged anew.

        Args:
            args_bytes: canonical JSON that its args have to be.
            naming: written with it where the client runs the step: by which name it calls it.

        Raises:
            Unavailable: ``log.unavailable``; nobody may be told.
        """
        pipeline = self.pipeline
        for _ in range(_TRIES_MAX):
            plan = await self._plan(caller, plan_id)
            state = None if plan is None else plan.steps.get(step_id)
            frozen = await pipeline.freezes.current()
            if plan is None or state is None or not _passes(state, args_bytes) or await self._over(plan, state):
                return False
            guards = [pipeline.store.once(plan_id, step_id, ClientMove.COLLECTED)]
            if naming is not None and state.status is StepStatus.RELEASED:
                guards.append(naming)
            if not pipeline.freezes.stands(frozen):
                continue
            try:
                await pipeline.log.append(Append((), (), guards, rests_on=pipeline.freezes.rests_on()))
            except Outdated:
                continue
            except HandrailError as error:
                if error.reason is Reason.REQUEST_CONFLICT:
                    return False
                raise
            return True
        raise Unavailable(Reason.OVERLOADED, "what is frozen changes again and again")

    async def _plan(self, caller: Principal, plan_id: str) -> PlanState | None:
        """``None`` where its rows are not sound, or it was dropped."""
        try:
            return await self.pipeline.load(plan_id, caller)
        except Unavailable:
            raise
        except HandrailError:
            return None

    async def _step(self, caller: Principal, plan_id: str, step_id: str) -> StepState | None:
        plan = await self._plan(caller, plan_id)
        return None if plan is None else plan.steps.get(step_id)

    async def _over(self, plan: PlanState, state: StepState) -> bool:
        pipeline = self.pipeline
        frozen = await pipeline.freezes.current()
        now = pipeline.clock()
        ended = await standing.withdrawn(plan, state, pipeline.directory, pipeline.hands, pipeline.engine, frozen, now)
        return ended is not None


def _passes(state: StepState, args_bytes: bytes | None) -> bool:
    """Whether a step went once it was approved, and nobody said yet what came of it."""
    same = state.args is not None and args_bytes in {None, state.args_bytes}
    return same and state.status in _GONE and state.reported is None
