"""How plans, steps and approvals are written: statements, the values of a step, and what a lost race raises."""

from typing import Any, Final

import orjson
from sqlalchemy import Connection, bindparam, delete, insert, update

from gateway.errors import HandrailError, Refused
from gateway.reasons import Conflict, Reason, because
from gateway.state import PlanState, StepState
from gateway.store.tables import approval_answers, approval_ends, approvals, client_moves, fates, plans, replays, steps

INSERT_REPLAY: Final = insert(replays)
FORGET_REPLAYS: Final = delete(replays).where(replays.c.expires_at < bindparam("past"))
INSERT_CLIENT_MOVE: Final = insert(client_moves)
INSERT_FATE: Final = insert(fates)
INSERT_PLAN: Final = insert(plans)
INSERT_STEP: Final = insert(steps)
INSERT_APPROVAL: Final = insert(approvals)
INSERT_ANSWER: Final = insert(approval_answers)
INSERT_END: Final = insert(approval_ends)
UPDATE_PLAN: Final = (
    update(plans).where(plans.c.plan_id == bindparam("the_plan")).values(status=bindparam("new_status"))
)
UPDATE_APPROVAL: Final = (
    update(approvals).where(approvals.c.approval_id == bindparam("the_approval")).values(status=bindparam("new_status"))
)
BOUND: Final = ("policy_digest", "manifest_digest", "fields", "asked", "mac")
REBIND_APPROVAL: Final = (
    update(approvals)
    .where(approvals.c.approval_id == bindparam("the_approval"))
    .values({name: bindparam(f"new_{name}") for name in BOUND})
)
STEP_STATE: Final = (
    "status",
    "effect",
    "reasons",
    "policy_digest",
    "manifest_digest",
    "fields",
    "error",
    "personal_data",
    "truncated",
    "step_jti",
    "receipt_id",
    "receipt",
    "log_index",
    "mac",
)
UPDATE_STEP: Final = (
    update(steps)
    .where(steps.c.plan_id == bindparam("the_plan"), steps.c.step_id == bindparam("the_step"))
    .values({name: bindparam(f"new_{name}") for name in STEP_STATE})
)


def as_json(value: Any) -> str:
    """A column that holds JSON."""
    return orjson.dumps(value).decode()


def step_values(plan: PlanState, state: StepState, log_index: int, receipt: str | None) -> dict[str, Any]:
    """:data:`STEP_STATE` of a step, less its MAC."""
    decision = state.decision
    return {
        "status": str(state.status),
        "effect": None if decision is None else str(decision.effect),
        "reasons": as_json([] if decision is None else [reason.code for reason in decision.reasons]),
        "policy_digest": None if decision is None else decision.policy_digest,
        "manifest_digest": state.manifest_digest,
        "fields": as_json(state.commitments),
        "error": None if state.error is None else as_json({"code": str(state.error.reason), **state.error.facts}),
        "personal_data": _found(state),
        "truncated": None if state.truncated is None else as_json(state.truncated.document()),
        "step_jti": state.step_jti,
        "receipt_id": None if receipt is None else state.receipt_id(plan.plan.plan_id),
        "receipt": receipt,
        "log_index": log_index,
    }


def _found(state: StepState) -> str | None:
    if not state.personal_data and not state.personal_data_taken:
        return None
    return as_json([dict(state.personal_data), dict(state.personal_data_taken)])


def replayed(_: Connection) -> None:
    """The plan was taken before. Raises ``verify.replayed``."""
    raise Refused(Reason.VERIFY_REPLAYED)


def decided(_: Connection) -> None:
    """Somebody else said first what becomes of the step. Raises ``request.conflict``."""
    raise HandrailError(
        Reason.REQUEST_CONFLICT, "the step was let go or ended before", **because(Conflict.STEP_DECIDED)
    )


def said(_: Connection) -> None:
    """It was said before of a step that its client runs. Raises ``request.conflict``."""
    raise Refused(Reason.REQUEST_CONFLICT, "said before", **because(Conflict.STEP_REPORTED))


def ended(_: Connection) -> None:
    """The asking is over, for whoever takes care of requests. Raises ``request.conflict``."""
    raise HandrailError(
        Reason.REQUEST_CONFLICT,
        "the request was answered, or judged anew, elsewhere",
        **because(Conflict.REQUEST_DECIDED),
    )


def closed(_: Connection) -> None:
    """The asking is over, for a person who answers. Raises ``approval.closed``."""
    raise Refused(Reason.APPROVAL_CLOSED, "answered, or judged anew, meanwhile")


def answered(_: Connection) -> None:
    """The person answered before. Raises ``approval.closed``."""
    raise Refused(Reason.APPROVAL_CLOSED, "answered twice by one person")
