"""The log as static resources: hash tiles and entry bundles (c2sp.org/tlog-tiles).

A tile is 256 hashes wide and eight levels high: tile ``n`` of level ``l`` holds the hashes of the complete subtrees
``(8 * l, 256 * n)`` and those right of it. What a checkpoint covers never changes, so a tile, once served, is the same
for ever; only what a stored checkpoint covers is served.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, select

from audit import retained
from audit.errors import Dropped, LogUnavailable, NotLogged
from audit.merkle import HASH_BYTES, Node, fold, node_hash
from audit.reader import Reader, load_nodes
from audit.tables import entries

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
LEVEL_MAX: Final = 63
ENTRIES: Final = "entries"
"""What stands in place of a level in the path of an entry bundle."""
CACHE_MAX_BYTES: Final = 16 * 2**20
"""Full hash tiles that are kept in memory: 2,048 of them, the upper levels of any log and 500,000 newest leaves."""
_LEAVES_MAX: Final = 2**63
_LENGTH_BYTES: Final = 2

_LEVEL: Final = re.compile(r"0|[1-9][0-9]?")
_INDEX: Final = re.compile(r"((?:x[0-9]{3}/){0,6})([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")

_LEAVES: Final = (
    select(entries.c.hashes)
    .where(entries.c.idx >= bindparam("start"), entries.c.idx < bindparam("end"))
    .order_by(entries.c.idx)
)
_BODIES: Final = (
    select(entries.c.body)
    .where(entries.c.idx >= bindparam("start"), entries.c.idx < bindparam("end"))
    .order_by(entries.c.idx)
)


@dataclass(frozen=True, slots=True)
class Tile:
    """A hash tile, or the entry bundle beside one of level 0.

    Attributes:
        level: 0 for hashes of leaves.
        width: hashes (or entries) in it; :data:`WIDTH` for a full one.
    """

    level: int
    index: int
    width: int = WIDTH

    @property
    def start(self) -> int:
        """The first leaf under it."""
        return self.index << HEIGHT * (self.level + 1)

    @property
    def end(self) -> int:
        """The leaf after the last one under it."""
        return self.start + (self.width << HEIGHT * self.level)

    @property
    def full(self) -> bool:
        """Whether it has every hash that it can have."""
        return self.width == WIDTH

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The subtrees whose hashes it holds, in order."""
        first = self.index << HEIGHT
        return tuple((HEIGHT * self.level, first + number) for number in range(self.width))

    def path(self, prefix: str | None = None) -> str:
        """Its place under the log's prefix: ``tile/0/x001/x234/067.p/3``.

        Args:
            prefix: what to write for the level; :data:`ENTRIES` for the bundle.
        """
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        suffix = "" if self.full else f".p/{self.width}"
        level = str(self.level) if prefix is None else prefix
        return "/".join(("tile", level, *(f"x{part}" for part in parts[:-1]), parts[-1])) + suffix


def parse(level: str, index: str) -> Tile:
    """The tile that a path names.

    Args:
        level: decimal, or :data:`ENTRIES`.
        index: ``x001/x234/067``, with ``.p/W`` for a partial one.

    Raises:
        NotLogged: it is not written in the one way that names a tile, or no log could be so large.
    """
    number = 0 if level == ENTRIES else int(level) if _LEVEL.fullmatch(level) else LEVEL_MAX + 1
    match = _INDEX.fullmatch(index)
    if number > LEVEL_MAX or match is None or match[1].startswith("x000"):
        raise NotLogged("no tile is written like that")
    width = WIDTH if match[3] is None else int(match[3])
    if match[3] is not None and width >= WIDTH:
        raise NotLogged("a partial tile has 1 to 255 hashes")
    tile = Tile(number, int(match[1].replace("x", "").replace("/", "") + match[2]), width)
    if tile.end > _LEAVES_MAX:
        raise NotLogged("no log is so large")
    return tile


def tile_of(node: Node, size: int) -> Tile:
    """The tile, as wide as a tree of ``size`` leaves has it, from which the hash of a complete subtree follows."""
    level, index = node
    depth = level % HEIGHT
    number = index << depth >> HEIGHT
    width = min((size >> level - depth) - (number << HEIGHT), WIDTH)
    return Tile(level // HEIGHT, number, width)


def hash_in(tile: Tile, content: bytes, node: Node) -> bytes:
    """The hash of a complete subtree, from the tile that :func:`tile_of` names.

    Raises:
        LogUnavailable: the content is not as long as the tile is wide.
    """
    if len(content) != tile.width * HASH_BYTES:
        raise LogUnavailable(f"{tile.path()} has {len(content)} bytes")
    depth = node[0] % HEIGHT
    first = (node[1] << depth) % WIDTH
    hashes = [content[at * HASH_BYTES : (at + 1) * HASH_BYTES] for at in range(first, first + (1 << depth))]
    while len(hashes) > 1:
        hashes = [node_hash(*hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def fold_from_tiles(path: Sequence[Sequence[Node]], size: int, fetch: Callable[[Tile], bytes]) -> list[bytes]:
    """A proof of :mod:`audit.merkle` from the tiles of a tree of ``size`` leaves, each of them fetched once.

    Raises:
        LogUnavailable: a tile has a wrong length.
    """
    fetched: dict[Tile, bytes] = {}

    def value(node: Node) -> bytes:
        tile = tile_of(node, size)
        if tile not in fetched:
            fetched[tile] = fetch(tile)
        return hash_in(tile, fetched[tile], node)

    return [fold([value(node) for node in part]) for part in path]


class Tiles:
    """Tiles of a stored log. Blocking and thread-safe.

    Args:
        cache_max_bytes: full hash tiles that are kept.
    """

    def __init__(self, reader: Reader, cache_max_bytes: int = CACHE_MAX_BYTES) -> None:
        self._reader = reader
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._cache_max = cache_max_bytes // (WIDTH * HASH_BYTES)
        self._caching = threading.Lock()
        self._looking = threading.Lock()
        self._looks = 0
        self._published = 0

    def hashes(self, tile: Tile) -> bytes:
        """The tile's hashes, 32 bytes each.

        Raises:
            NotLogged: no checkpoint covers it.
            LogUnavailable: the database cannot be read, or a hash is missing.
        """
        self._must_be_published(tile)
        key = (tile.level, tile.index)
        with self._caching:
            known = self._cache.get(key)
            if known is not None:
                self._cache.move_to_end(key)
                return known[: tile.width * HASH_BYTES]
        content = self._leaves(tile) if tile.level == 0 else self._nodes(tile)
        if tile.full:
            with self._caching:
                self._cache[key] = content
                while len(self._cache) > self._cache_max:
                    self._cache.popitem(last=False)
        return content

    def bundle(self, tile: Tile) -> bytes:
        """The entries under a tile of level 0, each behind its length as a big-endian uint16.

        Raises:
            NotLogged: no checkpoint covers it, or an entry is missing.
            Dropped: the retention of an entry of it is over.
            LogUnavailable: the database cannot be read.
        """
        self._must_be_published(tile)
        with self._reader.connect() as connection:
            bodies = connection.execute(_BODIES, {"start": tile.start, "end": tile.end}).scalars().all()
            gone = len(bodies) != tile.width and retained.dropped(connection, tile.start, tile.end)
        if gone:
            raise Dropped(f"entries {tile.start} to {tile.end - 1}")
        if len(bodies) != tile.width:
            raise NotLogged("these entries are not here: run fsck")
        return b"".join(len(body).to_bytes(_LENGTH_BYTES) + body for body in bodies)

    def _leaves(self, tile: Tile) -> bytes:
        with self._reader.connect() as connection:
            found = connection.execute(_LEAVES, {"start": tile.start, "end": tile.end}).scalars().all()
        content = b"".join(bytes(hashes[:HASH_BYTES]) for hashes in found)
        return content if len(content) == tile.width * HASH_BYTES else self._nodes(tile)

    def _nodes(self, tile: Tile) -> bytes:
        with self._reader.connect() as connection:
            found = load_nodes(connection, tile.nodes)
        if len(found) != tile.width:
            raise LogUnavailable("a node of the tree is missing: run fsck")
        return b"".join(found[node] for node in tile.nodes)

    def _must_be_published(self, tile: Tile) -> None:
        """Whether a stored checkpoint covers the tile. What was published once needs no look; those who ask for more
        at the same time share one.
        """
        if tile.end <= self._published:
            return
        seen = self._looks
        with self._looking:
            if self._looks == seen and tile.end > self._published:
                self._looks += 1
                self._published = max(self._published, (self._reader.checkpoint() or (0, ""))[0])
        if tile.end > self._published:
            raise NotLogged("no checkpoint covers that tile")
