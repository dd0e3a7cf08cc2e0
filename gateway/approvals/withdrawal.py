"""A request for approval that whoever asked for the step takes back."""

from gateway.model import StepStatus
from gateway.pipeline import Pipeline
from gateway.plan_locks import PlanLocks
from gateway.reasons import Reason


async def withdraw(pipeline: Pipeline, locks: PlanLocks, plan_id: str, reason: Reason) -> bool:
    """Cancel what of a plan waits for people: nobody can approve it any more. What runs is seen through.

    Args:
        locks: the same that answers take.

    Returns:
        Whether anything waited.

    Raises:
        Refused: ``request.not_found``; ``request.conflict``, where another gateway took the plan further meanwhile.
        Unavailable: ``log.unavailable``.
    """
    async with locks.of(plan_id):
        plan = await pipeline.load(plan_id)
        over = []
        for state in plan:
            if state.status is StepStatus.HELD and not state.approved and not state.answering:
                ending = state.begin_ending()
                ending.fail(StepStatus.CANCELLED, reason)
                await pipeline.recorder.outcome(plan, state, ending, pipeline.clock())
                over.append(state)
        if over:
            pipeline.followers.announce(plan, over)
            pipeline.resume(plan)
        return bool(over)
