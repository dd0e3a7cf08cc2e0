"""Leases: what one gateway of a database has at a time, renewed while it lives, and taken by another where it does not.

A row is there as long as there is something to be had. Writes are carried by the log's writer, which asks each
``Unless`` with the log's head locked: of two gateways that take the same thing, one is too late.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, delete, exists, literal, or_, select, update

from gateway.ports import Unless, Write
from gateway.store.reading import reading
from gateway.store.tables.leases import leases
from gateway.store.upsert import upsert

LEASE_SECONDS: Final = 30.0
"""How long a gateway that died keeps something from the others."""
RENEW_SECONDS: Final = LEASE_SECONDS / 3


class LeaseKind(StrEnum):
    """Of what."""

    RUN = "run"
    SESSION = "session"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Lease:
    """Which gateway has something.

    Attributes:
        until: seconds since the epoch; from then on, or since then, nobody has it.
    """

    name: str
    owner: str
    until: float


_THE: Final = (leases.c.kind == bindparam("the_kind")) & (leases.c.name == bindparam("the_name"))
_MINE: Final = leases.c.owner == bindparam("me")
_LASTS: Final = leases.c.until > bindparam("the_time")
_TAKEN: Final = select(literal(1)).where(exists().where(_THE, ~_MINE, _LASTS))
_LOST: Final = select(literal(1)).where(~exists().where(_THE, _MINE, _LASTS))
_HOLD: Final = update(leases).where(_THE, _MINE).values(until=bindparam("new_until"))
_DROP: Final = delete(leases).where(_THE)


class SqlLeases:
    """The leases of one kind, as one gateway takes them."""

    def __init__(self, engine: Engine, kind: LeaseKind, owner: str) -> None:
        """Use ``engine`` for reads; ``owner`` is this gateway's id."""
        self._engine = engine
        self._kind = str(kind)
        self._take = upsert(leases, engine.dialect.name)
        self.owner = owner

    # --- writes, carried by the log ----------------------------------------------------------------------------------

    def take(self, name: str, until: float) -> Write:
        """Have it until then; goes with :meth:`unless_taken`, but for what is new."""
        return Write(self._take, {"kind": self._kind, "name": name, "owner": self.owner, "until": until})

    def hold(self, name: str, until: float) -> Write:
        """Go on having it until then, if it is this gateway's still."""
        return Write(_HOLD, {**self._the(name), "me": self.owner, "new_until": until})

    def leave(self, name: str, now: float) -> Write:
        """Leave it to the other gateways at once, if it is this one's."""
        return self.hold(name, now)

    def drop(self, name: str) -> Write:
        """There is nothing more to be had."""
        return Write(_DROP, self._the(name))

    def unless_taken(self, name: str, now: float) -> Unless:
        """Unless another gateway has it now."""
        return Unless(_TAKEN, {**self._the(name), "me": self.owner, "the_time": now})

    def unless_lost(self, name: str, now: float) -> Unless:
        """Unless this gateway does not have it any more."""
        return Unless(_LOST, {**self._the(name), "me": self.owner, "the_time": now})

    def _the(self, name: str) -> dict[str, Any]:
        return {"the_kind": self._kind, "the_name": name}

    # --- reads -------------------------------------------------------------------------------------------------------

    async def takable(self, now: float) -> Sequence[Lease]:
        """What no other gateway has: this one's own, from an earlier life too, and what nobody has any more. Raises
        ``log.unavailable``."""
        may = or_(leases.c.owner == self.owner, leases.c.until <= now)
        query = select(leases).where(leases.c.kind == self._kind, may).order_by(leases.c.until, leases.c.name)

        def read(connection: Connection) -> Sequence[Lease]:
            return [Lease(row.name, row.owner, row.until) for row in connection.execute(query)]

        return await reading(self._engine, "leases", read)


def until_of(connection: Connection, kind: LeaseKind, names: Sequence[str]) -> Mapping[str, float]:
    """Name -> until when a gateway has it, or since when none does; without what is not to be had any more."""
    query = select(leases.c.name, leases.c.until).where(leases.c.kind == str(kind), leases.c.name.in_(names))
    return {row.name: row.until for row in connection.execute(query)}
