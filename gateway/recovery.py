"""Settling what an earlier life of this gateway, or a log that could not be written, left half done."""

from gateway.model import StepStatus
from gateway.pipeline import Pipeline
from gateway.reasons import Reason


async def recover(pipeline: Pipeline, *, first: bool = False) -> None:
    """Bring every half-done plan to where its record and the world agree, and take it up again.

    A step whose intent is on record and whose outcome is not was perhaps executed: it becomes ``ambiguous``, and nobody
    runs it again (invariant 5). Only where this very process knows that it never let the step go is it ``cancelled``.

    Args:
        first: also look at every plan that this gateway owned when it last stopped.

    Raises:
        Unavailable: ``log.unavailable``; what is not settled stays noted.
    """
    owned = await pipeline.store.unfinished() if first else ()
    for plan_id in {*pipeline.stalled, *owned}:
        if pipeline.live(plan_id) is not None:
            continue
        plan = await pipeline.revive(plan_id)
        if plan is not None:
            for state in plan:
                if state.status is not StepStatus.RUNNING:
                    continue
                if (plan_id, state.step.id) in pipeline.withheld:
                    state.fail(StepStatus.CANCELLED, Reason.LOG_UNAVAILABLE)
                else:
                    state.fail(StepStatus.AMBIGUOUS, Reason.HAND_LOST_REPLY)
                await pipeline.recorder.outcome(plan, state, None, pipeline.clock())
            pipeline.withheld.difference_update({(plan_id, name) for name in plan.steps})
            pipeline.resume(plan)
        pipeline.stalled.discard(plan_id)
