"""A partition of the log as one file that proves itself: a first line about it, then its entries, a line each (NDJSON).

The first line holds a signed checkpoint and the hashes from the partition's subtree up to the checkpoint's root; the
rest follows from the entries. An entry stands there as the canonical JSON that its leaf hashes, so nothing in the file
has to be believed. What an entry says of people is commitments; their values are not in the log and so not here.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Row, bindparam, select

from audit.checkpoint import Checkpoint, VerifierKey, note_text, parse_checkpoint, verify_checkpoint
from audit.entry import COLUMNS, reasons_column
from audit.errors import ArchiveRefused, LogUnavailable, NoteInvalid, ProofInvalid
from audit.merkle import HASH_BYTES, fold, inclusion, leaf_hash, node_hash, verify_inclusion
from audit.reader import load_nodes
from audit.retained import LEVEL, PARTITION
from audit.tables import entries
from gateway.canonical import canonical
from gateway.commitments import fields_root
from gateway.entries import STANDING, EntryType
from gateway.errors import HandrailError

FORMAT: Final = "handrail-partition/1"
_ROWS: Final = (
    select(entries).where(entries.c.idx >= bindparam("start"), entries.c.idx < bindparam("end")).order_by(entries.c.idx)
)


@dataclass(frozen=True, slots=True)
class ArchivedPartition:
    """A partition that was verified.

    Attributes:
        sha256: of the file, in hex.
        root: of the partition's subtree.
        first_time, last_time: of its earliest and its latest entry (RFC 3339).
        standing: indices of its entries that outlive it (``gateway.entries.STANDING``), by what they say themselves.
    """

    partition: int
    sha256: str
    root: bytes
    checkpoint: Checkpoint
    first_time: str
    last_time: str
    standing: tuple[int, ...]

    @property
    def first(self) -> int:
        """Index of its first entry."""
        return self.partition * PARTITION

    @property
    def last(self) -> int:
        """Index of its last entry."""
        return self.first + PARTITION - 1


def object_name(origin: str, partition: int) -> str:
    """Name of the object in an archive: by the log and the indices, so that a listing is in order."""
    return f"{origin}/{partition * PARTITION:015d}.ndjson"


def make(connection: Connection, partition: int, note: str) -> bytes:
    """The file of a partition.

    Args:
        note: a signed checkpoint that covers it.

    Raises:
        ArchiveRefused: a column says another thing than the entry that it repeats: holds, the index and what stands
            are looked for by columns.
        LogUnavailable: an entry of the partition is not there, or a hash of the tree.
        NoteInvalid: ``note`` is no checkpoint, or does not cover the partition.
    """
    checkpoint = parse_checkpoint(note_text(note))
    start, end = partition * PARTITION, (partition + 1) * PARTITION
    if checkpoint.tree_size < end:
        raise NoteInvalid("the checkpoint does not cover the partition")
    rows = connection.execute(_ROWS, {"start": start, "end": end}).all()
    if len(rows) != PARTITION:
        raise LogUnavailable(f"entries of partition {partition} are not there: run fsck")
    for row in rows:
        _require_columns(row)
    above = inclusion(start, checkpoint.tree_size)[LEVEL:]
    found = load_nodes(connection, {node for part in above for node in part})
    if any(node not in found for part in above for node in part):
        raise LogUnavailable("a node of the tree is missing: run fsck")
    top = {
        "format": FORMAT,
        "origin": checkpoint.origin,
        "partition": partition,
        "first": start,
        "count": PARTITION,
        "checkpoint": note,
        "path": [fold([found[node] for node in part]).hex() for part in above],
    }
    lines = [orjson.dumps(top, option=orjson.OPT_SORT_KEYS)]
    lines += [_line(row.idx, bytes(row.body), row.fields) for row in rows]
    return b"\n".join(lines) + b"\n"


def verify(data: bytes, keys: Iterable[VerifierKey], origin: str | None = None) -> ArchivedPartition:
    """Check a partition's file, down to each byte of each entry.

    Args:
        keys: the log's verifier keys.

    Raises:
        ArchiveRefused: it is malformed, or an entry is not what the checkpoint covers.
        NoteInvalid: no known key signed the checkpoint.
    """
    lines = data.split(b"\n")
    if lines.pop() != b"" or len(lines) != PARTITION + 1:
        raise ArchiveRefused(f"not the {PARTITION + 1} lines of a partition")
    try:
        top = orjson.loads(lines[0])
        partition, path = top["partition"], [bytes.fromhex(one) for one in top["path"]]
        known = top["format"] == FORMAT and isinstance(partition, int) and partition >= 0
        fits = known and top["first"] == partition * PARTITION and top["count"] == PARTITION
        note = top["checkpoint"]
        if not fits or not isinstance(note, str) or any(len(one) != HASH_BYTES for one in path):
            raise ValueError("not a partition's first line")
    except (ValueError, KeyError, TypeError):
        raise ArchiveRefused("the first line is not that of a partition") from None
    checkpoint = verify_checkpoint(note, keys, origin)
    leaves, times, standing, name = [], [], [], ""
    for offset, line in enumerate(lines[1:]):
        index = partition * PARTITION + offset
        leaf, kind, time, name = _entry(line, index, name)
        leaves.append(leaf)
        times.append(time)
        if kind in STANDING:
            standing.append(index)
    inner, root = _climb(leaves)
    try:
        verify_inclusion(leaves[0], partition * PARTITION, checkpoint.tree_size, [*inner, *path], checkpoint.root)
    except ProofInvalid as exc:
        raise ArchiveRefused(f"the entries are not those that the checkpoint covers: {exc.detail}") from None
    sha256 = hashlib.sha256(data).hexdigest()
    return ArchivedPartition(partition, sha256, root, checkpoint, min(times), max(times), tuple(standing))


def _require_columns(row: Row[Any]) -> None:
    """Raises ``ArchiveRefused`` where a row's columns are not those of its body."""
    try:
        entry = orjson.loads(row.body)
        told = {name: entry.get(name) for name in COLUMNS} | {"reasons": reasons_column(entry["reasons"])}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArchiveRefused(f"entry {row.idx}: its body is none") from None
    wrong = sorted(name for name, value in told.items() if getattr(row, name) != value)
    if wrong:
        raise ArchiveRefused(f"entry {row.idx}: column {wrong[0]} differs from the body")


def _line(index: int, body: bytes, fields: str | None) -> bytes:
    named = b"" if fields is None else b',"fields":' + fields.encode()
    return b'{"entry":' + body + named + b',"index":' + str(index).encode() + b"}"


def _entry(line: bytes, index: int, before: str) -> tuple[bytes, str, str, str]:
    """Leaf hash, type and time of the entry on a line, whose exact bytes have one form alone, and the log's name in it.

    The tree says which log it is of. Its name is the one ``before``, but where a restore opened a log of another.
    """
    try:
        document: dict[str, Any] = orjson.loads(line)
        entry, fields = document["entry"], document.get("fields")
        body = canonical(entry)
        again = _line(index, body, None if fields is None else canonical(fields).decode())
        committed = "" if fields is None else fields_root(fields)
        sound = again == line and entry.get("commitment", "") == committed
        kind, time, name = entry["type"], entry["time"], entry["origin"]
        if before and name != before:
            opened = kind == EntryType.BACKUP_RESTORED
            sound &= opened and (entry["facts"]["origin"], entry["facts"]["size"]) == (before, index)
        if not sound or not name or not all(isinstance(one, str) for one in (kind, time, name)):
            raise ValueError("not as it was written")
    except (ValueError, KeyError, TypeError, AttributeError, HandrailError):
        raise ArchiveRefused(f"entry {index}: not the line that was written of it") from None
    return leaf_hash(body), kind, time, name


def _climb(leaves: Sequence[bytes]) -> tuple[list[bytes], bytes]:
    """The siblings on the way from the first leaf up to the root over all of them, and that root."""
    siblings = []
    level = list(leaves)
    while len(level) > 1:
        siblings.append(level[1])
        level = [node_hash(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return siblings, level[0]
