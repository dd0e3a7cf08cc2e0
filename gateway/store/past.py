"""What the log knows of a context or a principal: the entries about its plans and steps (``ports.Past``)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, Row, Select, bindparam, select

from audit.entry import format_time
from audit.history import TREE_SIZE
from audit.tables import entries
from gateway.entries import EntryType
from gateway.ports import LoggedStep
from gateway.store.reading import reading

STEPS: Final = (
    EntryType.POLICY_ALLOWED,
    EntryType.POLICY_OBSERVED,
    EntryType.POLICY_DENIED,
    EntryType.APPROVAL_REQUESTED,
    EntryType.APPROVAL_EXPIRED,
    EntryType.APPROVAL_VOIDED,
    EntryType.APPROVAL_REBOUND,
    EntryType.STEP_DISPATCHED,
    EntryType.STEP_EXECUTED,
    EntryType.STEP_FAILED,
    EntryType.STEP_AMBIGUOUS,
    EntryType.STEP_SKIPPED,
    EntryType.STEP_CANCELLED,
    EntryType.STEP_RELEASED,
)
"""What moves a step that was judged."""

_COLUMNS: Final = (
    entries.c.idx,
    entries.c.type,
    entries.c.time,
    entries.c.context_id,
    entries.c.plan_id,
    entries.c.step_id,
    entries.c.hand,
    entries.c.action,
    entries.c.effect,
    entries.c.body,
    entries.c.fields,
)
_OF_CONTEXT: Final = (
    select(*_COLUMNS)
    .where(
        entries.c.tenant == bindparam("tenant"),
        entries.c.context_id == bindparam("context_id"),
        entries.c.type.in_([str(kind) for kind in (EntryType.PLAN_RECEIVED, *STEPS)]),
        entries.c.idx < TREE_SIZE,
    )
    .order_by(entries.c.idx)
)
_OF_PRINCIPAL: Final = (
    select(*_COLUMNS)
    .where(
        entries.c.tenant == bindparam("tenant"),
        entries.c.principal == bindparam("principal"),
        entries.c.time >= bindparam("since"),
        entries.c.type.in_([str(kind) for kind in STEPS]),
        entries.c.idx < TREE_SIZE,
    )
    .order_by(entries.c.idx.desc())
    .limit(bindparam("most"))
)


class SqlPast:
    """``ports.Past`` over the log's own table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def of_context(self, tenant: str, context_id: str) -> Sequence[LoggedStep]:
        """See ``ports.Past``."""
        return await self._read(_OF_CONTEXT, {"tenant": tenant, "context_id": context_id})

    async def of_principal(self, tenant: str, pseudonym: str, since: float, limit: int) -> Sequence[LoggedStep]:
        """See ``ports.Past``."""
        asked = {"tenant": tenant, "principal": pseudonym, "since": format_time(max(since, 0.0)), "most": limit}
        return (await self._read(_OF_PRINCIPAL, asked))[::-1]

    async def _read(self, query: Select[Any], parameters: dict[str, Any]) -> list[LoggedStep]:
        def read(connection: Connection) -> list[LoggedStep]:
            return [_logged(row) for row in connection.execute(query, parameters)]

        return await reading(self._engine, "past", read)


def _logged(row: Row[Any]) -> LoggedStep:
    body = orjson.loads(row.body)
    return LoggedStep(
        index=row.idx,
        type=EntryType(row.type),
        at=datetime.strptime(row.time, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp(),
        gateway=body["gateway"],
        context_id=row.context_id or "",
        plan_id=row.plan_id or "",
        step_id=row.step_id,
        hand=row.hand or "",
        action=row.action or "",
        effect=row.effect,
        manifest_digest=body.get("manifest_digest"),
        facts=body.get("facts", {}),
        commitments={} if row.fields is None else orjson.loads(row.fields),
    )
