"""Freezes, as the log tells them. There are no rows of them that somebody could take away: the log only grows.

Whoever can write to the database could append an entry that lifts a freeze. So a lift counts by its MAC, under a key
that is outside the database. A freeze counts by being there.
"""

import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, Connection, Engine, Row, bindparam, func, or_, select

from audit.history import TREE_SIZE
from audit.tables import entries
from gateway.canonical import canonical
from gateway.entries import FREEZING, EntryType
from gateway.freeze import EVERY_TENANT, Cause, Freeze, Scope, Told
from gateway.model import DEFAULT_TENANT
from gateway.store.reading import reading
from gateway.store.row_macs import RowMacs
from gateway.store.tables import approvals, contexts, plans, principals, steps
from gateway.store.tables.offers import offers
from gateway.times import parse_time

_log = structlog.get_logger("handrail.freeze")

_COLUMNS: Final = (entries.c.idx, entries.c.type, entries.c.tenant, entries.c.time, entries.c.principal, entries.c.body)
_KINDS: Final = sorted(str(kind) for kind in FREEZING)
_SINCE: Final = (
    select(*_COLUMNS, entries.c.fields)
    .where(
        entries.c.idx >= bindparam("after"),
        entries.c.idx < bindparam("size"),
        entries.c.type.in_(_KINDS),
    )
    .order_by(entries.c.idx)
)
_OF_TENANT: Final = (
    select(*_COLUMNS, entries.c.fields)
    .where(
        entries.c.tenant == bindparam("tenant"),
        entries.c.type.in_(_KINDS),
        entries.c.idx < bindparam("size"),
    )
    .order_by(entries.c.idx)
)


_OFFERED: Final = select(offers.c.step_jti).where(offers.c.status != "ended")
"""What remote hands have, or may claim: of this gateway's own steps those that no call of its own stands for."""


class SqlFreezes:
    """Reads block in threads."""

    def __init__(self, engine: Engine, mac_key: bytes, owner: str) -> None:
        """Use ``engine`` for reads.

        Args:
            mac_key: 32 bytes from outside the database.
            owner: the gateway's id.
        """
        self._engine = engine
        self._macs = RowMacs(mac_key)
        self._owner = owner

    def mac(self, freeze: Freeze) -> str:
        """What an entry that lifts ``freeze`` must carry."""
        return self._macs.of_message("freeze.lift", canonical([freeze.id, freeze.tenant])).hex()

    async def read(self, after: int) -> Told:
        """What the log says of freezes from index ``after`` on.

        Raises:
            Unavailable: the database cannot be read.
            HandrailError: ``gateway.internal``; an entry cannot be read, so it is not known what is frozen.
        """

        def work(connection: Connection) -> Told:
            size = connection.execute(select(TREE_SIZE)).scalar_one_or_none() or 0
            if size <= after:
                return Told(size, (), (), {})
            if after:
                rows = list(connection.execute(_SINCE, {"after": after, "size": size}))
            else:
                # The whole log, by an index that begins with the tenant. Who has no principal cannot call.
                known = {DEFAULT_TENANT, *connection.execute(select(principals.c.tenant).distinct()).scalars()}
                found = [connection.execute(_OF_TENANT, {"tenant": one, "size": size}) for one in sorted(known)]
                rows = sorted((row for result in found for row in result), key=lambda row: row.idx)
            return self._told(size, rows)

        return await reading(self._engine, "freezes", work)

    async def waiting(self, freeze: Freeze, limit: int) -> Sequence[str]:
        """Plans that this gateway takes forward of which something waits for people that the freeze stops."""

        def work(connection: Connection) -> Sequence[str]:
            query = (
                select(approvals.c.plan_id)
                .distinct()
                .join(plans, plans.c.plan_id == approvals.c.plan_id)
                .where(*self._held(freeze), plans.c.owner == self._owner)
                .order_by(approvals.c.plan_id)
                .limit(limit)
            )
            return list(connection.execute(query).scalars())

        return await reading(self._engine, "freezes", work)

    async def counts(self, freeze: Freeze) -> tuple[int, int]:
        """Steps that run at other gateways or are with remote hands, and approval requests, which the freeze stops."""

        def work(connection: Connection) -> tuple[int, int]:
            held = select(func.count()).select_from(approvals).where(*self._held(freeze))
            running = (
                select(func.count())
                .select_from(steps.join(plans, plans.c.plan_id == steps.c.plan_id))
                .where(
                    plans.c.status == "running",
                    or_(plans.c.owner != self._owner, steps.c.step_jti.in_(_OFFERED)),
                    steps.c.status == "running",
                    *within(freeze, plans.c.tenant, plans.c, steps.c.hand),
                )
            )
            return connection.execute(running).scalar_one(), connection.execute(held).scalar_one()

        return await reading(self._engine, "freezes", work)

    async def knows_context(self, tenant: str, context_id: str) -> bool:
        """Whether somebody of the tenant used the context."""

        def work(connection: Connection) -> bool:
            query = select(contexts.c.context_id).where(
                contexts.c.tenant == tenant, contexts.c.context_id == context_id
            )
            return connection.execute(query).first() is not None

        return await reading(self._engine, "freezes", work)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _told(self, size: int, rows: Iterable[Any]) -> Told:
        known: list[Freeze] = []
        lifted: list[str] = []
        why: dict[str, str] = {}
        for row in rows:
            facts = json.loads(row.body)["facts"]
            if row.type == EntryType.FROZEN:
                known.append(_freeze(row, facts))
                why |= {facts["freeze"]: json.loads(row.fields)["why"]} if row.fields else {}
            elif self._lifts(facts, row.tenant):
                lifted.append(facts["freeze"])
            else:
                _log.error("a lift of a freeze is not the gateway's, and counts for nothing", index=row.idx)
        return Told(size, known, lifted, why)

    def _lifts(self, facts: Mapping[str, Any], tenant: str) -> bool:
        due = self._macs.of_message("freeze.lift", canonical([facts["freeze"], tenant]))
        return hmac.compare_digest(str(facts.get("mac")).encode(), due.hex().encode())

    def _held(self, freeze: Freeze) -> list[ColumnElement[bool]]:
        return [
            approvals.c.status == "open",
            *within(freeze, approvals.c.tenant, approvals.c, approvals.c.hand),
        ]


def _freeze(row: Row[Any], facts: Mapping[str, Any]) -> Freeze:
    return Freeze(
        id=facts["freeze"],
        tenant=row.tenant,
        scope=Scope(facts["scope"]),
        subject=facts["subject"],
        cause=Cause(facts["cause"]),
        by=row.principal or "",
        at=parse_time(row.time),
        running=facts["running"],
        held=facts["held"],
        index=row.idx,
    )


def within(
    freeze: Freeze, tenant: ColumnElement[str], people: Any, hand: ColumnElement[str]
) -> list[ColumnElement[bool]]:
    """What narrows rows to those that a freeze stops.

    Args:
        people: columns with ``principal``, ``caller`` and ``context_id``.
    """
    narrowed: list[ColumnElement[bool]] = [] if freeze.reach == EVERY_TENANT else [tenant == freeze.tenant]
    if freeze.scope is Scope.HAND:
        narrowed.append(hand == freeze.subject)
    elif freeze.scope is Scope.CONTEXT:
        narrowed.append(people.context_id == freeze.subject)
    elif freeze.scope is Scope.PRINCIPAL:
        narrowed.append(or_(people.principal == freeze.subject, people.caller == freeze.subject))
    return narrowed
