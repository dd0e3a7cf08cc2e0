"""The record of a dropped partition: what its 'retention applied' entry says, and whether the database is as it says.

No partition may be gone without such an entry, and the entry names what must still be there: the root of the
partition's subtree, and which of its entries stand (``gateway.entries.STANDING``).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from audit.retained import LEVEL, PARTITION, TILE, Tile, tiles
from audit.tables import dropped_partitions, entries, retained_hashes
from gateway.entries import STANDING, EntryType
from gateway.errors import HandrailError

ENTRIES: Final = "entries"
"""Fact ``what`` of an entry about entries; there are others about payloads."""
NOT_ARCHIVED: Final = "none"

_ENTRY: Final = select(entries.c.type, entries.c.body).where(entries.c.idx == bindparam("idx"))


@dataclass(frozen=True, slots=True)
class Drop:
    """That a partition is dropped.

    Attributes:
        root: of its subtree.
        standing: indices of its entries that stay.
        archive: SHA-256 of the archived object, in hex; :data:`NOT_ARCHIVED` where there is none.
        tree_size: of the signed checkpoint that covers it.
    """

    partition: int
    root: bytes
    standing: Sequence[int]
    archive: str
    tree_size: int

    def facts(self) -> dict[str, str | int]:
        """What the entry says."""
        return {
            "what": ENTRIES,
            "partition": self.partition,
            "first": self.partition * PARTITION,
            "count": PARTITION,
            "root": self.root.hex(),
            "standing": len(self.standing),
            "standing_sha256": digest_of(self.standing),
            "archive": self.archive,
            "tree_size": self.tree_size,
        }


def digest_of(indices: Sequence[int]) -> str:
    """SHA-256, in hex, of rising decimal indices with a comma between them."""
    return hashlib.sha256(",".join(map(str, indices)).encode()).hexdigest()


def said_by(connection: Connection, index: int) -> Mapping[str, Any] | None:
    """What the entry at ``index`` says of a dropped partition; ``None`` where it is no such entry."""
    row = connection.execute(_ENTRY, {"idx": index}).one_or_none()
    if row is None or row.type != EntryType.RETENTION_APPLIED:
        return None
    try:
        facts = json.loads(bytes(row.body)).get("facts", {})
    except (ValueError, HandrailError, AttributeError):
        return None
    return facts if isinstance(facts, dict) and facts.get("what") == ENTRIES else None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the entries ``first`` to ``last``."""

    detail: str
    first: int
    last: int


class Drops:
    """What ``fsck`` meets of dropped partitions, on its way through the log."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        rows = connection.execute(select(dropped_partitions.c.partition, dropped_partitions.c.idx))
        self._said = {row.partition: row.idx for row in rows}
        self._standing: dict[int, list[int]] = {partition: [] for partition in self._said}
        self._roots: dict[int, Sequence[bytes]] = {}

    def hashes(self, start: int, end: int) -> dict[int, bytes]:
        """Index -> the ``hashes`` that were kept of it, of the dropped partitions in ``[start, end)``."""
        numbers = [n for n in range(start // TILE, -(-end // TILE)) if n * TILE // PARTITION in self._said]
        return {
            tile.number * TILE + offset: hashes
            for tile in tiles(self._connection, numbers).values()
            if _whole(tile)
            for offset, hashes in enumerate(tile.rows())
        }

    def stands(self, index: int, kind: str) -> None:
        """An entry is there."""
        if kind in STANDING and index // PARTITION in self._said:
            self._standing[index // PARTITION].append(index)

    def closed(self, level: int, number: int, hashes: Sequence[bytes]) -> None:
        """A subtree was closed; ``hashes`` are those that it may have."""
        if level == LEVEL and number in self._said:
            self._roots[number] = hashes

    def problems(self) -> Iterator[Problem]:
        """What does not fit, at the end of the way."""
        for partition, index in sorted(self._said.items()):
            detail = self._problem(partition, index)
            if detail:
                yield Problem(detail, partition * PARTITION, (partition + 1) * PARTITION - 1)
        for number in self._connection.execute(select(retained_hashes.c.tile)).scalars():
            if number * TILE // PARTITION not in self._said:
                first = number * TILE
                yield Problem("hashes are kept of a partition that was not dropped", first, first + TILE - 1)

    def _problem(self, partition: int, index: int) -> str:
        facts = said_by(self._connection, index)
        if facts is None or facts.get("partition") != partition:
            return "marked as dropped, and no entry of the log says so"
        root = facts.get("root")
        if not any(known.hex() == root for known in self._roots.get(partition, ())):
            return f"the tree has another root there than entry {index} says"
        if facts.get("standing_sha256") != digest_of(self._standing[partition]):
            return f"not the entries stand that entry {index} says"
        return ""


def _whole(tile: Tile) -> bool:
    return len(tile.leaves) == TILE * 32 and len(tile.above) % 32 == 0
