"""Steps that clients run: by what the clients call them, and which are to be collected, or reported."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, Exists, Row, Select, bindparam, exists, insert, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from audit.history import TREE_SIZE
from audit.tables import entries
from gateway.entries import EntryType
from gateway.errors import Refused
from gateway.model import ApprovalStatus, Principal
from gateway.ports import ClientMove, Guard, StoredCall
from gateway.reasons import Conflict, Reason, because
from gateway.store.reading import reading
from gateway.store.tables import approvals, client_calls, client_moves, plans, steps

FOUND_MAX: Final = 64
"""Steps of one caller on one action that are looked through for the same call, the newest first."""
_INSERT: Final = insert(client_calls)
# The very text of the index, which would not be used for a bound value.
_RELEASED: Final = steps.c.status == literal_column("'released'")


def _unsaid(plan_id: ColumnElement[Any], step_id: ColumnElement[Any], move: ClientMove) -> ColumnElement[bool]:
    moves = client_moves.c
    said: Exists = exists().where(moves.plan_id == plan_id, moves.step_id == step_id, moves.move == str(move))
    return ~said


# Built once: every request to a model asks the first.
_UNCOLLECTED: Final = (
    select(approvals.c.plan_id, approvals.c.step_id, approvals.c.context_id)
    .where(approvals.c.tenant == bindparam("of_tenant"), approvals.c.caller == bindparam("by_caller"))
    .where(approvals.c.status.in_(bindparam("in_status", expanding=True)))
    .where(approvals.c.hand == bindparam("on_hand"), approvals.c.action == bindparam("of_action"))
    .where(approvals.c.requested_at >= bindparam("since"))
    .where(_unsaid(approvals.c.plan_id, approvals.c.step_id, ClientMove.COLLECTED))
    .order_by(approvals.c.requested_at.desc(), approvals.c.approval_id)
    .limit(FOUND_MAX)
)
_UNCOLLECTED_IN_CONTEXT: Final = _UNCOLLECTED.where(approvals.c.context_id == bindparam("in_context"))
_UNREPORTED: Final = (
    select(entries.c.plan_id, entries.c.step_id, entries.c.context_id)
    .where(entries.c.tenant == bindparam("of_tenant"), entries.c.context_id == bindparam("in_context"))
    .where(entries.c.type == str(EntryType.STEP_RELEASED), entries.c.principal == bindparam("by_caller"))
    .where(entries.c.hand == bindparam("on_hand"), entries.c.action == bindparam("of_action"))
    .where(entries.c.idx < TREE_SIZE, _unsaid(entries.c.plan_id, entries.c.step_id, ClientMove.REPORTED))
    .order_by(entries.c.idx.desc())
    .limit(FOUND_MAX)
)


class SqlClientCalls:
    """``ports.client_calls.ClientCallRows``: reads; the one row that is written goes with the log."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def released(
        self, caller: Principal, call_ids: Collection[str], context_id: str | None = None
    ) -> Mapping[str, StoredCall]:
        """See ``ports.client_calls.ClientCallRows``."""
        if not call_ids:
            return {}
        names = sorted(call_ids)
        whose = (plans.c.tenant == caller.tenant, plans.c.caller == caller.pseudonym)
        columns = (steps.c.plan_id, steps.c.step_id, plans.c.context_id)
        own = (
            select(steps.c.step_id.label("call_id"), *columns)
            .join(plans, plans.c.plan_id == steps.c.plan_id)
            .where(steps.c.step_id.in_(names), _RELEASED, *whose)
            .order_by(plans.c.received_at)
        )
        named = (
            select(client_calls.c.call_id, client_calls.c.plan_id, client_calls.c.step_id, plans.c.context_id)
            .join(plans, plans.c.plan_id == client_calls.c.plan_id)
            .where(client_calls.c.tenant == caller.tenant, client_calls.c.caller == caller.pseudonym)
            .where(client_calls.c.call_id.in_(names))
        )

        def read(connection: Connection) -> Sequence[Row[Any]]:
            return [*connection.execute(own), *connection.execute(named)]

        rows = await reading(self._engine, "calls of clients", read)
        rows = sorted(rows, key=lambda row: row.context_id == context_id)
        return {row.call_id: StoredCall(row.plan_id, row.step_id, row.context_id) for row in rows}

    async def uncollected(
        self, caller: Principal, context_id: str | None, hand: str, action: str, since: float, *, waiting: bool
    ) -> Sequence[StoredCall]:
        """See ``ports.client_calls.ClientCallRows``."""
        query = _UNCOLLECTED if context_id is None else _UNCOLLECTED_IN_CONTEXT
        statuses = [str(ApprovalStatus.GRANTED), *([str(ApprovalStatus.OPEN)] if waiting else [])]
        asked = {**_about(caller, hand, action), "since": since, "in_status": statuses}
        return await self._found(query, {**asked, **({} if context_id is None else {"in_context": context_id})})

    async def unreported(self, caller: Principal, context_id: str, hand: str, action: str) -> Sequence[StoredCall]:
        """See ``ports.client_calls.ClientCallRows``."""
        return await self._found(_UNREPORTED, {**_about(caller, hand, action), "in_context": context_id})

    async def _found(self, query: Select[Any], asked: Mapping[str, Any]) -> Sequence[StoredCall]:
        rows = await reading(self._engine, "calls of clients", lambda one: one.execute(query, asked).all())
        return [StoredCall(row.plan_id, row.step_id, row.context_id) for row in rows]

    @staticmethod
    def naming(caller: Principal, call_id: str, plan_id: str, step_id: str) -> Guard:
        """See ``ports.client_calls.ClientCallRows``."""
        row = {"tenant": caller.tenant, "caller": caller.pseudonym, "call_id": call_id}
        return Guard(_INSERT, {**row, "plan_id": plan_id, "step_id": step_id}, _taken)


def _about(caller: Principal, hand: str, action: str) -> dict[str, str]:
    return {"of_tenant": caller.tenant, "by_caller": caller.pseudonym, "on_hand": hand, "of_action": action}


def _taken(_: Connection) -> None:
    """Another call has the name. Raises ``request.conflict``."""
    raise Refused(Reason.REQUEST_CONFLICT, "another call has this id", **because(Conflict.ID_TAKEN))
