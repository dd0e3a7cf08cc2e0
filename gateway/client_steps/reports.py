"""What clients say came of the steps that they ran themselves.

It is taken once, from whoever asked for the step, and stands beside the step as *reported*: nobody here saw anything
run, so the step stays ``released`` for ever. What was reported is data from outside like any result: it is looked
through, cut, committed to and erasable, and the context remembers it as a result of that hand.
"""

from dataclasses import dataclass, replace
from typing import Final

from gateway import data_subjects
from gateway.calls import HandResult
from gateway.canonical import canonical
from gateway.commitments import commit
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Absent, Malformed, Refused
from gateway.freeze import refusal
from gateway.model import Principal, StepStatus
from gateway.pipeline import Pipeline
from gateway.plan_locks import PlanLocks
from gateway.ports import Append, ClientMove
from gateway.reasons import Conflict, Reason, because
from gateway.stages import result as stage
from gateway.stages.dispatch import result_limit
from gateway.stages.drafts import counted, found
from gateway.state import REPORTED_DONE, REPORTED_FAILED, PlanState, Reported, StepState

BLOCKS_MAX: Final = 10_000
"""Content blocks of one report."""


@dataclass(slots=True)
class ClientReports:
    """Reports of released steps at one gateway."""

    pipeline: Pipeline
    locks: PlanLocks

    async def report(self, caller: Principal, plan_id: str, step_id: str, result: HandResult) -> Reported:
        """Put what came of a released step on record, and return that; the same once more changes nothing.

        Args:
            result: content blocks, and whether the tool failed.

        Raises:
            Refused: ``request.not_found`` where the plan is not the caller's, or has no such step;
                ``request.conflict`` where the step was not released, or something else was reported of it;
                ``freeze.active`` where the caller is frozen; ``request.malformed`` for content without a canonical
                form, or of which more than text would have to be cut.
            Unavailable: ``log.unavailable``; nothing is on record, and it may be sent again.
        """
        pipeline = self.pipeline
        if (freeze := (await pipeline.freezes.current()).on(caller)) is not None:
            raise refusal(freeze)
        async with self.locks.of(plan_id):
            plan, state = await self._released(caller, plan_id, step_id)
            taken = await _settled(pipeline, plan, state, result)
            if state.reported is not None:
                return _same(state.reported, taken)
            facts: dict[str, str | int] = {"said": REPORTED_FAILED if result.is_error else REPORTED_DONE}
            facts |= found(taken)
            if taken.personal_data_taken:
                facts["personal_data_taken"] = counted(taken.personal_data_taken)
            draft = EntryDraft(
                EntryType.STEP_REPORTED,
                plan.plan.tenant,
                context_id=plan.plan.context_id,
                plan_id=plan_id,
                step_id=step_id,
                principal=plan.plan.principal.pseudonym,
                hand=state.names[0],
                action=state.names[1],
                manifest_digest=state.manifest_digest,
                facts=facts,
                fields=taken.fresh,
                commitments={"plan": plan.commitment, **taken.commitments},
            )
            once = pipeline.store.once(plan_id, step_id, ClientMove.REPORTED)
            try:
                await pipeline.log.append(Append([draft], (), [once]))
            except Refused as refused:
                if refused.reason is not Reason.REQUEST_CONFLICT:
                    raise
                return _same(await self._on_record(plan_id, step_id), taken)
            reported = await self._on_record(plan_id, step_id)
            document = taken.fresh["result"].value
            pipeline.contexts.reported(plan, state, reported, document)
            live = pipeline.live(plan_id)
            for known in (plan, live):
                if known is not None:
                    known.steps[step_id].reported = reported
            return reported

    async def _released(self, caller: Principal, plan_id: str, step_id: str) -> tuple[PlanState, StepState]:
        """The caller's plan, and a step of it that was released. A role that reads every plan reports of none."""
        plan = await self.pipeline.load(plan_id)
        whose = {plan.plan.principal.pseudonym, plan.plan.caller.pseudonym}
        if plan.plan.tenant != caller.tenant or caller.pseudonym not in whose:
            raise Refused(Reason.REQUEST_NOT_FOUND)
        state = plan.steps.get(step_id)
        if state is None:
            raise Absent("step", step_id)
        if state.status is not StepStatus.RELEASED:
            raise Refused(Reason.REQUEST_CONFLICT, "not released", **because(Conflict.STEP_NOT_RELEASED))
        return plan, state

    async def _on_record(self, plan_id: str, step_id: str) -> Reported:
        """What is on record, here or by another gateway that took one meanwhile."""
        plan = await self.pipeline.revive(plan_id)
        reported = None if plan is None else plan.steps[step_id].reported
        if reported is None:
            raise Refused(Reason.REQUEST_CONFLICT, "reported elsewhere", **because(Conflict.STEP_REPORTED))
        return reported


async def _settled(pipeline: Pipeline, plan: PlanState, state: StepState, result: HandResult) -> StepState:
    """The step with what was reported of it in place of a result, as it goes on record.

    Raises:
        Refused: ``request.malformed``.
    """
    taken = replace(state, fresh={}, commitments={}, result=result, truncated=None)
    if taken.manifest is None or taken.forgotten:
        # The hand is pinned anew since, or its decision was erased: whom this concerns, and what is to be taken out of
        # it, nobody knows any more. That something was reported stays.
        taken.result = HandResult((), None, result.is_error)
        taken.put("result", commit(canonical(taken.result.document()), data_subjects.of_context(plan.plan)))
        return taken
    try:
        await stage.reported(plan, taken, pipeline.scanner)
    except Refused as refused:
        expected = (
            f"content blocks of at most {result_limit(taken)} bytes, beside text that can be cut, about few people"
        )
        raise Malformed(str(refused.reason), pointer="/content", expected=expected) from None
    return taken


def _same(known: Reported, taken: StepState) -> Reported:
    """What is on record, where it is the same as what is reported now.

    Raises:
        Refused: ``request.conflict``.
    """
    again = taken.result
    if known.result is None or again is None or known.is_error is not again.is_error:
        raise Refused(Reason.REQUEST_CONFLICT, "reported before", **because(Conflict.STEP_REPORTED))
    if canonical(known.result.document()) != canonical(again.document()):
        raise Refused(Reason.REQUEST_CONFLICT, "reported before", **because(Conflict.STEP_REPORTED))
    return known
