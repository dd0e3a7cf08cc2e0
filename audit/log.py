"""The audit log as the pipeline sees it: ``gateway.ports.AuditLog`` and ``gateway.ports.Payloads`` in one object."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import structlog
from sqlalchemy import Engine

from audit import controls as control_mapping
from audit.aggregate import Aggregator
from audit.checkpoint import note_text, parse_checkpoint, tlog_proof
from audit.committer import Committer
from audit.cosigned import Cosigned, CosignedCheckpoint
from audit.database import configure
from audit.epochs import EpochKeys
from audit.errors import LogUnavailable, NotLogged
from audit.indexer import Indexer
from audit.job import Job
from audit.names import Names
from audit.opening import Opener
from audit.others import Others
from audit.reader import Reader
from audit.reads import Reads
from audit.sealing import Sealer
from audit.signing import SIGN_TRIES, HeadSigner
from audit.witnesses import quorum_of
from audit.writer import Writer
from gateway.entries import EntryDraft
from gateway.errors import HandrailError
from gateway.ports import Append, Signer
from gateway.settings import LogSettings

WINDOW_SECONDS: Final = 60
"""Refusals before authentication become entries this often."""
_READY_SECONDS: Final = 1.0
_FAILED_SECONDS: Final = 5.0
"""How long after a failed append, with none that succeeded since, the log counts as not writable."""
_COSIGNED_SECONDS: Final = 1.0
"""How long a served checkpoint with its cosignatures is kept before the database is asked again: it is for anybody."""

_logger: Final = structlog.get_logger("handrail.audit")


class Log:
    """The log of one gateway process. ``start`` it in the event loop; ``close`` it there.

    Args:
        engine: from ``audit.database.make_engine``; migrated.
        clock: seconds since the epoch; read once per commit.
        controls: which controls an entry is evidence for; default: the shipped mapping.

    Raises:
        SettingsError: the key of a witness cannot be used.
    """

    def __init__(
        self,
        engine: Engine,
        settings: LogSettings,
        signer: Signer,
        epochs: EpochKeys,
        gateway_id: str,
        clock: Callable[[], float] = time.time,
        *,
        controls: control_mapping.Controls | None = None,
    ) -> None:
        configure(engine)
        self.origin = settings.origin
        self.gateway_id = gateway_id
        self.former: tuple[str, ...] = ()
        """Origins that the log had before it was restored from a backup, the oldest first."""
        self.reader = Reader(engine)
        self.cosigned = Cosigned(self.reader, quorum_of(settings))
        self._engine = engine
        self._settings = settings
        self.heads = HeadSigner(self.origin, signer, post_quantum=settings.post_quantum)
        self._clock = clock
        self._opener = Opener(epochs)
        self.reads = Reads(self.reader, self._opener, settings.append_deadline_seconds)
        self.others = Others(engine.dialect)
        self.names = Names(engine, epochs)
        """Of people; they end with their keys."""
        self.others.on_forgetting(self._opener.forget)
        self.others.on_forgetting(self.names.forget)
        self.others.on_forgetting(epochs.forget)
        self._aggregator = Aggregator(WINDOW_SECONDS)
        self._flusher: asyncio.Task[None] | None = None
        self._checkpoint: tuple[int, str, float] | None = None
        self._cosigned: dict[int | None, tuple[str, CosignedCheckpoint, float]] = {}
        self._asked: asyncio.Task[tuple[int, str]] | None = None
        self._begun = False
        self._probe: asyncio.Task[None] | None = None
        self._proved = float("-inf")
        self._failed = float("-inf")
        mapping = (controls or control_mapping.shipped()).ids

        def make(claim: Callable[[Sequence[Job]], bool], abandoned: Callable[[Job], bool]) -> Committer:
            return Committer(
                engine,
                settings.origin,
                gateway_id,
                mapping,
                Sealer(epochs, engine.dialect),
                claim,
                abandoned,
                self.others,
            )

        self._writer = Writer(
            make,
            clock=clock,
            deadline_seconds=settings.append_deadline_seconds,
            group_max_entries=settings.group_max_entries,
            group_wait_seconds=settings.group_wait_milliseconds / 1000,
            on_commit=self._after_commit,
        )
        self._indexer = Indexer(self.reader, self.reads.run, self._writer.call)

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the writer and look whether the database is this log's.

        Raises:
            LogUnavailable: the database cannot be written, is not migrated, or holds another log.
        """
        self._writer.start()
        try:
            await self._writer.call(Committer.probe)
            self.former = await self.reads.run(self.reader.former)
            await self._sign_what_was_left()
        except HandrailError:
            await self._stop()
            raise
        self._indexer.start()
        self._flusher = asyncio.create_task(self._flush_forever())

    async def close(self) -> None:
        """Write what was counted, finish what waits, sign the last checkpoint, and stop."""
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.gather(self._flusher, return_exceptions=True)
            self._flusher = None
            await self._indexer.stop(self._settings.append_deadline_seconds)
            await self._flush()
            try:
                await self.checkpoint()
            except HandrailError as exc:
                _logger.warning("log.last_checkpoint", detail=exc.detail)
        await self._stop()

    async def _sign_what_was_left(self) -> None:
        """A process that died between a commit and its checkpoint leaves entries that no checkpoint covers."""
        size, _ = await self.reads.run(self.reader.head)
        newest = await self.reads.run(self.reader.checkpoint)
        if size and (newest is None or newest[0] < size):
            try:
                await self._signed()
            except HandrailError as exc:
                _logger.warning("log.checkpoint", error=type(exc).__name__, detail=exc.detail)

    async def _stop(self) -> None:
        self.reads.refuse()
        await asyncio.to_thread(self._writer.stop)
        self.reads.close()

    # --- AuditLog ----------------------------------------------------------------------------------------------------

    async def append(self, item: Append) -> Sequence[int]:
        """Make ``item`` durable; returns the log index of each entry, in order.

        ``finalise`` and guards may run more than once: only the last run counts. One value committed to by several
        entries is stored once.

        Raises:
            LogUnavailable: not durable, and never will be.
            LogUncertain: (a ``LogUnavailable``) the commit was under way at the deadline; the rows may exist.
            Refused: what a guard's ``on_conflict`` raised.
            EntryInvalid: a draft that cannot be an entry.
        """
        try:
            indices = await self._writer.append(item)
        except LogUnavailable:
            self._failed = time.monotonic()
            raise
        self._failed = float("-inf")
        if indices:
            self._indexer.appended(indices[-1])
        return indices

    def aggregate(self, entry: EntryDraft, source: str) -> None:
        """Count a refusal that happened before authentication; see :mod:`audit.aggregate`."""
        self._aggregator.add(entry, source)

    async def checkpoint(self) -> str:
        """The newest signed checkpoint: of the current head, or at most ``checkpoint_interval_seconds`` old.

        Raises:
            LogUnavailable: the log cannot be written.
        """
        known = self._checkpoint
        if known is not None and time.monotonic() - known[2] < self._settings.checkpoint_interval_seconds:
            return known[1]
        return (await self._signed())[1]

    async def cosigned_checkpoint(self, needed: int | None = None) -> CosignedCheckpoint:
        """The newest checkpoint with the cosignatures that it has, or the newest that has ``needed`` of them.

        Raises:
            NotLogged: none has so many.
            LogUnavailable: the log cannot be read or written.
        """
        note = await self.checkpoint() if needed is None else ""
        if not self.cosigned.quorum.keys and needed is None:
            return CosignedCheckpoint(_size_of(note), note)
        known = self._cosigned.get(needed)
        if known is None or known[0] != note or time.monotonic() - known[2] >= _COSIGNED_SECONDS:
            if needed is None:
                found: CosignedCheckpoint | None = await self.reads.run(self.cosigned.attach, _size_of(note), note)
            else:
                found = await self.reads.run(self.cosigned.newest, needed)
            if found is None:
                raise NotLogged(f"a checkpoint with {needed} cosignatures")
            known = self._cosigned[needed] = (note, found, time.monotonic())
        return known[1]

    async def cover(self, index: int) -> None:
        """Have a stored checkpoint cover the entry at ``index``. Raises ``LogUnavailable``."""
        if self._checkpoint is None or self._checkpoint[0] <= index:
            await self._signed()

    async def signed_head(self) -> tuple[int, str]:
        """Size and checkpoint of everything that is in the log now, for what must not miss what was just written.

        Raises:
            LogUnavailable: the log cannot be written.
        """
        return await self._signed()

    async def proof(self, index: int) -> str:
        """``c2sp.org/tlog-proof@v1`` text for the entry at ``index``: under the newest checkpoint that enough witnesses
        cosigned, where there is one that covers it, else under the newest. Raises ``NotLogged``.
        """
        if self._checkpoint is None or self._checkpoint[0] <= index:
            size, _ = await self._signed()
            if not 0 <= index < size:
                raise NotLogged(f"entry {index}")
        return await self.reads.run(self._proof, index)

    def _proof(self, index: int) -> str:
        if index < 0:
            raise NotLogged(f"entry {index}")
        former = self.reader.former_checkpoint(index)
        if former is not None:
            return tlog_proof(index, self.reader.inclusion(index, former[0]), former[1])
        needed = self.cosigned.quorum.needed
        chosen = (self.cosigned.newest(needed, index) if needed else None) or self.cosigned.newest(0, index)
        if chosen is None:
            raise NotLogged(f"entry {index}")
        return tlog_proof(index, self.reader.inclusion(index, chosen.tree_size), chosen.note)

    async def proofs(self, indices: Sequence[int]) -> tuple[str, Mapping[int, Sequence[bytes]]]:
        """A signed checkpoint, and for each of ``indices`` its RFC 6962 audit path under it. Raises ``NotLogged``."""
        size, note = self._checkpoint[:2] if self._checkpoint is not None else (0, "")
        for _ in range(SIGN_TRIES):
            if note and size > max(indices, default=0):
                break
            # One under way may be of a head before what another gateway appended meanwhile: then once more.
            size, note = await self._signed()
        return note, await self.reads.run(self.reader.inclusions, indices, size)

    async def entry(self, index: int) -> bytes:
        """Canonical bytes of the entry at ``index``. Raises ``NotLogged``."""
        return await self.reads.entry(index)

    async def committing(self, plan_id: str, commitment: str) -> tuple[int, Mapping[str, str]]:
        """See ``gateway.ports.AuditLog``. Raises ``NotLogged``."""
        return await self.reads.committing(plan_id, commitment)

    async def ready(self) -> None:
        """Raises ``LogUnavailable`` where an append would fail now; an answer may be a second old."""
        if time.monotonic() - self._failed < _FAILED_SECONDS:
            # Asking writes next to nothing, so a server's full disk does not show in it; the last append has shown it.
            raise LogUnavailable("the last append failed")
        if time.monotonic() - self._proved < _READY_SECONDS:
            return
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._prove())
            self._probe.add_done_callback(_heed)
        await asyncio.shield(self._probe)

    async def catch_up(self) -> None:
        """See what other writers appended. Raises ``LogUnavailable``."""
        await self._writer.call(Committer.probe)

    # --- Payloads ----------------------------------------------------------------------------------------------------

    async def open(self, commitments: Sequence[str]) -> Mapping[str, tuple[bytes, bytes]]:
        """See :meth:`audit.reads.Reads.open`."""
        return await self.reads.open(commitments)

    async def owners(self, commitments: Sequence[str]) -> Collection[str]:
        """See :meth:`audit.reads.Reads.owners`."""
        return await self.reads.owners(commitments)

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def vkey(self) -> str:
        """Verifier key of the active checkpoint key. Raises ``key.unavailable``."""
        return str(self.heads.key())

    def _store_checkpoint(self, committer: Committer) -> tuple[int, str]:
        self._begun = True
        size, note = committer.checkpoint(self.heads.sign)
        self._checkpoint = (size, note, time.monotonic())
        return size, note

    def _after_commit(self, committer: Committer) -> float | None:
        """In the writer: sign now if the last checkpoint is old enough, else say when."""
        if self._checkpoint is not None:
            due = self._checkpoint[2] + self._settings.checkpoint_interval_seconds
            if self._checkpoint[0] == committer.size:
                return None
            if time.monotonic() < due:
                return due
        try:
            self._store_checkpoint(committer)
        except HandrailError as exc:
            _logger.warning("log.checkpoint", error=type(exc).__name__, detail=exc.detail)
            return time.monotonic() + self._settings.checkpoint_interval_seconds
        return None

    async def _signed(self) -> tuple[int, str]:
        """Have a head signed that is read from now on; callers before that moment share the signature."""
        if self._asked is None or self._asked.done() or self._begun:
            self._begun = False
            self._asked = asyncio.create_task(self._writer.call(self._store_checkpoint))
            self._asked.add_done_callback(_heed)
        return await asyncio.shield(self._asked)

    # --- helpers -----------------------------------------------------------------------------------------------------

    async def _prove(self) -> None:
        await self._writer.call(Committer.ready)
        self._proved = time.monotonic()

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(WINDOW_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        taken = self._aggregator.take()
        if not taken:
            return
        outcomes = await asyncio.gather(*(self.append(Append([draft])) for _, draft in taken), return_exceptions=True)
        # Counted again even where the outcome is uncertain: twice is better than never.
        failed = [one for one, outcome in zip(taken, outcomes, strict=True) if isinstance(outcome, LogUnavailable)]
        self._aggregator.put_back(failed)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                _logger.error("log.refusals_not_written", error=type(outcome).__name__)


def _heed(task: asyncio.Task[Any]) -> None:
    """Its failure is told to whoever still waits; that everybody may have left is no fault to report."""
    if not task.cancelled():
        task.exception()


def _size_of(note: str) -> int:
    return parse_checkpoint(note_text(note)).tree_size
