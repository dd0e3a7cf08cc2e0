"""What stays of partitions that retention dropped: the hashes that prove the rest of the tree.

A partition is :data:`PARTITION` neighbouring entries, whole blocks of the index and whole tiles. Of a dropped one the
leaf hashes are kept, tile by tile, and the hashes of the larger subtrees that a tile closes; what lies between follows.
Blocking; inside a caller's connection.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, select

from audit.merkle import HASH_BYTES, Frontier, Node, last_leaf
from audit.postings import BLOCK
from audit.tables import dropped_partitions, retained_hashes

PARTITION: Final = BLOCK
"""Entries of one partition."""
LEVEL: Final = PARTITION.bit_length() - 1
"""Of the subtree that a partition is."""
TILE: Final = 256
"""Leaves of one row; a tile of c2sp.org/tlog-tiles."""
HEIGHT: Final = TILE.bit_length() - 1

_DROPPED: Final = (
    select(dropped_partitions.c.partition)
    .where(
        dropped_partitions.c.partition >= bindparam("first"),
        dropped_partitions.c.partition <= bindparam("last"),
    )
    .order_by(dropped_partitions.c.partition)
)
_DROPPED_SINCE: Final = (
    select(dropped_partitions.c.partition).where(dropped_partitions.c.partition >= bindparam("first")).limit(1)
)
_TILES: Final = select(retained_hashes).where(retained_hashes.c.tile.in_(bindparam("tiles", expanding=True)))


@dataclass(frozen=True, slots=True)
class Tile:
    """The kept hashes of 256 leaves.

    Attributes:
        leaves: 32 bytes each.
        above: of the subtrees of levels 9 and up that its last leaf closes.
    """

    number: int
    leaves: bytes
    above: bytes

    def rows(self) -> list[bytes]:
        """Of each leaf: the hashes as its row of ``entries`` had them."""
        found, edge = [], Frontier()
        for at in range(0, len(self.leaves), HASH_BYTES):
            leaf = self.leaves[at : at + HASH_BYTES]
            found.append(b"".join((leaf, *edge.append(leaf))))
        return [*found[:-1], found[-1] + self.above]

    def node(self, node: Node) -> bytes:
        """The hash of a complete subtree that one of its leaves closes; empty where it is not kept."""
        level, index = node
        if level > HEIGHT:
            at = (level - HEIGHT - 1) * HASH_BYTES
            return self.above[at : at + HASH_BYTES]
        edge = Frontier()
        start = (index << level) % TILE
        for at in range(start, start + (1 << level)):
            edge.append(self.leaves[at * HASH_BYTES : (at + 1) * HASH_BYTES])
        return edge.root()


def tile_of(rows: Iterable[bytes], number: int) -> Tile:
    """The tile of 256 rows' ``hashes``, in order."""
    kept = list(rows)
    leaves = b"".join(hashes[:HASH_BYTES] for hashes in kept)
    return Tile(number, leaves, kept[-1][(HEIGHT + 1) * HASH_BYTES :])


def dropped(connection: Connection, low: int, high: int) -> list[tuple[int, int]]:
    """The dropped stretches of ``[low, high)``, each as ``(first, last)``, in order and as long as they can be."""
    if low >= high:
        return []
    found: list[tuple[int, int]] = []
    span = {"first": low // PARTITION, "last": (high - 1) // PARTITION}
    for partition in connection.execute(_DROPPED, span).scalars():
        first, last = max(low, partition * PARTITION), min(high, (partition + 1) * PARTITION) - 1
        if found and found[-1][1] == first - 1:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def dropped_since(connection: Connection, index: int) -> bool:
    """Whether entries at ``index`` or beyond were dropped, so that the log cannot say what came after it."""
    return connection.execute(_DROPPED_SINCE, {"first": index // PARTITION}).first() is not None


def tiles(connection: Connection, numbers: Collection[int]) -> dict[int, Tile]:
    """The kept tiles among ``numbers``."""
    if not numbers:
        return {}
    rows = connection.execute(_TILES, {"tiles": sorted(numbers)})
    return {row.tile: Tile(row.tile, bytes(row.leaves), bytes(row.above)) for row in rows}


def nodes(connection: Connection, wanted: Collection[Node]) -> dict[Node, bytes]:
    """Hashes of complete subtrees that dropped entries closed; a missing one is missing."""
    kept = tiles(connection, {last_leaf(node) // TILE for node in wanted})
    found = {}
    for node in wanted:
        tile = kept.get(last_leaf(node) // TILE)
        value = b"" if tile is None or len(tile.leaves) != TILE * HASH_BYTES else tile.node(node)
        if len(value) == HASH_BYTES:
            found[node] = value
    return found
