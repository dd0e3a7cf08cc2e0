"""From one epoch to the next: a new epoch key, every surviving data key wrapped anew, the old epoch keys destroyed.

    1 begin     a new key on disk, then an entry that says so. Whoever appends sees the entry before anything of its own
                is written, and wraps by the new key from then on: nothing new comes under the old ones.
    2 rewrap    the survivors, in small transactions; a row is under one epoch or the other, never under none.
    3 destroy   the old keys. What was under them and was not rewrapped is gone, wherever a copy of it lies.
    4 truncate  SQLite's write-ahead log.

Each step finds by itself what is left to do, so a crash between any two is mended by doing it again.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import Column, Engine, Table, bindparam, func, insert, select, update

from audit.epochs import EpochKeys
from audit.eraser import erasing, truncate_wal
from audit.errors import SealBroken
from audit.reader import Reader
from audit.sealing import Epoch, every_epoch
from audit.subjects import hold_label
from audit.tables import data_keys, erased_keys, holds, key_epochs
from gateway.entries import EntryDraft, EntryType
from gateway.model import DEFAULT_TENANT
from gateway.ports import Append, AuditLog, Write

REWRAP_AT_ONCE: Final = 500
"""Rows in one transaction: the log's writer waits for no longer one."""
_TRUNCATE_TRIES: Final = 60
_NOTE_EPOCH: Final = insert(key_epochs)
_NEWEST: Final = select(func.max(key_epochs.c.epoch))

_logger: Final = structlog.get_logger("handrail.audit")


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """A table whose rows an epoch key wraps."""

    table: Table
    id: Column[str]
    label: Callable[[Any], str]
    """What the wrapping of a row is bound to."""


_TABLES: Final = (
    _Wrapped(data_keys, data_keys.c.key_id, lambda row: str(row.key_id)),
    _Wrapped(holds, holds.c.hold_id, hold_label),
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

    async def begin(self, writes: Callable[[str], Sequence[Write]] = lambda _epoch: ()) -> str | None:
        """Begin an epoch, or complete the beginning of one; returns its name, ``None`` where another process is just
        looking names up.

        Args:
            writes: rows to write with the entry, given the epoch's name.

        Raises:
            LogUnavailable: it may have begun, or not.
            SealBroken: the directory cannot be used.
        """
        with self._epochs.steady() as mine:
            if not mine:
                return None
            epoch = await asyncio.to_thread(self._next)
            entry = EntryDraft(EntryType.KEY_ROTATED, DEFAULT_TENANT, facts={"purpose": "epoch", "epoch": epoch})
            note = Write(_NOTE_EPOCH, {"epoch": epoch, "begun_at": self._clock()})
            await self._log.append(Append([entry], [note, *writes(epoch)]))
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

    def _next(self) -> str:
        """A key that was made and that no entry speaks of, as a crash leaves one; else a new one."""
        names, noted = self._epochs.names(), self._noted()
        left_over = names[-1] > noted if names and noted is not None else len(names) > 1
        return names[-1] if left_over else self._epochs.rotate()

    def _finish(self) -> bool:
        self._epochs.sweep()
        *old, newest = every_epoch(self._epochs)
        for epoch in old:
            for wrapped in _TABLES:
                self._rewrap(wrapped, epoch, newest)
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

    def _rewrap(self, wrapped: _Wrapped, old: Epoch, new: Epoch) -> None:
        table, id_ = wrapped.table, wrapped.id
        after = ""
        statement = (
            update(table)
            .where(id_ == bindparam("the_id"), table.c.epoch == old.name)
            .values(epoch=new.name, subject=bindparam("new_subject"), wrapped=bindparam("new_wrapped"))
        )
        while True:
            with self._reader.connect() as connection:
                # What was erased meanwhile is not carried over.
                erased = select(erased_keys.c.key_id).where(erased_keys.c.key_id == id_).exists()
                query = select(table).where(table.c.epoch == old.name, id_ > after, ~erased)
                query = query.order_by(id_).limit(REWRAP_AT_ONCE)
                rows = connection.execute(query).all()
            if not rows:
                return
            after = getattr(rows[-1], id_.name)
            moved = []
            for row in rows:
                try:
                    key, name = old.unwrap(wrapped.label(row), row.wrapped)
                except SealBroken:  # nobody can read what is under it, today either
                    _logger.exception("log.key_lost", table=table.name, row=getattr(row, id_.name))
                    continue
                moved.append(
                    {
                        "the_id": getattr(row, id_.name),
                        "new_subject": new.tag((row.tenant, name)),
                        "new_wrapped": new.wrap(wrapped.label(row), key, name),
                    }
                )
            if moved:
                with erasing(self._eraser) as connection:
                    connection.execute(statement, moved)
