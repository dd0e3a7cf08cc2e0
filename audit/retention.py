"""Retention: which partitions of the log are due, and dropping one.

    1 due        whole, its newest entry older than the retention, under no hold, and no value behind it kept any more
    2 sound      the partition is rebuilt and verified against a signed checkpoint that covers it
    3 archived   where there is an archive: put there, read back, and the same
    4 on record  a 'retention applied' entry, and in its transaction the row by which the database lets go; refused
                 where a hold came before it in the log
    5 dropped    in one transaction: hashes kept, index and entries deleted

A crash leaves a partition before one of these. Up to 4 nothing has changed, and after it :meth:`Retention.sweep` takes
it up again: a hold that is set then is too late, and says so (``holds.too_late``). Entries that stand
(``gateway.entries.STANDING``) stay, and so do those of contexts that are in use: later decisions rest on them. Needs a
database role that may delete; the gateway's own may not.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from audit import archive, indexing
from audit.archive import ArchivedPartition
from audit.checkpoint import VerifierKey
from audit.database import writing
from audit.dropping import NOT_ARCHIVED, Drop, digest_of, said_by
from audit.errors import ArchiveRefused, LogUnavailable
from audit.history import TREE_SIZE
from audit.holds import EntriesAreHeld, holding, in_force, none_set_since
from audit.log import Log
from audit.retained import PARTITION, TILE, tile_of
from audit.tables import dropped_partitions, entries, head, payloads, posting_blocks, postings, retained_hashes
from audit.worm import Archive
from gateway.entries import PAST, STANDING, EntryDraft, EntryType
from gateway.errors import Overtaken
from gateway.model import DEFAULT_TENANT
from gateway.ports import Append, Unless, Write
from gateway.times import format_time

MONTHS_MIN: Final = 6
"""EU AI Act art. 19(1) and 26(6): logs are kept for at least six months."""
_AT_ONCE: Final = 500
_LOOKS: Final = 20
"""How often the holds are looked at, where others go on setting some."""

_STANDING: Final = sorted(str(kind) for kind in STANDING)
_PAST: Final = sorted(str(kind) for kind in PAST)
_INSERT_DROPPED: Final = insert(dropped_partitions)
_DROPPED_BY: Final = select(dropped_partitions.c.idx).where(dropped_partitions.c.partition == bindparam("partition"))
_WITHIN: Final = (entries.c.idx >= bindparam("start"), entries.c.idx < bindparam("end"))
_NEWEST: Final = select(func.max(entries.c.time)).where(*_WITHIN)
_FIELDS: Final = select(entries.c.fields).where(*_WITHIN, entries.c.fields.is_not(None))
_OTHERS: Final = select(entries.c.idx).where(*_WITHIN, entries.c.type.not_in(_STANDING)).limit(1)
_CONTEXTS: Final = (
    select(entries.c.tenant, entries.c.context_id)
    .where(*_WITHIN, entries.c.context_id.is_not(None), entries.c.type.in_(_PAST))
    .distinct()
)
_NEWEST_OF_CONTEXT: Final = select(func.max(entries.c.idx)).where(
    entries.c.tenant == bindparam("tenant"), entries.c.context_id == bindparam("context_id")
)
_FIRST_SINCE: Final = select(func.min(entries.c.idx)).where(entries.c.time >= bindparam("time"))


class State(StrEnum):
    """How a whole partition stands."""

    YOUNG = "young"
    HELD = "held"
    """A legal hold is about an entry of it."""
    VALUES = "values"
    """A value that an entry of it commits to is still kept."""
    DUE = "due"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Partition:
    """A whole partition.

    Attributes:
        newest: time of its newest entry (RFC 3339); empty where it was dropped.
        holds: ids of the holds that keep it.
    """

    number: int
    state: State
    newest: str = ""
    holds: tuple[str, ...] = ()

    @property
    def first(self) -> int:
        """Index of its first entry."""
        return self.number * PARTITION

    @property
    def end(self) -> int:
        """Index after its last entry."""
        return self.first + PARTITION


def months_before(now: float, months: int) -> str:
    """The moment so many calendar months earlier, as entries write times; a day that the month lacks is its last."""
    at = datetime.fromtimestamp(now, UTC)
    year, month = divmod(at.year * 12 + at.month - 1 - months, 12)
    for day in (at.day, 30, 29, 28):
        try:
            return format_time(at.replace(year=year, month=month + 1, day=min(day, at.day)).timestamp())
        except ValueError:
            continue
    raise ValueError("no month has fewer than 28 days")


def months_after(now: float, months: int) -> datetime:
    """The moment so many calendar months later."""
    return datetime.fromisoformat(months_before(now, -months))


def survey(connection: Connection, cut: str) -> Iterator[Partition]:
    """Every whole partition and how it stands.

    Args:
        cut: what is older than this is over (:func:`months_before`).
    """
    size = connection.execute(select(TREE_SIZE)).scalar() or 0
    gone = set(connection.execute(select(dropped_partitions.c.partition)).scalars())
    newest = {row.block: row.last_time for row in connection.execute(select(posting_blocks))}
    holds = in_force(connection)
    for number in range(size // PARTITION):
        if number in gone:
            yield Partition(number, State.DROPPED)
            continue
        span = _span(number)
        time = newest.get(number) or connection.execute(_NEWEST, span).scalar() or ""
        if not time or time >= cut:
            yield Partition(number, State.YOUNG, time)
        elif found := holding(connection, holds, span["start"], span["end"]):
            yield Partition(number, State.HELD, time, tuple(hold.hold_id for hold in found))
        elif _values_kept(connection, span):
            yield Partition(number, State.VALUES, time)
        else:
            yield Partition(number, State.DUE, time)


class Retention:
    """Applies the retention to one log. Belongs to one event loop.

    Args:
        engine: whose role may delete entries: the owner of the tables.
        log: of this process, started, on that engine.
        keys: verifier keys of the log's own checkpoints, the newest among them.
        archive: where a partition goes before it is dropped; ``None``: nowhere.
        lock_months: for how long the archive must refuse to let go of it.
    """

    def __init__(
        self,
        engine: Engine,
        log: Log,
        keys: Sequence[VerifierKey],
        months: int,
        archive: Archive | None,
        lock_months: int,
        clock: Callable[[], float],
    ) -> None:
        if months < MONTHS_MIN:
            raise ValueError(f"retention is at least {MONTHS_MIN} months")
        self._engine = engine
        self._log = log
        self._keys = keys
        self._archive = archive
        self._lock_months = lock_months
        self._clock = clock
        self._months = months

    @property
    def cut(self) -> str:
        """What is older than this is over."""
        return months_before(self._clock(), self._months)

    async def survey(self) -> list[Partition]:
        """Every whole partition. Raises ``LogUnavailable``."""
        return await asyncio.to_thread(self._read, lambda connection: list(survey(connection, self.cut)))

    async def put_away(self, number: int) -> ArchivedPartition:
        """Verify a partition and put it into the archive, where it is not there yet (steps 2 and 3).

        Raises:
            ArchiveRefused: there is no archive, it does not do as it must, or the partition is not sound.
            LogUnavailable: it cannot be read.
        """
        if self._archive is None:
            raise ArchiveRefused("no archive is configured")
        return (await self._put_away(number))[0]

    async def drop(self, number: int) -> int:
        """Drop a partition that is due (steps 2 to 5); returns how many of its entries were deleted. One that is on
        record already is only deleted.

        Raises:
            ArchiveRefused: it is not sound, or the archive does not do as it must; nothing was dropped.
            EntriesAreHeld: a hold is about an entry of it; nothing was dropped.
            LogUnavailable: nothing was dropped, or :meth:`sweep` finishes it.
        """
        if await asyncio.to_thread(self._read, lambda connection: _is_dropped(connection, number)):
            return await asyncio.to_thread(self._delete, number)
        found, version = await self._put_away(number)
        if found.last_time >= self.cut:
            detail = f"its newest entry is of {found.last_time}, whatever its index says"
            raise ArchiveRefused(f"partition {number}: {detail}")
        archived = NOT_ARCHIVED if self._archive is None else found.sha256
        facts = Drop(number, found.root, found.standing, archived, found.checkpoint.tree_size).facts()
        if version:
            facts["archive_version"] = version

        def mark(indices: Sequence[int]) -> list[Write]:
            return [Write(_INSERT_DROPPED, {"partition": number, "idx": indices[0]})]

        entry = EntryDraft(EntryType.RETENTION_APPLIED, DEFAULT_TENANT, facts=facts)
        for _ in range(_LOOKS):
            unless = await asyncio.to_thread(self._read, lambda connection: _unheld(connection, number))
            with suppress(Overtaken):
                await self._log.append(Append([entry], finalise=mark, unless=[unless]))
                return await asyncio.to_thread(self._delete, number)
        raise LogUnavailable("holds go on being set")

    async def sweep(self) -> int:
        """Delete what is left of dropped partitions and need not stay: after a crash, or after a context was not used
        for as long as the retention lasts. Returns how many entries were deleted."""
        numbers = await asyncio.to_thread(self._read, _unfinished)
        return sum([await asyncio.to_thread(self._delete, number) for number in numbers])

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _put_away(self, number: int) -> tuple[ArchivedPartition, str]:
        note = await self._covering((number + 1) * PARTITION - 1)
        data = await asyncio.to_thread(self._read, lambda connection: archive.make(connection, number, note))
        found = await asyncio.to_thread(archive.verify, data, self._keys, self._log.origin)
        if self._archive is None:
            return found, ""
        name = archive.object_name(self._log.origin, number)
        until = months_after(self._clock(), self._lock_months)
        return await asyncio.to_thread(self._keep, self._archive, name, data, until, number)

    async def _covering(self, last: int) -> str:
        """A signed checkpoint over the entry ``last``, cosigned where the log has a quorum of witnesses."""
        cosigned = self._log.cosigned
        if cosigned.quorum.needed == 0:
            return (await self._log.proofs([last]))[0]
        found = await asyncio.to_thread(cosigned.newest, cosigned.quorum.needed, last)
        if found is None:
            raise ArchiveRefused("no checkpoint that covers it has the cosignatures of its quorum yet")
        return found.note

    def _keep(
        self, store: Archive, name: str, data: bytes, until: datetime, number: int
    ) -> tuple[ArchivedPartition, str]:
        """Put ``data`` where nothing is yet; then believe what lies there, not what was sent."""
        known = store.head(name)
        version = known.version if known is not None else store.put(name, data, retain_until=until).version
        kept = store.head(name, version)
        if kept is None or not kept.locked:
            raise ArchiveRefused(f"{name}: the archive does not lock it")
        found = archive.verify(store.get(name, version), self._keys, self._log.origin)
        if found.partition != number or (kept.sha256 and kept.sha256 != found.sha256):
            raise ArchiveRefused(f"{name}: the archive holds something else under this name")
        return found, version

    def _delete(self, number: int) -> int:
        """Step 5; does nothing where it is done."""
        try:
            with writing(self._engine.connect()) as connection, connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(select(head.c.tree_size).with_for_update())
                return _delete(connection, number, self.cut)
        except SQLAlchemyError as exc:
            raise LogUnavailable(type(exc).__name__) from exc

    def _read(self, work: Callable[[Connection], Any]) -> Any:
        with self._log.reader.connect() as connection:
            return work(connection)


def _span(number: int) -> dict[str, int]:
    return {"start": number * PARTITION, "end": (number + 1) * PARTITION}


def _values_kept(connection: Connection, span: dict[str, int]) -> bool:
    """Whether the side table holds a value that an entry of the partition commits to."""
    named: set[str] = set()
    for fields in connection.execute(_FIELDS, span).scalars():
        named.update(orjson.loads(fields).values())
    ordered = sorted(named)
    for at in range(0, len(ordered), _AT_ONCE):
        query = select(payloads.c.commitment).where(payloads.c.commitment.in_(ordered[at : at + _AT_ONCE]))
        if connection.execute(query.limit(1)).first() is not None:
            return True
    return False


def _unheld(connection: Connection, number: int) -> Unless:
    """That no hold is set until the drop is on record. Raises ``EntriesAreHeld``."""
    seen = connection.execute(select(TREE_SIZE)).scalar() or 0  # first: what is read after it is as new, or newer
    span = _span(number)
    found = holding(connection, in_force(connection), span["start"], span["end"])
    if found:
        raise EntriesAreHeld(found)
    return none_set_since(seen)


def _is_dropped(connection: Connection, number: int) -> bool:
    return connection.execute(_DROPPED_BY, {"partition": number}).first() is not None


def _standing(connection: Connection, number: int) -> list[int]:
    query = select(entries.c.idx).where(*_WITHIN, entries.c.type.in_(_STANDING)).order_by(entries.c.idx)
    return list(connection.execute(query, _span(number)).scalars())


def _unfinished(connection: Connection) -> list[int]:
    """Dropped partitions of which an entry is left that does not stand."""
    numbers = connection.execute(select(dropped_partitions.c.partition).order_by(dropped_partitions.c.partition))
    return [n for n in numbers.scalars().all() if connection.execute(_OTHERS, _span(n)).first() is not None]


def _in_use(connection: Connection, span: dict[str, int], cut: str) -> list[int]:
    """Entries of contexts that had an entry since ``cut``: what a context did and read is decided by to its end."""
    young = connection.execute(_FIRST_SINCE, {"time": cut}).scalar()
    if young is None:
        return []
    kept: list[int] = []
    for tenant, context_id in connection.execute(_CONTEXTS, span).all():
        named = {"tenant": tenant, "context_id": context_id}
        if (connection.execute(_NEWEST_OF_CONTEXT, named).scalar() or -1) >= young:
            query = select(entries.c.idx).where(
                *_WITHIN, entries.c.tenant == tenant, entries.c.context_id == context_id, entries.c.type.in_(_PAST)
            )
            kept.extend(connection.execute(query, span).scalars())
    return kept


def _require_recorded(connection: Connection, number: int) -> None:
    """Raises ``LogUnavailable`` where the log does not say of the partition that it is dropped, and that just those of
    its entries stand which would: columns decide what is deleted, and the entry names what stood by the bodies."""
    index = connection.execute(_DROPPED_BY, {"partition": number}).scalar()
    said = None if index is None else said_by(connection, index)
    if said is None or said.get("partition") != number:
        raise LogUnavailable(f"no entry says that partition {number} is dropped: run fsck")
    if said.get("standing_sha256") != digest_of(_standing(connection, number)):
        raise LogUnavailable(f"of partition {number} not the entries stand that entry {index} says: run fsck")


def _delete(connection: Connection, number: int, cut: str) -> int:
    _require_recorded(connection, number)
    span = _span(number)
    first_tile = span["start"] // TILE
    known = select(func.count()).select_from(retained_hashes)
    known = known.where(retained_hashes.c.tile >= first_tile, retained_hashes.c.tile < span["end"] // TILE)
    if connection.execute(known).scalar_one() == 0:
        hashes = connection.execute(select(entries.c.hashes).where(*_WITHIN).order_by(entries.c.idx), span)
        rows = [bytes(one) for one in hashes.scalars()]
        if len(rows) != PARTITION:
            raise LogUnavailable(f"entries of partition {number} are not there: run fsck")
        kept = [tile_of(rows[at : at + TILE], first_tile + at // TILE) for at in range(0, PARTITION, TILE)]
        connection.execute(
            insert(retained_hashes), [{"tile": one.number, "leaves": one.leaves, "above": one.above} for one in kept]
        )
        _delete_postings(connection, number)
    used = _in_use(connection, span, cut)
    wanted = delete(entries).where(*_WITHIN, entries.c.type.not_in(_STANDING), entries.c.idx.not_in(used))
    return int(connection.execute(wanted, span).rowcount)


def _delete_postings(connection: Connection, number: int) -> None:
    """By key, term by term: the key of the index begins with the term, so a block is found by no part of it."""
    _, found, _, _ = indexing.make(connection, number)
    query = delete(postings).where(
        postings.c.tenant == bindparam("of_tenant"),
        postings.c.term == bindparam("of_term"),
        postings.c.block == number,
    )
    connection.execute(query, [{"of_tenant": tenant, "of_term": term} for tenant, term in sorted(found)])
    connection.execute(delete(posting_blocks).where(posting_blocks.c.block == number))
