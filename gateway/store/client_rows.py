"""Which steps that clients run are to be collected, or reported: questions to the rows and the log."""

from typing import Any

from sqlalchemy import Connection, Exists, exists, select
from sqlalchemy.sql.elements import ColumnElement

from audit.history import TREE_SIZE
from audit.tables import entries
from gateway.entries import EntryType
from gateway.model import ApprovalStatus
from gateway.ports import ClientMove
from gateway.store.tables import approvals, client_moves


def uncollected(
    connection: Connection, tenant: str, caller: str, context_id: str, hand: str, action: str, limit: int
) -> list[tuple[str, str]]:
    """See ``ports.PlanStore``."""
    row = approvals.c
    query = (
        select(row.plan_id, row.step_id)
        .where(
            row.tenant == tenant,
            row.caller == caller,
            row.status.in_([str(ApprovalStatus.OPEN), str(ApprovalStatus.GRANTED)]),
            row.context_id == context_id,
            row.hand == hand,
            row.action == action,
            ~_said(row.plan_id, row.step_id, ClientMove.COLLECTED),
        )
        .order_by(row.requested_at.desc(), row.approval_id)
        .limit(limit)
    )
    return [(found.plan_id, found.step_id) for found in connection.execute(query)]


def unreported(
    connection: Connection, tenant: str, principal: str, context_id: str, hand: str, action: str, limit: int
) -> list[tuple[str, str]]:
    """See ``ports.PlanStore``."""
    row = entries.c
    query = (
        select(row.plan_id, row.step_id)
        .where(
            row.tenant == tenant,
            row.context_id == context_id,
            row.type == str(EntryType.STEP_RELEASED),
            row.principal == principal,
            row.hand == hand,
            row.action == action,
            row.idx < TREE_SIZE,
            ~_said(row.plan_id, row.step_id, ClientMove.REPORTED),
        )
        .order_by(row.idx.desc())
        .limit(limit)
    )
    return [(found.plan_id, found.step_id) for found in connection.execute(query)]


def _said(plan_id: ColumnElement[Any], step_id: ColumnElement[Any], move: ClientMove) -> Exists:
    moves = client_moves.c
    return exists().where(moves.plan_id == plan_id, moves.step_id == step_id, moves.move == str(move))
