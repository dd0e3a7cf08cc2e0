"""Checkpoints as they are stored, with the cosignatures that were stored for them. Blocking; call it in a thread.

Whoever can write to the database can put any line there, and one line that does not verify has a strict reader refuse
the whole checkpoint. So each is verified before it leaves, and one that does not hold is left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import bindparam, func, insert, select

from audit.checkpoint import note_text, signature_lines
from audit.cosignature import Cosignature, Quorum, WitnessKey, verified
from audit.errors import NoteInvalid
from audit.reader import Reader
from audit.tables import checkpoints, cosignatures
from gateway.ports import Write

LOOK_BACK_MAX: Final = 256
"""Newest cosigned sizes among which one with enough cosignatures is looked for."""

_logger: Final = structlog.get_logger("handrail.audit")
_INSERT: Final = insert(cosignatures)
_OF_SIZE: Final = (
    select(cosignatures.c.line)
    .where(
        cosignatures.c.tree_size == bindparam("size"),
        cosignatures.c.witness == bindparam("name"),
        cosignatures.c.key_id == bindparam("key_id"),
    )
    .order_by(cosignatures.c.time.desc())
    .limit(1)
)
_OF_KEY: Final = (
    select(cosignatures.c.tree_size, cosignatures.c.line)
    .where(cosignatures.c.witness == bindparam("name"), cosignatures.c.key_id == bindparam("key_id"))
    .order_by(cosignatures.c.tree_size.desc(), cosignatures.c.time.desc())
    .limit(1)
)
_NOTE: Final = select(checkpoints.c.note).where(checkpoints.c.tree_size == bindparam("size"))
_NEWEST: Final = (
    select(cosignatures.c.tree_size)
    .where(cosignatures.c.tree_size >= bindparam("least"))
    .distinct()
    .order_by(cosignatures.c.tree_size.desc())
    .limit(LOOK_BACK_MAX)
)
_SIZES: Final = (
    select(cosignatures.c.tree_size)
    .where(cosignatures.c.tree_size.in_(_NEWEST))
    .group_by(cosignatures.c.tree_size)
    .having(func.count(cosignatures.c.witness.distinct()) >= bindparam("needed"))
    .order_by(cosignatures.c.tree_size.desc())
)


@dataclass(frozen=True, slots=True)
class CosignedCheckpoint:
    """A checkpoint and who cosigned it.

    Attributes:
        note: with the log's signature and one line for each of ``cosignatures``.
    """

    tree_size: int
    note: str
    cosignatures: tuple[Cosignature, ...] = ()


class Cosigned:
    """Stored checkpoints with their cosignatures by known witnesses. Thread-safe."""

    def __init__(self, reader: Reader, quorum: Quorum) -> None:
        self._reader = reader
        self.quorum = quorum

    def attach(self, tree_size: int, note: str) -> CosignedCheckpoint:
        """A checkpoint with the newest cosignature of each witness. Raises ``LogUnavailable``."""
        if not self.quorum.keys:
            return CosignedCheckpoint(tree_size, note)
        found: list[Cosignature] = []
        with self._reader.connect() as connection:
            for key in self.quorum.keys:
                named = {"size": tree_size, "name": key.name, "key_id": key.key_id.hex()}
                line = connection.execute(_OF_SIZE, named).scalar()
                found += [] if line is None else _sound(note, line, [key])
        return CosignedCheckpoint(tree_size, note + "".join(one.line for one in found), tuple(found))

    def newest(self, needed: int, covering: int = 0) -> CosignedCheckpoint | None:
        """The newest checkpoint of more than ``covering`` leaves with at least ``needed`` cosignatures.

        Raises:
            LogUnavailable: the database cannot be read.
        """
        if needed == 0:
            found = self._reader.checkpoint()
            return self.attach(*found) if found is not None and found[0] > covering else None
        with self._reader.connect() as connection:
            sizes = connection.execute(_SIZES, {"least": covering + 1, "needed": needed}).scalars().all()
        for size in sizes:
            with self._reader.connect() as connection:
                note = connection.execute(_NOTE, {"size": size}).scalar()
            cosigned = None if note is None else self.attach(size, note)
            if cosigned is not None and len(cosigned.cosignatures) >= needed:
                return cosigned
        return None

    def sound(self, note: str, line: str) -> list[Cosignature]:
        """A stored line as the cosignature of a known witness; empty where it is none."""
        return _sound(note, line, self.quorum.keys)

    def last(self, key: WitnessKey) -> tuple[int, Cosignature] | None:
        """The largest size that a witness cosigned, and its newest word on it."""
        with self._reader.connect() as connection:
            row = connection.execute(_OF_KEY, {"name": key.name, "key_id": key.key_id.hex()}).one_or_none()
            note = None if row is None else connection.execute(_NOTE, {"size": row.tree_size}).scalar()
        if row is None or note is None:
            return None
        found = _sound(note, row.line, [key])
        return (row.tree_size, found[0]) if found else None


def store(tree_size: int, cosignature: Cosignature) -> Write:
    """The row that keeps a verified cosignature."""
    values: Mapping[str, Any] = {
        "tree_size": tree_size,
        "witness": cosignature.witness,
        "key_id": cosignature.key_id.hex(),
        "time": cosignature.time,
        "line": cosignature.line,
    }
    return Write(_INSERT, values)


def _sound(note: str, line: str, keys: Iterable[WitnessKey]) -> list[Cosignature]:
    try:
        return verified(note_text(note), signature_lines(line), keys)
    except NoteInvalid as exc:
        _logger.warning("log.cosignature_broken", detail=exc.detail)
        return []
