"""Settling what an earlier life of this gateway, or a log that could not be written, left half done."""

import asyncio
from typing import Final

import structlog

from gateway.errors import HandrailError, Unavailable
from gateway.model import StepStatus
from gateway.pipeline import Pipeline
from gateway.ports import OfferStatus
from gateway.reasons import Reason

WAIT_SECONDS: Final = 60.0
"""For another gateway that settles what a restore brought back."""
_POLL_SECONDS: Final = 0.1

_log = structlog.get_logger("handrail.recovery")


async def recover(pipeline: Pipeline, *, first: bool = False) -> None:
    """Bring every half-done plan to where its record and the world agree, and take it up again.

    A step whose intent is on record and whose outcome is not was perhaps executed: it becomes ``ambiguous``, and nobody
    runs it again (invariant 5). Only where this very process knows that it never let the step go is it ``cancelled``.

    After a restore from a backup the same holds for every step that had not ended in that backup, dispatched or not: it
    may have been approved and executed in what was lost.

    Args:
        first: also look at every plan that this gateway owned when it last stopped, and at what a restore brought back.

    Raises:
        Unavailable: ``log.unavailable``; what is not settled stays noted.
    """
    if first:
        await _settle_restored(pipeline)
    owned = await pipeline.store.unfinished() if first else ()
    for plan_id in tuple(pipeline.overtaken):
        await _catch_up(pipeline, plan_id)
    await _settle_all(pipeline, {*pipeline.stalled, *owned}, restored=False)


async def _settle_restored(pipeline: Pipeline) -> None:
    """Settle what a restore brought back, whoever owns it, one gateway at a time: none serves before it is done, or a
    person could answer there what was perhaps approved and executed in what was lost.
    """
    waited = 0.0
    while await pipeline.store.restored():
        async with pipeline.store.alone() as mine:
            if mine:
                await _settle_all(pipeline, set(await pipeline.store.restored()), restored=True)
                return
        if not waited:
            _log.info("another gateway settles what the restore brought back: waiting for it")
        elif waited >= WAIT_SECONDS:
            detail = "another gateway still settles what the restore brought back: start this one when that one serves"
            raise Unavailable(Reason.LOG_UNAVAILABLE, detail)
        await asyncio.sleep(_POLL_SECONDS)
        waited += _POLL_SECONDS


async def _settle_all(pipeline: Pipeline, plan_ids: set[str], *, restored: bool) -> None:
    for plan_id in plan_ids:
        if pipeline.live(plan_id) is not None:
            continue
        try:
            await _settle(pipeline, plan_id, restored=restored)
        except Unavailable:
            pipeline.stalled.add(plan_id)
            raise
        except HandrailError as error:
            # One plan that cannot be read must not keep the others from being settled.
            _log.error("plan cannot be settled", plan_id=plan_id, reason=str(error.reason), detail=error.detail)
            pipeline.stalled.discard(plan_id)


async def _catch_up(pipeline: Pipeline, plan_id: str) -> None:
    """Take a plan up from where somebody else has brought it."""
    if pipeline.live(plan_id) is None and plan_id not in pipeline.stalled:
        try:
            plan = await pipeline.revive(plan_id)
        except Unavailable:
            raise
        except HandrailError as error:
            _log.error("plan cannot be read", plan_id=plan_id, reason=str(error.reason), detail=error.detail)
            plan = None
        if plan is not None and pipeline.live(plan_id) is None:
            pipeline.resume(plan)
    pipeline.overtaken.discard(plan_id)


async def _settle(pipeline: Pipeline, plan_id: str, *, restored: bool) -> None:
    plan = await pipeline.revive(plan_id)
    if plan is not None:
        offers = {one.step_jti: one for one in await pipeline.offers.of_plan(plan_id)}
        for state in plan:
            if state.status.final or (state.status is not StepStatus.RUNNING and not restored):
                continue
            withheld = (plan_id, state.step.id) in pipeline.withheld
            offered = offers.get(state.step_jti or "")
            if offered is not None and not restored and not (withheld and offered.status is OfferStatus.OPEN):
                continue  # a remote hand has it, or may claim it at any gateway: its deadline ends it
            ending = state.begin_ending()
            if restored:
                ending.fail(StepStatus.AMBIGUOUS, Reason.LOG_RESTORED)
            elif withheld:
                ending.fail(StepStatus.CANCELLED, Reason.LOG_UNAVAILABLE)
            else:
                ending.fail(StepStatus.AMBIGUOUS, Reason.HAND_LOST_REPLY)
            await pipeline.recorder.outcome(plan, state, ending, pipeline.clock(), offered)
        pipeline.withheld.difference_update({(plan_id, name) for name in plan.steps})
        pipeline.resume(plan)
    pipeline.stalled.discard(plan_id)
