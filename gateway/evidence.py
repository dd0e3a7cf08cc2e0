"""What the gateway can show afterwards: receipts with their proofs, and why a step was decided as it was."""

from dataclasses import dataclass
from typing import Any

import orjson

from gateway.canonical import b64url_encode
from gateway.errors import Refused
from gateway.model import Principal
from gateway.permissions import Permission, permits
from gateway.pipeline import Pipeline
from gateway.plans.under_way import may_see, may_use_all
from gateway.reasons import Reason
from gateway.state import PlanState, StepState


@dataclass(slots=True)
class Evidence:
    """Reads the record for people and verifiers."""

    pipeline: Pipeline

    async def receipt(self, receipt_id: str, viewer: Principal) -> dict[str, Any]:
        """A receipt with the log entry that it names, and the openings of what the entry commits to.

        Whoever may see this step and not the whole plan gets no openings: they hold the plan, and what other hands
        were given and answered.

        Raises:
            Refused: ``request.not_found`` where there is none that the viewer may see.
        """
        plan, state = await self._find(receipt_id, viewer)
        if state.receipt is None or state.log_index is None:
            raise Refused(Reason.REQUEST_NOT_FOUND)
        fields = {"plan": plan.commitment, **state.commitments}
        opened = await self.pipeline.payloads.open(sorted(fields.values())) if may_see(plan, viewer) else {}
        return {
            "v": 1,
            "receipt_id": receipt_id,
            "receipt": state.receipt,
            "entry": (await self.pipeline.log.entry(state.log_index)).decode("utf-8"),
            "log_index": state.log_index,
            "fields": fields,
            "openings": {
                name: {"salt": b64url_encode(opened[commitment][0]), "value": b64url_encode(opened[commitment][1])}
                for name, commitment in fields.items()
                if commitment in opened
            },
        }

    async def proof(self, receipt_id: str, viewer: Principal) -> str:
        """``c2sp.org/tlog-proof@v1`` of the entry that a receipt names."""
        _, state = await self._find(receipt_id, viewer)
        if state.receipt is None or state.log_index is None:
            raise Refused(Reason.REQUEST_NOT_FOUND)
        return await self.pipeline.log.proof(state.log_index)

    async def answers(self, approval_id: str, viewer: Principal) -> dict[str, Any]:
        """Every answer to an approval request, with the log entry that commits to it, its opening and its proof.

        Raises:
            Refused: ``request.not_found`` where there is no request that the viewer may see.
        """
        row = await self.pipeline.store.approval(approval_id)
        if row is None or row.tenant != viewer.tenant or not viewer.may_use(row.hand):
            raise Refused(Reason.REQUEST_NOT_FOUND)
        log = self.pipeline.log
        answers = (*row.void_answers, *row.answers)
        opened = await self.pipeline.payloads.open([answer.commitment for answer in answers])
        files = []
        for answer in answers:
            index, fields = await log.committing(row.plan_id, answer.commitment)
            found = opened.get(answer.commitment)
            files.append(
                {
                    "v": 1,
                    "attested_by": str(answer.attested_by),
                    "void": answer in row.void_answers,
                    "entry": (await log.entry(index)).decode("utf-8"),
                    "log_index": index,
                    "fields": dict(fields),
                    "opening": None
                    if found is None
                    else {"salt": b64url_encode(found[0]), "value": b64url_encode(found[1])},
                    "proof": await log.proof(index),
                }
            )
        return {"approval_id": approval_id, "answers": files}

    async def why(self, plan_id: str, step_id: str, viewer: Principal) -> dict[str, Any]:
        """Each rule that spoke about a step, where it stands in the bundle, and the input that it saw.

        The place is said where the bundle that decided is still at hand. Whoever may read recorded inputs sees those of
        others' plans too, where every hand of the plan is one of theirs.

        Raises:
            Refused: ``request.not_found``.
        """
        plan = await self.pipeline.load(plan_id)
        if not may_see(plan, viewer) and not _may_read(plan, viewer):
            raise Refused(Reason.REQUEST_NOT_FOUND)
        state = plan.steps.get(step_id)
        if state is None:
            raise Refused(Reason.REQUEST_NOT_FOUND)
        engine = self.pipeline.engine
        decision = state.decision
        reasons = []
        for reason in () if decision is None else decision.reasons:
            place = None if decision is None else engine.locate(reason.code, decision.policy_digest)
            reasons.append({"code": reason.code, "message": reason.message, **(place or {})})
        commitment = state.commitments.get("evaluation")
        opened = await self.pipeline.payloads.open([commitment]) if commitment is not None else {}
        seen = next((orjson.loads(value)["input"] for _, value in opened.values()), None)
        return {
            "plan_id": plan_id,
            "step_id": step_id,
            "status": str(state.status),
            "decision": state.view(plan_id)["decision"],
            "error": None if state.error is None else state.error.document(),
            "reasons": reasons,
            "input": seen,
        }

    async def _find(self, receipt_id: str, viewer: Principal) -> tuple[PlanState, StepState]:
        found = await self.pipeline.store.find_receipt(receipt_id)
        if found is None:
            raise Refused(Reason.REQUEST_NOT_FOUND)
        plan = await self.pipeline.load(found[0])
        state = plan.steps[found[1]]
        if not may_see(plan, viewer) and not _may_see_step(plan, state, viewer):
            raise Refused(Reason.REQUEST_NOT_FOUND)
        return plan, state


def _may_see_step(plan: PlanState, state: StepState, viewer: Principal) -> bool:
    return (
        plan.plan.tenant == viewer.tenant
        and permits(viewer, Permission.PLANS_READ_ALL)
        and viewer.may_use(state.step.hand)
    )


def _may_read(plan: PlanState, viewer: Principal) -> bool:
    return plan.plan.tenant == viewer.tenant and permits(viewer, Permission.POLICY_INPUTS) and may_use_all(plan, viewer)
