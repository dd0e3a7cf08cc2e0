"""How much of what lies in a stretch of the log, read through indexes: no query walks over entries of other types.

A period is a range of positions: from the first entry written at or after its beginning up to the first written at or
after its end. Entries of several gateways whose clocks differ may stand a little outside of it in time; the range
itself can be read again from the log by anybody.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, func, select

from audit import retained
from audit.assurance.steps import Progress, Steps, unseen
from audit.reader import Reader
from audit.tables import entries
from gateway.entries import EntryType
from gateway.times import format_time

DAY_SECONDS: Final = 86_400.0
_MILLISECOND: Final = 0.001
"""What times of entries are written in."""

_SINCE: Final = (
    select(entries.c.idx).where(entries.c.time >= bindparam("time")).order_by(entries.c.time, entries.c.idx).limit(1)
)
_OF_TYPE: Final = (
    entries.c.tenant == bindparam("tenant"),
    entries.c.type == bindparam("type"),
    entries.c.idx >= bindparam("first"),
    entries.c.idx < bindparam("end"),
)
_COUNT: Final = select(func.count()).select_from(entries).where(*_OF_TYPE)
_NEXT: Final = select(entries.c.idx).where(*_OF_TYPE).order_by(entries.c.idx).limit(1)
_LAST: Final = select(entries.c.idx).where(*_OF_TYPE).order_by(entries.c.idx.desc()).limit(1)
_TIME: Final = select(entries.c.time).where(entries.c.idx == bindparam("idx"))
_USED: Final = (
    select(entries.c.hand, entries.c.action, func.count(), func.min(entries.c.idx), func.max(entries.c.idx))
    .where(*_OF_TYPE, entries.c.hand.is_not(None), entries.c.action.is_not(None))
    .group_by(entries.c.hand, entries.c.action)
)
_PART: Final = 100_000
"""Positions that one statement looks at."""
_COUNTED: Final = 1_000_000
"""The same of one that counts along an index."""
CALLS: Final = (EntryType.STEP_DISPATCHED, EntryType.STEP_RELEASED)
"""What is written when an action is let go."""
_OLDEST: Final = select(entries.c.time).order_by(entries.c.idx).limit(1)


@dataclass(frozen=True, slots=True)
class Place:
    """An entry's index and when it was written (RFC 3339)."""

    index: int
    time: str

    @property
    def seconds(self) -> float:
        """Its time, in seconds since the epoch."""
        return datetime.fromisoformat(self.time).timestamp()


@dataclass(frozen=True, slots=True)
class Tally:
    """How many entries of a type lie in a range, the first and the last of them."""

    count: int
    first: Place
    last: Place


@dataclass(frozen=True, slots=True)
class Silence:
    """A time without an entry, in seconds since the epoch."""

    since: float
    until: float

    @property
    def days(self) -> float:
        """How long it was."""
        return (self.until - self.since) / DAY_SECONDS


def _at_once() -> None:
    """No rest."""


class Stretch:
    """One tenant's entries in the positions ``[first, end)``, through a connection that the caller gives.

    Args:
        rest: called between statements, where nothing of the database need be held.
    """

    def __init__(
        self, connection: Connection, tenant: str, first: int, end: int, rest: Callable[[], None] = _at_once
    ) -> None:
        self._connection = connection
        self.rest = rest
        self.tenant = tenant
        self.first = first
        self.end = max(first, end)

    @classmethod
    def between(
        cls,
        connection: Connection,
        tenant: str,
        since: float,
        until: float,
        size: int,
        rest: Callable[[], None] = _at_once,
    ) -> "Stretch":
        """The entries of a period, in seconds since the epoch, of a log of ``size``."""
        first, end = (_position(connection, moment, size) for moment in (since, until))
        return cls(connection, tenant, first, end, rest)

    def whole(self) -> "Stretch":
        """The same from the log's beginning on."""
        return Stretch(self._connection, self.tenant, 0, self.end, self.rest)

    def dropped(self) -> int:
        """How many of its positions are of entries whose retention is over: of those only the standing are left."""
        return sum(last - first + 1 for first, last in retained.dropped(self._connection, self.first, self.end))

    def tally(self, kind: EntryType) -> Tally | None:
        """What there is of a type; ``None`` where there is nothing."""
        first, last = self.first_of([kind]), self.last_of([kind])
        if first is None or last is None:
            return None
        return Tally(self._counted(kind, first.index, last.index + 1), first, last)

    def count(self, kinds: Iterable[EntryType]) -> int:
        """How many of any of ``kinds`` there are."""
        return sum(self._counted(kind, self.first, self.end) for kind in kinds)

    def first_of(self, kinds: Iterable[EntryType], at: int | None = None) -> Place | None:
        """The first of any of ``kinds``, at or after position ``at``."""
        start = self.first if at is None else max(at, self.first)
        return self._place(min(self._found(_NEXT, kinds, start, self.end), default=None))

    def last_of(self, kinds: Iterable[EntryType], before: int | None = None) -> Place | None:
        """The last of any of ``kinds``, before position ``before``."""
        end = self.end if before is None else min(before, self.end)
        return self._place(max(self._found(_LAST, kinds, self.first, end), default=None))

    def drawn(self, kind: EntryType, tally: Tally, seed: bytes, count: int) -> list[int]:
        """Up to ``count`` entries of a type, drawn by ``seed``: each is the first at or after a position that a hash of
        the seed names, so that whoever knows the seed draws the same and nobody can choose before the seed is there.
        """
        span = tally.last.index - tally.first.index + 1
        found: set[int] = set()
        for number in range(count):
            digest = hashlib.sha256(b"\0".join((seed, kind.encode(), str(number).encode()))).digest()
            place = self.first_of([kind], tally.first.index + int.from_bytes(digest[:16]) % span)
            if place is not None:
                found.add(place.index)
        return sorted(found)

    def _counted(self, kind: EntryType, first: int, end: int) -> int:
        """A part at a time: no statement is longer than the database's limit, and one that is unwanted ends soon."""
        count = 0
        for start in range(first, end, _COUNTED):
            values = self._values(kind, start, min(start + _COUNTED, end))
            count += int(self._connection.execute(_COUNT, values).scalar_one())
            self.rest()
        return count

    def _found(self, query: object, kinds: Iterable[EntryType], first: int, end: int) -> Iterator[int]:
        for kind in kinds:
            index = self._connection.execute(query, self._values(kind, first, end)).scalar()  # type: ignore[call-overload]
            if index is not None:
                yield int(index)

    def _place(self, index: int | None) -> Place | None:
        if index is None:
            return None
        return Place(index, str(self._connection.execute(_TIME, {"idx": index}).scalar_one()))

    def _values(self, kind: EntryType, first: int, end: int) -> dict[str, str | int]:
        return {"tenant": self.tenant, "type": str(kind), "first": first, "end": end}


def silences(
    connection: Connection, stretch: Stretch, kinds: Sequence[EntryType], days: int, since: float, until: float
) -> list[Silence]:
    """The times of more than ``days`` without an entry of any of ``kinds``, that reach into the period or lie in it.

    What was written before the stretch counts, so that a period may be shorter than ``days``. A log that holds none at
    all is silent from its oldest entry on. The work grows with the period's length in ``days``, not with the log.

    Args:
        since, until: the stretch's period, in seconds since the epoch; it does not end in the future.
    """
    ever = Stretch(connection, stretch.tenant, 0, stretch.end)
    window = days * DAY_SECONDS
    newest = ever.last_of(kinds, stretch.first)
    at, seen = (newest.index, newest.seconds) if newest is not None else (-1, _beginning(connection, until))
    found: list[Silence] = []
    while seen + window < until:
        # Exactly so long is not too long: up to the millisecond after it.
        bound = max(_position(connection, seen + window + _MILLISECOND, stretch.end), at + 1)
        newest = ever.last_of(kinds, bound)
        if newest is None or newest.index <= at:
            newest = ever.first_of(kinds, bound)
            silence = Silence(seen, until if newest is None else newest.seconds)
            if silence.until > since:
                found.append(silence)
            if newest is None:
                break
        at, seen = newest.index, max(seen, newest.seconds)
    return found


def _beginning(connection: Connection, otherwise: float) -> float:
    oldest = connection.execute(_OLDEST).scalar()
    return otherwise if oldest is None else datetime.fromisoformat(oldest).timestamp()


def _position(connection: Connection, moment: float, size: int) -> int:
    """Position of the first entry at or after ``moment``; ``size`` where there is none."""
    index = connection.execute(_SINCE, {"time": format_time(moment)}).scalar()
    return size if index is None else min(int(index), size)


def usage_between(
    reader: Reader, tenant: str, since: float, until: float, progress: Progress = unseen
) -> tuple[int, list[dict[str, str | int]]]:
    """The size of the log, and :func:`usage` of a period of it, in seconds since the epoch.

    Between statements it holds no snapshot.

    Args:
        progress: called with parts done and parts in all; what it raises ends the work.
    """
    size, _ = reader.head()
    with reader.connect() as connection:
        stretch = Stretch.between(connection, tenant, since, until, size)
        steps = Steps(len(CALLS) * -(-(stretch.end - stretch.first) // _PART), progress)

        def rest() -> None:
            connection.rollback()
            steps.say()
            steps.done += 1

        stretch.rest = rest
        return size, usage(connection, stretch)


def usage(connection: Connection, stretch: Stretch) -> list[dict[str, str | int]]:
    """``{hand, action, calls, first, last}`` for every action that was let go in the stretch, by name; times as entries
    write them. Reads the entries of calls alone, a part of the stretch at a time, and keeps a line for each action."""
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for kind in CALLS:
        for first in range(stretch.first, stretch.end, _PART):
            end = min(first + _PART, stretch.end)
            values = {"tenant": stretch.tenant, "type": str(kind), "first": first, "end": end}
            for hand, action, count, lowest, highest in connection.execute(_USED, values):
                known = found.get((hand, action), (0, lowest, highest))
                found[hand, action] = (known[0] + count, min(known[1], lowest), max(known[2], highest))
            stretch.rest()
    times = {index: _time(connection, index) for _, *places in found.values() for index in places}
    return [
        {"hand": hand, "action": action, "calls": count, "first": times[first], "last": times[last]}
        for (hand, action), (count, first, last) in sorted(found.items())
    ]


def _time(connection: Connection, index: int) -> str:
    return str(connection.execute(_TIME, {"idx": index}).scalar_one())
