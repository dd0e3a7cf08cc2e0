"""An approval request as the API shows it, the pages and messages render it, and people sign it."""

from collections.abc import Mapping
from typing import Any

from gateway.model import Binding, Principal
from gateway.ports import ApprovalAnswer, ApprovalRow
from gateway.state import PlanState
from gateway.times import format_time


def view(
    row: ApprovalRow, plan: PlanState | None, names: Mapping[str, str], viewer: Principal | None = None
) -> dict[str, Any]:
    """A request, and the exact call where its plan can be read.

    Args:
        names: pseudonym -> id; who was erased is shown by pseudonym.
        viewer: who looks, and is shown their own answer; ``None`` where nobody in particular does.
    """
    shown: dict[str, Any] = {
        "id": row.request.approval_id,
        "status": str(row.status),
        "successor": row.successor,
        "plan_id": row.plan_id,
        "step_id": row.step_id,
        "requested_by": names.get(row.caller, row.caller),
        "acts_for": names.get(row.principal, row.principal),
        "requested_at": format_time(row.request.requested_at),
        "expires_at": format_time(row.request.expires_at),
        "approver_role": row.request.approver_role,
        "quorum": row.request.quorum,
        "enrolled_key": row.request.enrolled_key,
        "asked": row.asked,
        "answers": [_shown(answer, names) for answer in row.answers],
        "void_answers": [_shown(answer, names) for answer in row.void_answers],
        "your_answer": None if viewer is None else _answer_of(row, viewer),
    }
    if plan is None:
        return shown
    state = plan.steps[row.step_id]
    action = None if state.manifest is None else state.manifest.actions.get(state.step.action)
    shown |= {
        "context_id": plan.plan.context_id,
        "hand": state.step.hand,
        "action": state.step.action,
        "args": state.args,
        "reasons": []
        if state.decision is None
        else [{"code": reason.code, "message": reason.message} for reason in state.decision.reasons],
        "roles": {} if action is None else {pointer: str(role) for pointer, role in action.roles.items()},
        "side_effects": None if action is None else str(action.side_effects),
        "description": None if action is None else action.description,
        "binding": Binding(
            row.tenant,
            row.plan_id,
            row.step_id,
            state.step.hand,
            state.step.action,
            state.args_sha256,
            row.policy_digest,
            row.manifest_digest,
            row.asked,
        ).document(),
    }
    return shown


def _answer_of(row: ApprovalRow, viewer: Principal) -> str | None:
    given = (str(answer.answer) for answer in row.answers if answer.approver == viewer.pseudonym)
    return next(given, None)


def _shown(answer: ApprovalAnswer, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "approver": names.get(answer.approver, answer.approver),
        "answer": str(answer.answer),
        "attested_by": str(answer.attested_by),
        "at": format_time(answer.answered_at),
    }
