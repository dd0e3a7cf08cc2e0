"""What befalls approval requests without anybody asking: their time runs out, or the policy they rest on changes."""

from dataclasses import dataclass
from typing import Final

import structlog

from gateway.approvals.withdrawal import withdraw
from gateway.errors import HandrailError, Unavailable
from gateway.model import StepStatus
from gateway.pipeline import Pipeline
from gateway.plan_locks import PlanLocks
from gateway.reasons import Reason

_log = structlog.get_logger("handrail.approvals")

EXPIRE_BATCH: Final = 256
REDECIDE_BATCH: Final = 16
"""Requests looked at in one turn of upkeep (a second) after the policy changed."""


@dataclass(slots=True)
class ApprovalUpkeep:
    """Upkeep of one gateway's approval requests."""

    pipeline: Pipeline
    locks: PlanLocks
    """The same that answers take."""
    _looked_at: str = ""
    """Id of the last request that was looked at after a change of the policy."""
    _epoch: int = 0
    """Of the engine, when every waiting request was looked at last."""
    _all: bool = False
    """Whether every waiting request is being looked at: also one by the active bundle may stand no more."""

    async def withdraw(self, plan_id: str, reason: Reason) -> bool:
        """See :func:`gateway.approvals.withdrawal.withdraw`."""
        return await withdraw(self.pipeline, self.locks, plan_id, reason)

    async def expire(self) -> int:
        """Deny every step whose time to be approved is over; returns how many."""
        pipeline = self.pipeline
        by_plan: dict[str, set[str]] = {}
        for plan_id, approval_id in await pipeline.store.expired_approvals(pipeline.clock(), EXPIRE_BATCH):
            by_plan.setdefault(plan_id, set()).add(approval_id)
        ended = 0
        for plan_id, expired in by_plan.items():
            try:
                async with self.locks.of(plan_id):
                    ended += await self._expire(plan_id, expired)
            except Unavailable:
                raise
            except HandrailError as error:
                # One plan that cannot be read must not keep the others' time from running out.
                _log.error("cannot expire", plan_id=plan_id, reason=str(error.reason), detail=error.detail)
        return ended

    async def _expire(self, plan_id: str, expired: set[str]) -> int:
        """End what waits of one plan under these requests. The plan is read once: a hundred of its steps may wait."""
        pipeline = self.pipeline
        plan = await pipeline.load(plan_id)
        over = []
        for state in plan:
            # Looked at again for each: the plan may go on while the one before is being recorded.
            if state.approval_id in expired and state.status is StepStatus.HELD and not state.approved:
                ending = state.begin_ending()
                ending.fail(StepStatus.EXPIRED, Reason.APPROVAL_EXPIRED)
                await pipeline.recorder.outcome(plan, state, ending, pipeline.clock())
                over.append(state)
        if over:
            pipeline.followers.announce(plan, over)
            pipeline.resume(plan)
        return len(over)

    async def redecide(self) -> int:
        """Have waiting steps judged anew whose request rests on a bundle that decides no more; returns how many plans
        were taken up. A few at a time, so that an activation with a thousand waiting requests starves nobody. From the
        rows, so that it goes on after a restart; each plan by the gateway that takes it forward, so that no request is
        opened twice. A step that is dispatched goes on as it was decided.
        """
        pipeline = self.pipeline
        digest = pipeline.engine.digest
        if not digest:
            return 0  # nothing could judge them
        if self._epoch != pipeline.engine.epoch:
            self._epoch, self._all, self._looked_at = pipeline.engine.epoch, True, ""
        found = await pipeline.store.outdated_approvals("" if self._all else digest, self._looked_at, REDECIDE_BATCH)
        if found:
            await pipeline.engine.ready()  # an engine that is away would deny what waits
        self._looked_at = found[-1][1] if len(found) == REDECIDE_BATCH else ""
        self._all = self._all and bool(self._looked_at)
        taken = 0
        for plan_id in dict.fromkeys(plan_id for plan_id, _ in found):
            try:
                async with self.locks.of(plan_id):
                    taken += await self._redecide(plan_id)
            except Unavailable:
                raise
            except HandrailError as error:
                _log.error("cannot judge anew", plan_id=plan_id, reason=str(error.reason), detail=error.detail)
        return taken

    async def _redecide(self, plan_id: str) -> int:
        pipeline = self.pipeline
        plan = await pipeline.load(plan_id)
        the = plan.plan
        outdated = any(
            state.status is StepStatus.HELD
            and state.decision is not None
            and not state.answering
            and not pipeline.engine.stands(the.tenant, the.principal.id, state.step.hand, state.decision)
            for state in plan
        )
        if outdated:
            pipeline.resume(plan)
        return outdated
