"""Rows of plans, steps and approvals as the values that ``ports.PlanStore`` gives."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Row, select

from audit.history import LoggedReport
from gateway.calls import Truncation
from gateway.errors import Malformed
from gateway.evaluation import FIELD as EVALUATION
from gateway.model import Answer, ApprovalRequest, ApprovalStatus, Attestation, Effect
from gateway.ports import ApprovalAnswer, ApprovalRow, StoredReport, StoredStep
from gateway.state import REPORTED_FAILED as FAILED
from gateway.state import UNKNOWN, PlanState, StepState
from gateway.store.row_macs import RowMacs, sound
from gateway.store.tables import approval_answers, approvals

_COPIED: Final = (
    "tenant",
    "plan_id",
    "step_id",
    "principal",
    "caller",
    "hand",
    "policy_digest",
    "manifest_digest",
    "asked",
)
"""Members of an ``ApprovalRow`` that are columns of the same name."""
REFUSED_MAX: Final = 64
"""Refused calls of one caller on one action that are looked through for the same call, the newest first."""


def stored_step(row: Row[Any]) -> StoredStep:
    """A step as its row has it."""
    return StoredStep(
        step_id=row.step_id,
        hand=row.hand,
        action=row.action,
        status=row.status,
        effect=None if row.effect is None else str(Effect(row.effect)),
        reasons=tuple(orjson.loads(row.reasons)),
        policy_digest=row.policy_digest,
        manifest_digest=row.manifest_digest,
        commitments=orjson.loads(row.fields),
        error=None if row.error is None else orjson.loads(row.error),
        personal_data=({}, {}) if row.personal_data is None else tuple(orjson.loads(row.personal_data)),
        truncated=None if row.truncated is None else Truncation(**orjson.loads(row.truncated)),
        step_jti=row.step_jti,
        receipt=row.receipt,
        log_index=row.log_index,
    )


def stored_report(logged: LoggedReport) -> StoredReport:
    """What was reported of a released step, from its entry (``client_steps.reports``)."""
    facts = logged.facts
    left_out = facts.get("left_out_bytes")
    return StoredReport(
        is_error=facts["said"] == FAILED,
        at=logged.at,
        log_index=logged.log_index,
        commitment=logged.commitment,
        personal_data=(_kinds(facts.get("personal_data", "")), _kinds(facts.get("personal_data_taken", ""))),
        truncated=None if left_out is None else Truncation(None if left_out == UNKNOWN else int(left_out)),
    )


def _kinds(text: str) -> dict[str, int]:
    """``card:1 email:3`` taken apart (``stages.drafts.counted``)."""
    return {kind: int(number) for kind, _, number in (one.partition(":") for one in text.split())}


def approval_page(
    connection: Connection,
    macs: RowMacs,
    tenant: str,
    status: ApprovalStatus | None,
    hands: Collection[str] | None,
    after: str | None,
    limit: int,
) -> list[ApprovalRow]:
    """See ``ports.PlanStore.approvals``. By key, not by offset: what is asked for meanwhile moves no page."""
    condition = approvals.c.tenant == tenant
    if status is not None:
        condition &= approvals.c.status == str(status)
    if hands is not None:
        condition &= approvals.c.hand.in_(hands)
    if after is not None:
        last = select(approvals.c.requested_at).where(approvals.c.approval_id == after, approvals.c.tenant == tenant)
        at = connection.execute(last).scalar_one_or_none()
        if at is None:
            raise Malformed("no such request", parameter="after", expected="next of the page before")
        condition &= (approvals.c.requested_at < at) | (
            (approvals.c.requested_at == at) & (approvals.c.approval_id < after)
        )
    return approval_rows(connection, macs, condition, limit)


def approval_rows(connection: Connection, macs: RowMacs, condition: Any, limit: int = 1000) -> list[ApprovalRow]:
    """Approval requests with their answers, newest first.

    Raises:
        RowChanged: somebody else wrote one of them. A request says who may answer and how many must, so it is believed
            whole or not at all; its status alone is vouched for by the signed answers.
    """
    newest_first = (approvals.c.requested_at.desc(), approvals.c.approval_id.desc())
    found = connection.execute(select(approvals).where(condition).order_by(*newest_first).limit(limit)).mappings()
    rows = sound(found, partial(macs.verify_row, approvals), strict=True)
    newest: dict[str, int] = {row["approval_id"]: row["asked"] for row in rows}
    answers: dict[str, list[ApprovalAnswer]] = {name: [] for name in newest}
    void: dict[str, list[ApprovalAnswer]] = {name: [] for name in newest}
    if newest:
        query = (
            select(approval_answers)
            .where(approval_answers.c.approval_id.in_(newest))
            .order_by(approval_answers.c.answered_at)
        )
        for answer in connection.execute(query):
            counts = answer.asked == newest[answer.approval_id]
            (answers if counts else void)[answer.approval_id].append(
                ApprovalAnswer(
                    answer.approver,
                    Answer(answer.answer),
                    Attestation(answer.attested_by),
                    answer.commitment,
                    answer.answered_at,
                )
            )
    successors = _successors(connection, macs, rows)
    return [
        ApprovalRow(
            request=ApprovalRequest(
                row["approval_id"],
                row["approver_role"],
                row["quorum"],
                row["enrolled_key"],
                row["requested_at"],
                row["expires_at"],
            ),
            status=ApprovalStatus(row["status"]),
            evaluation=orjson.loads(row["fields"]).get(EVALUATION, ""),
            answers=tuple(answers[row["approval_id"]]),
            void_answers=tuple(void[row["approval_id"]]),
            successor=successors.get(row["approval_id"]),
            **{name: row[name] for name in _COPIED},
        )
        for row in rows
    ]


def refused_calls(
    connection: Connection, plan: PlanState, state: StepState, since: float
) -> Sequence[tuple[str, str, str]]:
    """See ``ports.PlanStore.refused``."""
    the = plan.plan
    whose = (approvals.c.tenant == the.tenant, approvals.c.caller == the.caller.pseudonym)
    query = (
        select(approvals.c.approval_id, approvals.c.plan_id, approvals.c.step_id)
        .join(approval_answers, approval_answers.c.approval_id == approvals.c.approval_id)
        .where(*whose, approvals.c.status == str(ApprovalStatus.REFUSED))
        .where(approvals.c.principal == the.principal.pseudonym)
        .where(approvals.c.hand == state.step.hand, approvals.c.action == state.step.action)
        .where(approvals.c.expires_at > since)  # nobody answers later: spares looking up the answers to old ones
        .where(approval_answers.c.answer == str(Answer.REFUSE), approval_answers.c.answered_at > since)
        .order_by(approval_answers.c.answered_at.desc(), approvals.c.approval_id)
        .limit(REFUSED_MAX)
    )
    if the.in_named_context:
        query = query.where(approvals.c.context_id == the.context_id)
    return [(row.approval_id, row.plan_id, row.step_id) for row in connection.execute(query)]


def waiting_calls(connection: Connection, plan: PlanState, state: StepState) -> Sequence[str]:
    """See ``ports.PlanStore.waiting``."""
    the = plan.plan
    query = (
        select(approvals.c.plan_id)
        .where(approvals.c.tenant == the.tenant, approvals.c.caller == the.caller.pseudonym)
        .where(approvals.c.status == str(ApprovalStatus.OPEN), approvals.c.principal == the.principal.pseudonym)
        .where(approvals.c.hand == state.step.hand, approvals.c.action == state.step.action)
        .where(approvals.c.plan_id != the.plan_id)
        .distinct()
        .limit(REFUSED_MAX)
    )
    return list(connection.execute(query).scalars())


def _successors(connection: Connection, macs: RowMacs, rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Voided request -> the newest one that was opened for its step since, where there is one."""
    voided = [row for row in rows if row["status"] == str(ApprovalStatus.VOIDED)]
    if not voided:
        return {}
    plan_ids, step_ids = ({row[name] for row in voided} for name in ("plan_id", "step_id"))
    condition = approvals.c.plan_id.in_(plan_ids) & approvals.c.step_id.in_(step_ids)
    oldest_first = connection.execute(select(approvals).where(condition).order_by(approvals.c.requested_at)).mappings()
    found = sound(oldest_first, partial(macs.verify_row, approvals), strict=True)
    newest = {(row["plan_id"], row["step_id"]): row for row in found}
    followed = {row["approval_id"]: (row, newest[row["plan_id"], row["step_id"]]) for row in voided}
    return {
        name: since["approval_id"]
        for name, (row, since) in followed.items()
        if since["requested_at"] > row["requested_at"]
    }
