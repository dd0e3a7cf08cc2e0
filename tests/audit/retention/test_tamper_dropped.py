"""What stands of dropped partitions, on both databases: each column is changed, rows are deleted, added and exchanged.
What nobody can find is named too (``test_what_nothing_finds``).
"""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, insert, select, update

import migrations
from audit.database import make_owner
from audit.findings import Fault
from audit.fsck import check
from audit.merkle import HASH_BYTES
from audit.retained import PARTITION, TILE
from audit.tables import dropped_partitions, entries, retained_hashes
from gateway.entries import EntryType
from gateway.ports import Append
from tests.audit.conftest import TIME, draft
from tests.audit.retention.conftest import MONTH, fill, indexed, retention
from tests.audit.tampering import UNVOUCHED, every_flip, owner, put_back, saved

TABLES = (dropped_partitions, retained_hashes)
TILES = PARTITION // TILE


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Engine]:
    sqlite = request.param == "sqlite"
    engine = make_owner(f"sqlite:///{tmp_path / 'log.db'}" if sqlite else request.getfixturevalue("postgres_url"))
    migrations.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
async def dropped(engine: Engine, opened: Any, clock: Any) -> Engine:
    """A log whose two whole partitions are dropped; a context that is in use keeps some entries of the first."""
    async with opened() as log:
        await fill(log, 2 * PARTITION + 1)  # the first entry of a block has the one before it indexed
        await indexed(log, 2)
        clock.now = TIME
        await log.append(Append([draft(1, type=EntryType.PLAN_RECEIVED, context_id="c0-3")]))
        one = retention(engine, log, clock)
        for number in (0, 1):
            assert await one.drop(number) > 3000
    assert list(check(engine)) == []
    return engine


def faults(engine: Engine) -> set[Fault]:
    return {finding.fault for finding in check(engine)}


async def test_each_column(dropped: Engine) -> None:
    for table in TABLES:
        every_flip(dropped, table)
    assert not [name for name in UNVOUCHED if name.split(".")[0] in {table.name for table in TABLES}]


async def test_rows_that_changed_places_are_found(dropped: Engine) -> None:
    for table, columns in ((dropped_partitions, ["idx"]), (retained_hashes, ["leaves"]), (retained_hashes, ["above"])):
        rows = saved(dropped, table)
        one, other = rows[0], rows[-1]
        with owner(dropped) as connection:
            for to, of in ((one, other), (other, one)):
                chosen = [key == to[key.name] for key in table.primary_key]
                connection.execute(update(table).where(*chosen).values({name: of[name] for name in columns}))
        assert faults(dropped), f"{table}.{columns}"
        put_back(dropped, table, rows)
    assert faults(dropped) == set()


async def test_every_deleted_row_is_found(dropped: Engine) -> None:
    for table in TABLES:
        rows = saved(dropped, table)
        for gone in (rows[:1], rows[-1:], rows):
            put_back(dropped, table, [row for row in rows if row not in gone])
            assert Fault.MISSING_ENTRY in faults(dropped), (table, len(gone))
        put_back(dropped, table, rows)
    assert faults(dropped) == set()


async def test_every_added_row_is_found(dropped: Engine) -> None:
    added = {
        dropped_partitions: [{"partition": 2, "idx": 2 * PARTITION + 1}, {"partition": 9, "idx": 0}],
        retained_hashes: [
            {"tile": tile, "leaves": bytes(TILE * HASH_BYTES), "above": b""} for tile in (2 * TILES, -1, 2**40)
        ],
    }
    for table, rows in added.items():
        kept = saved(dropped, table)
        for row in rows:
            with owner(dropped) as connection:
                connection.execute(insert(table).values(row))
            assert faults(dropped) == {Fault.RETENTION}, (table, row["tile" if table is retained_hashes else "idx"])
            put_back(dropped, table, kept)


async def test_an_entry_that_stands_is_missed_and_one_of_another_place_is_found(dropped: Engine) -> None:
    rows = saved(dropped, entries)
    stands = next(row for row in rows if row["type"] == "PRNCHG" and row["idx"] > PARTITION)
    with owner(dropped) as connection:
        connection.execute(delete(entries).where(entries.c.idx == stands["idx"]))
    assert Fault.RETENTION in faults(dropped)
    with owner(dropped) as connection:
        connection.execute(insert(entries).values({**stands, "idx": stands["idx"] + 1}))
    assert {Fault.LEAF, Fault.RETENTION} & faults(dropped)


async def test_what_nothing_finds(dropped: Engine) -> None:
    """An entry of a context in use may go at any ``apply``, so that it is gone says nothing; that what it read is
    forgotten is the owner's doing, who may also apply the retention. And so is that it is there again, as long as it is
    the one that the kept hashes are of.
    """
    used = (entries.c.idx < PARTITION, entries.c.context_id == "c0-3")
    with dropped.connect() as connection:
        assert connection.execute(select(func.count()).select_from(entries).where(*used)).scalar_one() > 500
    rows = saved(dropped, entries)
    with owner(dropped) as connection:
        connection.execute(delete(entries).where(*used))
    assert faults(dropped) == set()
    put_back(dropped, entries, rows)
    assert faults(dropped) == set()


async def test_a_range_that_was_dropped_reads_as_dropped_wherever_its_row_points(
    dropped: Engine, opened: Any, clock: Any
) -> None:
    """Nothing is deleted by a row that points at another partition's entry."""
    rows = saved(dropped, dropped_partitions)
    with owner(dropped) as connection:
        connection.execute(update(dropped_partitions).values(idx=max(row["idx"] for row in rows)))
    assert faults(dropped) == {Fault.RETENTION}
    clock.now = TIME + 30 * MONTH
    async with opened() as log:
        with pytest.raises(Exception, match="no entry says that partition 0"):
            await retention(dropped, log, clock).sweep()
