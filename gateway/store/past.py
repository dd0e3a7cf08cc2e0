"""What the log knows of a context or a principal: the entries about its plans and steps (``ports.Past``)."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, Row, Select, bindparam, select

from audit.tables import entries, head
from gateway.entries import PAST, STEPS, EntryType
from gateway.ports import Logged, LoggedStep
from gateway.store.reading import reading
from gateway.times import format_time, parse_time

_SIZE: Final = select(head.c.tree_size).where(head.c.id == 1)
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
        entries.c.type.in_(sorted(PAST)),
        entries.c.idx < bindparam("size"),
    )
    .order_by(entries.c.idx)
)
_OF_PRINCIPAL: Final = (
    select(*_COLUMNS)
    .where(
        entries.c.tenant == bindparam("tenant"),
        entries.c.principal == bindparam("principal"),
        entries.c.time >= bindparam("since"),
        entries.c.type.in_(sorted(STEPS)),
        entries.c.idx < bindparam("size"),
    )
    .order_by(entries.c.idx.desc())
    .limit(bindparam("most"))
)
_THESE: Final = (
    select(*_COLUMNS)
    .where(entries.c.idx.in_(bindparam("indices", expanding=True)), entries.c.type.in_(sorted(PAST)))
    .order_by(entries.c.idx)
)


class SqlPast:
    """``ports.Past`` over the log's own table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def of_context(self, tenant: str, context_id: str) -> Logged:
        """See ``ports.Past``."""
        return await self._read(_OF_CONTEXT, {"tenant": tenant, "context_id": context_id})

    async def of_principal(self, tenant: str, pseudonym: str, since: float, limit: int) -> Logged:
        """See ``ports.Past``."""
        asked = {"tenant": tenant, "principal": pseudonym, "since": format_time(max(since, 0.0)), "most": limit}
        logged = await self._read(_OF_PRINCIPAL, asked)
        return Logged(logged.size, logged.steps[::-1])

    async def these(self, indices: Sequence[int]) -> Sequence[LoggedStep]:
        """See ``ports.Past``."""
        return (await self._read(_THESE, {"indices": list(indices)})).steps

    async def _read(self, query: Select[Any], parameters: dict[str, Any]) -> Logged:
        def read(connection: Connection) -> Logged:
            # The size comes first: whatever is committed in between is not below it, and so is not in the answer.
            size = connection.execute(_SIZE).scalar_one_or_none() or 0
            rows = connection.execute(query, {**parameters, "size": size})
            return Logged(size, [_logged(row) for row in rows])

        return await reading(self._engine, "past", read)


def _logged(row: Row[Any]) -> LoggedStep:
    body = orjson.loads(row.body)
    return LoggedStep(
        index=row.idx,
        type=EntryType(row.type),
        at=parse_time(row.time),
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
