"""The log as tiles: what a stranger's client asks for, against a tree that is computed in another way."""

import hashlib
import random
from itertools import pairwise

import pytest
from sqlalchemy import text

from audit.database import changing_schema
from audit.errors import LogUnavailable, NotLogged
from audit.merkle import (
    consistency,
    inclusion,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from audit.reader import Reader
from audit.tiles import ENTRIES, HEIGHT, WIDTH, Tile, Tiles, fold_from_tiles, hash_in, parse, tile_of
from gateway.ports import Append
from tests.audit.conftest import draft
from tests.audit.hostile_tiles import HOSTILE

SIZE = 600
"""More than two tiles; the log's first entry says that it was opened."""


def mth(leaves):
    """MTH of RFC 6962 section 2.1, by its own words."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(mth(leaves[:split]), mth(leaves[split:]))


@pytest.fixture
async def bodies(engine, open_log):
    """A log of :data:`SIZE` entries under a stored checkpoint; returns their bytes."""
    async with open_log(engine) as log:
        await log.append(Append([draft(number) for number in range(SIZE - 1)]))
        await log.checkpoint()
    with engine.connect() as connection:
        return [bytes(body) for body in connection.execute(text("SELECT body FROM entries ORDER BY idx")).scalars()]


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(2, 999, 17), "tile/2/999.p/17"),
        (Tile(0, 1000, 255), "tile/0/x001/000.p/255"),
    ],
)
def test_a_tile_has_one_name(tile, path):
    assert tile.path() == path
    assert parse(*path.removeprefix("tile/").split("/", 1)) == tile
    assert Tile(0, tile.index, tile.width).path(ENTRIES) == path.replace(f"tile/{tile.level}", "tile/entries")


def test_the_widths_of_the_specification_s_example():
    """A tree of 70,000: 273 full tiles and one of 112, one full tile and one of 17, one of a single hash."""
    assert [tile_of((0, 255), 70_000), tile_of((0, 69_999), 70_000)] == [Tile(0, 0), Tile(0, 273, 112)]
    assert [tile_of((8, 0), 70_000), tile_of((8, 272), 70_000)] == [Tile(1, 0), Tile(1, 1, 17)]
    assert tile_of((16, 0), 70_000) == Tile(2, 0, 1)
    assert tile_of((8, 0), 256) == Tile(1, 0, 1)


@pytest.mark.parametrize(("level", "index"), HOSTILE)
def test_what_names_no_tile_is_refused_without_a_look_at_the_database(level, index):
    with pytest.raises(NotLogged):
        parse(level, index)


# --- content ---------------------------------------------------------------------------------------------------------


async def test_every_tile_is_what_the_entries_hash_to(engine, bodies):
    leaves = [leaf_hash(body) for body in bodies]
    tiles = Tiles(Reader(engine))
    for level in (0, 1):
        span = WIDTH**level
        hashes = [mth(leaves[at : at + span]) for at in range(0, SIZE - span + 1, span)]
        for start in range(0, len(hashes), WIDTH):
            whole = hashes[start : start + WIDTH]
            for width in {1, 2, 3, 88, 255, len(whole)} & set(range(1, len(whole) + 1)):
                assert tiles.hashes(Tile(level, start // WIDTH, width)) == b"".join(whole[:width])
    assert tiles.hashes(Tile(0, 0, 7)) == b"".join(leaves[:7]), "a partial tile is served beside its full one"


async def test_bundles_give_the_entries_back(engine, bodies):
    tiles = Tiles(Reader(engine))
    found = []
    for tile in (Tile(0, 0), Tile(0, 1), Tile(0, 2, SIZE - 512)):
        raw = tiles.bundle(tile)
        while raw:
            length = int.from_bytes(raw[:2])
            found.append(raw[2 : 2 + length])
            raw = raw[2 + length :]
    assert found == bodies
    assert hashlib.sha256(b"\x00" + found[-1]).digest() == tiles.hashes(Tile(0, 2, SIZE - 512))[-32:]


@pytest.mark.parametrize(
    "tile", [Tile(0, 2), Tile(0, 2, SIZE - 512 + 1), Tile(0, 3, 1), Tile(1, 0), Tile(1, 0, 3), Tile(2, 0, 1)]
)
async def test_nothing_beyond_the_newest_checkpoint_is_served(engine, bodies, tile):
    tiles = Tiles(Reader(engine))
    with pytest.raises(NotLogged):
        tiles.hashes(tile)
    with pytest.raises(NotLogged):
        tiles.bundle(tile)


async def test_what_a_later_checkpoint_covers_is_served_at_once(engine, open_log):
    async with open_log(engine, checkpoint_interval_seconds=60) as log:
        await log.append(Append([draft()]))
        await log.checkpoint()
        assert len(await log.reads.tile(Tile(0, 0, 2))) == 64
        await log.append(Append([draft()]))
        with pytest.raises(NotLogged):
            await log.reads.tile(Tile(0, 0, 3))
        async with open_log(engine, gateway_id="another"):
            assert len(await log.reads.tile(Tile(0, 0, 3))) == 96, "what another gateway signed counts too"


async def test_a_missing_row_is_never_papered_over(sqlite_engine, open_log):
    async with open_log(sqlite_engine) as log:
        await log.append(Append([draft(number) for number in range(9)]))
        await log.checkpoint()
    with sqlite_engine.connect() as connection, changing_schema(connection), connection.begin():
        connection.execute(text("DROP TRIGGER entries_no_delete"))
        connection.execute(text("DELETE FROM entries WHERE idx = 4"))
    tiles = Tiles(Reader(sqlite_engine))
    with pytest.raises(LogUnavailable):
        tiles.hashes(Tile(0, 0, 10))
    with pytest.raises(NotLogged):
        tiles.bundle(Tile(0, 0, 10))
    assert len(tiles.hashes(Tile(0, 0, 4))) == 4 * 32


async def test_the_cache_holds_full_tiles_up_to_its_limit(sqlite_engine, open_log):
    async with open_log(sqlite_engine) as log:
        await log.append(Append([draft(number) for number in range(3 * WIDTH)]))
        await log.checkpoint()
    tiles = Tiles(Reader(sqlite_engine), cache_max_bytes=2 * WIDTH * 32 + 1)
    first = [tiles.hashes(Tile(0, number)) for number in range(3)]
    tiles.hashes(Tile(0, 3, 1))
    assert list(tiles._cache) == [(0, 1), (0, 2)]
    assert [tiles.hashes(Tile(0, number)) for number in (2, 1, 0)] == first[::-1]
    assert tiles.hashes(Tile(0, 1, 5)) == first[1][: 5 * 32]


# --- proofs from tiles alone -----------------------------------------------------------------------------------------


class TileTree:
    """A tree whose tiles are cut from lists of hashes, as a stranger's client might keep it."""

    def __init__(self, size):
        self.levels = [[hashlib.sha256(number.to_bytes(8)).digest() for number in range(size)]]
        while len(self.levels[-1]) > 1:
            below = self.levels[-1]
            self.levels.append([node_hash(*below[at : at + 2]) for at in range(0, len(below) - 1, 2)])
        self.fetched = []

    def fetch(self, tile):
        self.fetched.append(tile)
        level = self.levels[HEIGHT * tile.level]
        content = b"".join(level[tile.index * WIDTH : tile.index * WIDTH + tile.width])
        assert len(content) == tile.width * 32, "a client asks only for tiles that exist"
        return content


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600, 65_536, 70_000])
def test_proofs_follow_from_tiles_each_fetched_once(size):
    tree = TileTree(size)
    picked = random.Random(size)
    root = mth(tree.levels[0])
    for index in {0, size - 1, size // 2, picked.randrange(size)}:
        tree.fetched.clear()
        path = fold_from_tiles(inclusion(index, size), size, tree.fetch)
        verify_inclusion(tree.levels[0][index], index, size, path, root)
        assert len(set(tree.fetched)) == len(tree.fetched) <= 6
    for old in sorted({1, size, (size + 1) // 2, picked.randrange(1, size + 1)}):
        path = fold_from_tiles(consistency(old, size), size, tree.fetch)
        verify_consistency(old, size, path, mth(tree.levels[0][:old]), root)


def test_a_tile_of_a_wrong_length_is_refused():
    tree = TileTree(300)
    for content in (b"", tree.fetch(Tile(0, 0))[:-1], tree.fetch(Tile(0, 0)) + b"x"):
        with pytest.raises(LogUnavailable):
            hash_in(Tile(0, 0), content, (0, 5))


def test_tiles_of_neighbours_meet():
    for left, right in pairwise(Tile(1, number) for number in range(3)):
        assert left.end == right.start
