"""Recompute the whole log from its rows and name whatever does not fit.

Each node is compared with what its *children* hash to, so one flipped byte gives one finding at its own place instead
of a trail up to the root; where there is no finding, every leaf, node, root and checkpoint follows from the bodies.
Rows are read in ranges, so memory stays constant; everything is read in one snapshot. Where retention dropped entries,
the hashes that were kept of them take the place of rows, and an entry of the log has to say that they were dropped.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, Select, Table, func, select, type_coerce
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import NullType

from audit import damage, fsck_beside, fsck_sealed, post_quantum
from audit.checkpoint import Checkpoint, VerifierKey, note_text, parse_checkpoint, verify_note
from audit.cosignature import WitnessKey
from audit.dropping import Drops
from audit.entry import COLUMNS, reasons_column
from audit.epochs import EpochKeys
from audit.errors import LogUnavailable, NoteInvalid
from audit.findings import Fault, Finding
from audit.merkle import EMPTY_ROOT, HASH_BYTES, closed_by, leaf_hash, node_hash
from audit.post_quantum import PostQuantumKey
from audit.tables import checkpoints, entries, head
from gateway.canonical import canonical
from gateway.commitments import fields_root
from gateway.entries import EntryType
from gateway.errors import HandrailError
from gateway.model import DEFAULT_TENANT

CHUNK: Final = 512
"""Entries read at a time."""
_CANDIDATES_MAX: Final = 8


def _stored(table: Table) -> Select[*tuple[Any, ...]]:
    """The columns as they are stored: a tampered row may hold a value of any type in any of them."""
    return select(*[type_coerce(column, NullType()).label(column.name) for column in table.c])


_ENTRIES: Final = _stored(entries)
_HEADS: Final = _stored(head)
_CHECKPOINTS: Final = _stored(checkpoints)


Candidates = tuple[bytes, ...]
"""Hashes that a subtree may have: more than one after a finding, none where it cannot be known."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """A checkpoint that says what the root was."""

    checkpoint: Checkpoint
    kept: bool

    def __str__(self) -> str:
        return f"the {'kept' if self.kept else 'stored'} checkpoint of size {self.checkpoint.tree_size}"


class _Check:
    """One pass over the rows."""

    def __init__(
        self, connection: Connection, keys: Sequence[VerifierKey], second: Sequence[PostQuantumKey] = ()
    ) -> None:
        self._connection = connection
        self._second = second
        self._keys = keys
        self._origin: str | None = None
        """Of the entry before; to begin with, what the first should have."""
        self._former: dict[str, int] = {}
        """Origins that the log had before it was restored from a backup -> size at which it got another."""
        self._drops = Drops(connection)
        self._edge: list[Candidates] = []
        self._size = 0
        self._proved = 0
        """Entries before this one are under a checkpoint that fits."""

    def run(self, kept: Iterable[str], progress: Callable[[int, int], None]) -> Iterator[Finding]:
        heads = self._connection.execute(_HEADS).all()
        row = next((found for found in heads if found.id == 1), None)
        if len(heads) > 1 or (heads and row is None):
            yield Finding(Fault.HEAD, "there are other head rows than the one")
        last = self._connection.execute(select(func.max(entries.c.idx))).scalar()
        total = 0 if last is None else last + 1
        self._origin = self._first_name(row)
        claims: list[_Claim] = []
        for note in kept:
            yield from self._read_claim(note, claims, kept=True)
        yield from self._strays()
        yield from self._settle(claims, self._stored_claims(claims, -1, 0))
        for start in range(0, total, CHUNK):
            end = min(start + CHUNK, total)
            rows = {
                found.idx: found
                for found in self._connection.execute(
                    _ENTRIES.where(entries.c.idx >= start, entries.c.idx < end).order_by(entries.c.idx)
                )
            }
            yield from self._stored_claims(claims, start, end)
            kept_rows = self._drops.hashes(start, end)
            for index in range(start, end):
                yield from self._entry(index, rows.get(index), kept_rows.get(index))
                yield from self._settle(claims, ())
            progress(end, total)
        for problem in self._drops.problems():
            yield Finding(Fault.RETENTION, problem.detail, problem.first, problem.last)
        yield from self._stored_claims(claims, total, 2**62)
        for claim in claims:
            if claim.checkpoint.tree_size > total:
                first, until = total, claim.checkpoint.tree_size - 1
                if self._origin is not None and claim.checkpoint.origin != self._origin:
                    yield self._of_another_name(claim)
                    continue
                yield Finding(Fault.TRUNCATED, f"gone, but {claim} covers it; the log ends at {total}", first, until)
        yield from self._head(row, total)

    # --- one entry ---------------------------------------------------------------------------------------------------

    def _entry(self, index: int, row: Any, retained: bytes | None) -> Iterator[Finding]:
        if row is None and retained is not None:
            yield from self._grow(index, (retained[:HASH_BYTES],), retained)
            return
        if row is None:
            yield Finding(Fault.MISSING_ENTRY, "the entry is gone", index, index)
            yield from self._grow(index, (), None)
            return
        body, hashes = row.body, row.hashes
        if not isinstance(body, bytes) or not isinstance(hashes, bytes):
            yield Finding(Fault.BODY, "body or hashes are no bytes", index, index)
            yield from self._grow(index, (), None)
            return
        self._drops.stands(index, row.type)
        if retained is not None and retained != hashes:
            yield Finding(Fault.RETENTION, "the hashes kept of its partition are not those of the entry", index, index)
        kept = hashes[:HASH_BYTES]
        computed = leaf_hash(body)
        leaf: Candidates = (computed,)
        if computed != kept:
            leaf = (kept, computed)
            yield Finding(Fault.LEAF, "the body is not what its leaf hash says", index, index)
        yield from self._members(index, row, body)
        yield from self._grow(index, leaf, hashes)

    def _members(self, index: int, row: Any, body: bytes) -> Iterator[Finding]:
        try:
            entry = orjson.loads(body)
            if not isinstance(entry, dict) or canonical(entry) != body:
                raise ValueError("not canonical")
            reasons = reasons_column(entry["reasons"])
        except (ValueError, KeyError, TypeError, HandrailError):
            yield Finding(Fault.BODY, "the body is not canonical JSON of an entry", index, index)
            return
        yield from self._name(index, entry)
        for name in COLUMNS:
            if getattr(row, name) != entry.get(name):
                yield Finding(Fault.COLUMN, f"column {name} differs from the body", index, index)
        if row.reasons != reasons:
            yield Finding(Fault.COLUMN, "column reasons differs from the body", index, index)
        try:
            commitments = None if row.fields is None else orjson.loads(row.fields)
            root: str | None = "" if commitments is None else fields_root(commitments)
            if row.fields is not None and canonical(commitments).decode() != row.fields:
                root = None
        except (ValueError, TypeError, AttributeError, HandrailError):
            root = None
        if root != entry.get("commitment", ""):
            yield Finding(Fault.FIELDS, "the field commitments are not those of the body", index, index)

    def _first_name(self, row: Any) -> str | None:
        """The head's origin, or the one that the first restore gave up."""
        restored = select(entries.c.body).where(
            entries.c.tenant == DEFAULT_TENANT, entries.c.type == str(EntryType.BACKUP_RESTORED)
        )
        body = self._connection.execute(restored.order_by(entries.c.idx).limit(1)).scalar()
        if body is None:
            return None if row is None else row.origin
        try:
            return str(orjson.loads(body)["facts"]["origin"])
        except (ValueError, KeyError, TypeError):
            return None

    def _name(self, index: int, entry: dict[str, Any]) -> Iterator[Finding]:
        """Hold an entry's origin against the one before; only a restore may change it, and says so."""
        origin, facts = entry.get("origin"), entry.get("facts")
        if not isinstance(facts, dict):
            facts = {}
        if self._origin is None and not isinstance(origin, str):
            yield Finding(Fault.BODY, "the body names no log", index, index)
        elif self._origin is None or (
            entry.get("type") == EntryType.BACKUP_RESTORED
            and origin not in {self._origin, *self._former}
            and (facts.get("origin"), facts.get("size")) == (self._origin, index)
        ):
            if self._origin is not None:
                self._former[self._origin] = index
            self._origin = origin
        elif origin != self._origin:
            yield Finding(Fault.BODY, "the body belongs to another log", index, index)

    def _grow(self, index: int, leaf: Candidates, hashes: bytes | None) -> Iterator[Finding]:
        """Add a leaf, and hold what its row says of the subtrees it closes against their children.

        Args:
            hashes: the row's; ``None`` where the row is gone, which was said already.
        """
        level, at, right = 0, index, leaf
        if hashes is not None and len(hashes) > HASH_BYTES * (1 + closed_by(index)):
            yield Finding(Fault.EXTRA_NODE, "the row holds hashes of subtrees that it does not close", index, index)
        while at & 1:
            left = self._edge.pop()
            level, at = level + 1, at >> 1
            computed = tuple(node_hash(one, other) for one, other in product(left, right))
            first, last = at << level, ((at + 1) << level) - 1
            kept = b"" if hashes is None else hashes[level * HASH_BYTES : (level + 1) * HASH_BYTES]
            if len(kept) != HASH_BYTES:
                right = computed
                if hashes is not None:
                    yield Finding(Fault.MISSING_NODE, f"node {at} of level {level} is gone", first, last)
            elif not computed or kept in computed:
                right = (kept,)
            else:
                right = (kept, *computed)[:_CANDIDATES_MAX]
                yield Finding(Fault.NODE, f"node {at} of level {level} is not the hash of its children", first, last)
            self._drops.closed(level, at, right)
        self._edge.append(right)
        self._size = index + 1

    def _roots(self) -> set[bytes]:
        """What the root may be; empty where a missing entry leaves it unknown."""
        if not self._edge:
            return {EMPTY_ROOT}
        found = set(self._edge[-1])
        for left in reversed(self._edge[:-1]):
            found = {node_hash(one, other) for one, other in product(left, list(found)[:_CANDIDATES_MAX])}
        return found

    # --- nodes, checkpoints, head ------------------------------------------------------------------------------------

    def _strays(self) -> Iterator[Finding]:
        """Rows that no tree of this size has."""
        below = self._connection.execute(select(entries.c.idx).where(entries.c.idx < 0).limit(CHUNK)).scalars()
        for idx in below:
            yield Finding(Fault.COLUMN, "an entry before the first", idx, idx)

    def _read_claim(self, note: str, claims: list[_Claim], *, kept: bool, size: int | None = None) -> Iterator[Finding]:
        label = "a kept checkpoint" if kept else f"the stored checkpoint of size {size}"
        try:
            if not isinstance(note, str):
                raise NoteInvalid("not text")
            checkpoint = parse_checkpoint(verify_note(note, self._keys) if self._keys else note_text(note))
            post_quantum.require(note, self._second)
        except NoteInvalid as exc:
            yield Finding(Fault.CHECKPOINT, f"{label}: {exc.detail}")
            return
        if size is not None and checkpoint.tree_size != size:
            yield Finding(Fault.CHECKPOINT, f"{label} says size {checkpoint.tree_size}")
        else:
            claims.append(_Claim(checkpoint, kept))

    def _stored_claims(self, claims: list[_Claim], above: int, until: int) -> Iterator[Finding]:
        """Add the stored checkpoints of sizes ``(above, until]``."""
        statement = _CHECKPOINTS.where(checkpoints.c.tree_size > above, checkpoints.c.tree_size <= until)
        for row in self._connection.execute(statement.order_by(checkpoints.c.tree_size)).all():
            yield from self._read_claim(row.note, claims, kept=False, size=row.tree_size)

    def _settle(self, claims: list[_Claim], before: Iterable[Finding]) -> Iterator[Finding]:
        """Compare the claims about the present size, and forget them."""
        yield from before
        due = [claim for claim in claims if claim.checkpoint.tree_size == self._size]
        if not due:
            return
        roots = self._roots()
        for claim in due:
            claims.remove(claim)
            origin = claim.checkpoint.origin
            if self._size and self._origin is not None and origin != self._origin:
                yield self._of_another_name(claim)
            elif claim.checkpoint.root in roots:
                self._proved = self._size
            elif roots:
                detail = f"not what {claim} signs"
                first = min(self._proved, max(self._size - 1, 0))
                yield Finding(Fault.CHECKPOINT, detail, first, max(self._size - 1, 0))

    def _of_another_name(self, claim: _Claim) -> Finding:
        """A checkpoint of a size at which the log had another name."""
        origin, size = claim.checkpoint.origin, claim.checkpoint.tree_size
        if origin not in self._former:
            return Finding(Fault.CHECKPOINT, f"{claim} is of the log {origin}")
        restored = self._former[origin]
        detail = f"{claim} of {origin} covers what was lost when entry {restored} put a backup back"
        return Finding(Fault.TRUNCATED, detail, restored, size - 1)

    def _head(self, row: Any, total: int) -> Iterator[Finding]:
        if row is None:
            if total:
                yield Finding(Fault.HEAD, "the head row is gone")
            return
        if self._origin is not None and row.origin != self._origin:
            yield Finding(Fault.HEAD, f"the head is of the log {row.origin}")
        if not isinstance(row.tree_size, int) or not isinstance(row.root, bytes):
            yield Finding(Fault.HEAD, "size or root of the head are of another type")
        elif row.tree_size > total:
            yield Finding(Fault.TRUNCATED, f"gone, but the head counts {row.tree_size}", total, row.tree_size - 1)
        elif row.tree_size < total:
            yield Finding(Fault.HEAD, f"beyond the head's size {row.tree_size}", row.tree_size, total - 1)
        else:
            roots = self._roots()
            if roots and row.root not in roots:
                yield Finding(Fault.HEAD, "the head's root does not follow from the entries")


_UNHURRIED: Final = (
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
)
"""A check takes as long as the log is long, and whoever reads its findings as long as they like; a server that vanished
is noticed all the same, by its connection."""


def check(
    engine: Engine,
    *,
    keys: Sequence[VerifierKey] = (),
    second: Sequence[PostQuantumKey] = (),
    kept: Iterable[str] = (),
    epochs: EpochKeys | None = None,
    witnesses: Sequence[WitnessKey] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Finding]:
    """Check the log in ``engine``; yields findings as they are met, none where all is well.

    Args:
        keys: with these, the signature of every checkpoint is checked too.
        second: with these, every checkpoint needs a signature by ML-DSA-44 as well.
        kept: checkpoints that the caller kept from earlier; the log must still contain what they sign.
        epochs: with these, every payload that can be opened is checked against its commitment.
        witnesses: with these, their cosignatures are verified, and not only read.
        progress: called with (entries done, entries in all).

    Raises:
        LogUnavailable: the database cannot be read.
    """
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
                for statement in _UNHURRIED:
                    connection.exec_driver_sql(statement)
            else:
                for line in damage.reports(connection):
                    yield Finding(Fault.STORAGE, f"SQLite says: {line}")
                mistyped = list(damage.mistyped(connection))
                for column in mistyped:
                    yield Finding(Fault.STORAGE, f"{column} holds a value of another type; nothing else was looked at")
                if mistyped:
                    return
            yield from _Check(connection, keys, second).run(kept, progress or (lambda _done, _all: None))
            yield from fsck_beside.index(connection)
            yield from fsck_beside.cosigned(connection, witnesses)
            yield from fsck_sealed.erasures(connection)
            if epochs is not None:
                yield from fsck_sealed.payloads(connection, epochs)
    except (SQLAlchemyError, UnicodeDecodeError) as exc:
        # SQLite's own message may quote what it could not read, and Python's module then fails to decode that.
        if not damage.is_reported_by(exc):
            raise LogUnavailable(type(exc).__name__) from exc
        yield Finding(Fault.STORAGE, "the database cannot be read any further: its file is damaged")
