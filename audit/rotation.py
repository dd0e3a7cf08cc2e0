"""From one epoch to the next: some buckets replaced, all bucket keys wrapped by a new epoch key, the old one destroyed.

    1 begin     a new epoch key on disk, then an entry that says so, with new buckets for some slots. Whoever appends
                sees the entry before anything of its own is written, and wraps by the new buckets from then on:
                nothing new comes under the old ones.
    2 move      the surviving data keys of those slots to the new buckets, and the old buckets' rows deleted; then every
                bucket key, and every hold, to the new epoch. In small transactions; a row is under one key or the
                other, never under none.
    3 destroy   the old epoch keys. What was under them and was not moved is gone, wherever a copy of it lies.
    4 truncate  SQLite's write-ahead log.

Each step finds by itself what is left to do, so a crash between any two is mended by doing it again.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import Column, Engine, Table, bindparam, delete, func, insert, select, update

from audit.buckets import Buckets, make
from audit.buckets import label as bucket_label
from audit.buckets import writes as bucket_writes
from audit.epochs import EpochKeys
from audit.eraser import erasing, truncate_wal
from audit.errors import SealBroken
from audit.reader import Reader
from audit.subjects import hold_label
from audit.tables import data_keys, erased_keys, holds, key_buckets, key_epochs
from audit.wrapping import WrappingKey, every_epoch
from gateway.entries import EntryDraft, EntryType
from gateway.model import DEFAULT_TENANT
from gateway.ports import Append, AuditLog, Write

MOVED_AT_ONCE: Final = 500
"""Rows in one transaction: the log's writer waits for no longer one."""
_TRUNCATE_TRIES: Final = 60
_NOTE_EPOCH: Final = insert(key_epochs)
_NEWEST: Final = select(func.max(key_epochs.c.epoch))

_logger: Final = structlog.get_logger("handrail.audit")


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """A table whose rows are wrapped.

    Attributes:
        by: the column that names what wraps a row.
        label: what the wrapping of a row is bound to.
        named: whether a row has the keyed hash of a data subject.
    """

    table: Table
    id: Column[str]
    by: Column[str]
    label: Callable[[Any], str]
    named: bool = True


_DATA_KEYS: Final = _Wrapped(data_keys, data_keys.c.key_id, data_keys.c.bucket, lambda row: str(row.key_id))
_BY_EPOCH: Final = (
    _Wrapped(key_buckets, key_buckets.c.bucket, key_buckets.c.epoch, bucket_label, named=False),
    _Wrapped(holds, holds.c.hold_id, holds.c.epoch, hold_label),
)


class Rotation:
    """Belongs to whoever holds ``EpochKeys.turn``."""

    def __init__(
        self, log: AuditLog, reader: Reader, eraser: Engine, epochs: EpochKeys, clock: Callable[[], float]
    ) -> None:
        self._log = log
        self._reader = reader
        self._eraser = eraser
        self._epochs = epochs
        self._clock = clock
        self._tries = 0

    async def due(self) -> bool:
        """Whether an earlier rotation is half done."""
        return len(await asyncio.to_thread(self._epochs.names)) > 1

    async def begin(
        self, slots: Collection[int], writes: Callable[[str], Sequence[Write]] = lambda _epoch: ()
    ) -> str | None:
        """Begin an epoch; returns its name, ``None`` where another process is just
        looking names up.

        Args:
            slots: those that get new buckets.
            writes: rows to write with the entry, given the epoch's name.

        Raises:
            LogUnavailable: it may have begun, or not.
            SealBroken: the directory cannot be used.
        """
        with self._epochs.steady() as mine:
            if not mine:
                return None
            epoch = await asyncio.to_thread(self._epochs.rotate)
            entry = EntryDraft(EntryType.KEY_ROTATED, DEFAULT_TENANT, facts={"purpose": "epoch", "epoch": epoch})
            note = Write(_NOTE_EPOCH, {"epoch": epoch, "begun_at": self._clock()})
            made = await asyncio.to_thread(self._made, slots)
            await self._log.append(Append([entry], [note, *made, *writes(epoch)]))
            return epoch

    async def is_begun(self) -> bool:
        """Whether the newest key on disk is the one that the log speaks of."""
        return await asyncio.to_thread(lambda: self._epochs.names()[-1:] == [self._noted()])

    async def finish(self) -> bool:
        """Steps 2 to 4; whether all is done. Raises ``LogUnavailable`` or ``SealBroken``."""
        return await asyncio.to_thread(self._finish)

    # --- in a thread -------------------------------------------------------------------------------------------------

    def _noted(self) -> str | None:
        with self._reader.connect() as connection:
            return connection.execute(_NEWEST).scalar()

    def _made(self, slots: Collection[int]) -> Sequence[Write]:
        return bucket_writes(make(slots, every_epoch(self._epochs)[-1], self._clock()))

    def _finish(self) -> bool:
        self._epochs.sweep()
        *old, newest = every_epoch(self._epochs)
        with self._reader.connect() as connection:
            superseded = Buckets.load(connection, self._epochs).superseded()
        for bucket, newer in superseded:
            self._move(_DATA_KEYS, bucket, newer)
            with erasing(self._eraser) as erased:
                erased.execute(delete(key_buckets).where(key_buckets.c.bucket == bucket.name))
        for epoch in old:
            for wrapped in _BY_EPOCH:
                self._move(wrapped, epoch, newest)
        for epoch in old:
            self._epochs.destroy(epoch.name)
        self._tries += 1
        emptied = truncate_wal(self._eraser)
        if not emptied and self._tries < _TRUNCATE_TRIES:
            return False
        if not emptied:
            _logger.warning("log.wal_not_truncated", tries=self._tries)
        self._tries = 0
        return True

    def _move(self, wrapped: _Wrapped, old: WrappingKey, new: WrappingKey) -> None:
        table, id_, by = wrapped.table, wrapped.id, wrapped.by
        after = ""
        values: dict[str, Any] = {by.name: new.name, "wrapped": bindparam("new_wrapped")}
        if wrapped.named:
            values["subject"] = bindparam("new_subject")
        statement = update(table).where(id_ == bindparam("the_id"), by == old.name).values(values)
        # What was erased meanwhile is not carried over.
        erased = select(erased_keys.c.key_id).where(erased_keys.c.key_id == id_).exists()
        while True:
            with self._reader.connect() as connection:
                query = select(table).where(by == old.name, id_ > after, ~erased)
                rows = connection.execute(query.order_by(id_).limit(MOVED_AT_ONCE)).all()
            if not rows:
                return
            after = getattr(rows[-1], id_.name)
            moved = [one for row in rows if (one := _moved(wrapped, row, old, new))]
            if moved:
                with erasing(self._eraser) as connection:
                    connection.execute(statement, moved)


def _moved(wrapped: _Wrapped, row: Any, old: WrappingKey, new: WrappingKey) -> dict[str, Any] | None:
    label, row_id = wrapped.label(row), getattr(row, wrapped.id.name)
    try:
        key, name = old.unwrap(label, row.wrapped)
    except SealBroken:  # nobody can read what is under it, today either
        _logger.exception("log.key_lost", table=wrapped.table.name, row=row_id)
        return None
    found = {"the_id": row_id, "new_wrapped": new.wrap(label, key, name)}
    if wrapped.named:
        found["new_subject"] = new.tag((row.tenant, name))
    return found
