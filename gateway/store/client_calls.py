"""Steps that clients run, found by what the clients call them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, insert, literal_column, select

from gateway.errors import Refused
from gateway.model import ApprovalStatus, Principal
from gateway.ports import Guard, StoredCall
from gateway.reasons import Conflict, Reason, because
from gateway.store.reading import reading
from gateway.store.tables import approvals, client_calls, plans, steps

GRANTED_MAX: Final = 256
"""Approved steps of one caller that are looked through, the newest first."""
_INSERT: Final = insert(client_calls)
# The very text of the index, which would not be used for a bound value.
_RELEASED: Final = steps.c.status == literal_column("'released'")


class SqlClientCalls:
    """Reads; the one row that is written goes with the log."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def released(
        self, caller: Principal, call_ids: Collection[str], context_id: str | None = None
    ) -> Mapping[str, StoredCall]:
        """Call id -> its released step, of those that the caller asked for. Where there are several, as some endpoints
        count their calls from nought, the newest of this context, or else the newest.

        Raises:
            Unavailable: the database does not answer.
        """
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

    async def approved(self, caller: Principal, hand: str, action: str, since: float) -> Sequence[StoredCall]:
        """Steps of the caller's on this action that people approved after they were asked since then, newest first.

        Raises:
            Unavailable: the database does not answer.
        """
        query = (
            select(approvals.c.plan_id, approvals.c.step_id, approvals.c.context_id)
            .where(approvals.c.tenant == caller.tenant, approvals.c.caller == caller.pseudonym)
            .where(approvals.c.status == str(ApprovalStatus.GRANTED))
            .where(approvals.c.hand == hand, approvals.c.action == action, approvals.c.requested_at >= since)
            .order_by(approvals.c.requested_at.desc())
            .limit(GRANTED_MAX)
        )
        rows = await reading(self._engine, "approved calls", lambda connection: connection.execute(query).all())
        return [StoredCall(row.plan_id, row.step_id, row.context_id) for row in rows]

    @staticmethod
    def naming(caller: Principal, call_id: str, plan_id: str, step_id: str) -> Guard:
        """The insert that gives a released step another name; a conflict raises ``request.conflict``."""
        row = {"tenant": caller.tenant, "caller": caller.pseudonym, "call_id": call_id}
        return Guard(_INSERT, {**row, "plan_id": plan_id, "step_id": step_id}, _taken)


def _taken(_: Connection) -> None:
    """Another call has the name. Raises ``request.conflict``."""
    raise Refused(Reason.REQUEST_CONFLICT, "another call has this id", **because(Conflict.STEP_REPORTED))
