"""How much of the log was under a checkpoint before a moment: what still stands of a key that was stolen at it.

A checkpoint has no time of its own. It was signed before the entry behind it was written, and a witness's cosignature
says when the witness saw it; nothing else is taken as a sign of when. Blocking; call it in a thread.
"""

from collections.abc import Collection
from typing import Final

import orjson
from sqlalchemy import Connection, bindparam, func, select

from audit.checkpoint import VerifierKey, parse_checkpoint, verify_note
from audit.cosigned import Cosigned
from audit.errors import NoteInvalid
from audit.history import TREE_SIZE
from audit.reader import Reader
from audit.tables import checkpoints, cosignatures, entries
from gateway.entries import EntryType
from gateway.model import DEFAULT_TENANT
from gateway.times import format_time

LOOKED_AT_MAX: Final = 256
"""Cosigned sizes among which one with enough cosignatures is looked for."""
KEY_CHANGES: Final = (EntryType.KEY_CREATED, EntryType.KEY_ROTATED, EntryType.KEY_REVOKED)
_LAST_BEFORE: Final = (
    select(entries.c.idx)
    .where(entries.c.time <= bindparam("time"), entries.c.idx < TREE_SIZE)
    .order_by(entries.c.time.desc(), entries.c.idx.desc())
    .limit(1)
)
_NEWEST: Final = (
    select(checkpoints.c.tree_size, checkpoints.c.note)
    .where(checkpoints.c.tree_size <= bindparam("most"))
    .order_by(checkpoints.c.tree_size.desc())
    .limit(1)
)
_COSIGNED: Final = (
    select(cosignatures.c.tree_size, checkpoints.c.note)
    .join(checkpoints, checkpoints.c.tree_size == cosignatures.c.tree_size)
    .where(cosignatures.c.time < bindparam("time"))
    .group_by(cosignatures.c.tree_size, checkpoints.c.note)
    .having(func.count(cosignatures.c.witness.distinct()) >= bindparam("needed"))
    .order_by(cosignatures.c.tree_size.desc())
    .limit(LOOKED_AT_MAX)
)
_LINES: Final = select(cosignatures.c.line).where(
    cosignatures.c.tree_size == bindparam("size"), cosignatures.c.time < bindparam("time")
)
_CHANGES: Final = (
    select(entries.c.idx, entries.c.type, entries.c.body)
    .where(
        entries.c.tenant == DEFAULT_TENANT,
        entries.c.type.in_([str(kind) for kind in KEY_CHANGES]),
        entries.c.idx < TREE_SIZE,
    )
    .order_by(entries.c.idx)
)


def covered_size(reader: Reader, at: float) -> int:
    """Tree size of the newest checkpoint that was signed before ``at``; 0 where none was.

    For keys that sign no checkpoints: whoever stole one of those could sign none.

    Raises:
        LogUnavailable: the database cannot be read.
    """
    with reader.connect() as connection:
        row = connection.execute(_NEWEST, {"most": _last_before(connection, at)}).one_or_none()
    return 0 if row is None else int(row.tree_size)


def covered_without(reader: Reader, cosigned: Cosigned, at: float, kid: str, others: Collection[VerifierKey]) -> int:
    """The same for a key of checkpoints: the newest that another key of the log signed before ``at``, or that enough
    witnesses say they saw before it.

    Args:
        cosigned: whose quorum counts.
        kid: of the stolen key.
        others: the log's verifier keys that are in nobody else's hands.

    Raises:
        LogUnavailable: the database cannot be read.
    """
    with reader.connect() as connection:
        # From the entry on that says that the key signs, checkpoints may be its own.
        most = min([_last_before(connection, at), *_active_from(connection, kid)])
        row = connection.execute(_NEWEST, {"most": most}).one_or_none()
        seen = _witnessed(connection, cosigned, at)
    if row is None:
        return seen
    try:
        parse_checkpoint(verify_note(row.note, others))
    except NoteInvalid:
        return seen
    return max(seen, int(row.tree_size))


def key_changes(reader: Reader) -> list[tuple[int, str, str, str]]:
    """Every entry about a key of the gateway, oldest first: its index and type, the key's id, and its state then."""
    with reader.connect() as connection:
        return _changes(connection)


def _last_before(connection: Connection, at: float) -> int:
    """Index of the last entry that was written before ``at``: a checkpoint of no more entries is older than it."""
    found = connection.execute(_LAST_BEFORE, {"time": format_time(at)}).scalar()
    return 0 if found is None else int(found)


def _active_from(connection: Connection, kid: str) -> list[int]:
    return [index for index, _, found, state in _changes(connection) if (found, state) == (kid, "active")][:1]


def _changes(connection: Connection) -> list[tuple[int, str, str, str]]:
    """See :func:`key_changes`. Entries about epochs have another subject than a key of the list."""
    found = []
    for row in connection.execute(_CHANGES):
        facts = orjson.loads(row.body)["facts"]
        if "kid" in facts:
            found.append((int(row.idx), str(row.type), str(facts["kid"]), str(facts["state"])))
    return found


def _witnessed(connection: Connection, cosigned: Cosigned, at: float) -> int:
    needed = cosigned.quorum.needed
    if not needed:
        return 0
    time = int(at)
    for row in connection.execute(_COSIGNED, {"time": time, "needed": needed}).all():
        lines = connection.execute(_LINES, {"size": row.tree_size, "time": time}).scalars().all()
        if len({(one.witness, one.key_id) for line in lines for one in cosigned.sound(row.note, line)}) >= needed:
            return int(row.tree_size)
    return 0
