"""Making the postings of full blocks (:mod:`audit.postings`), beside the writer and never in its way.

What has none yet is found all the same, only slower; so nothing waits for this, and a failure costs nothing but time.
"""

from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import Connection, func, select

from audit.driver import BulkInsert, Driver
from audit.errors import LogDamaged
from audit.postings import BLOCK, TERMS, Postings, postings
from audit.tables import dropped_partitions, entries, head
from audit.tables import posting_blocks as blocks
from audit.tables import postings as table

_ROWS: Final = select(
    entries.c.idx, entries.c.tenant, entries.c.time, *(entries.c[name] for name in TERMS), entries.c.reasons,
    entries.c.body,
).order_by(entries.c.idx)  # fmt: skip

_DROPPED: Final = select(dropped_partitions.c.idx)

Made = tuple[int, Postings, str, str]
"""Number of a block, its postings, and the earliest and the latest time in it."""


def missing(connection: Connection) -> list[int]:
    """The full blocks without postings, in order, but those that were dropped: their partitions are blocks."""
    size = connection.execute(select(head.c.tree_size)).scalar_one_or_none() or 0
    full = size // BLOCK
    among = (blocks.c.block >= 0, blocks.c.block < full)
    gone = connection.execute(select(func.count()).select_from(dropped_partitions)).scalar_one()
    if connection.execute(select(func.count()).select_from(blocks).where(*among)).scalar_one() + gone == full:
        return []
    settled = set(connection.execute(select(blocks.c.block).where(*among)).scalars())
    settled.update(connection.execute(select(dropped_partitions.c.partition)).scalars())
    return sorted(set(range(full)) - settled)


def make(connection: Connection, block: int) -> Made:
    """The postings of one full block, from its entries. Raises ``LogDamaged`` where one is missing."""
    start = block * BLOCK
    rows = connection.execute(_ROWS.where(entries.c.idx >= start, entries.c.idx < start + BLOCK))
    return (block, *postings(rows, block))


def storing(made: Made) -> Callable[[Connection, Driver], None]:
    """What stores the postings of a block in a transaction of the writer; another gateway's stand.

    It raises ``LogDamaged`` where postings of the block stand that nobody counted.
    """
    block, found, first_time, last_time = made

    def store(connection: Connection, driver: Driver) -> None:
        dialect = connection.dialect
        if connection.execute(select(blocks.c.block).where(blocks.c.block == block)).first() is not None:
            return
        if connection.execute(_DROPPED.where(dropped_partitions.c.partition == block)).first() is not None:
            return
        if connection.execute(select(table.c.block).where(table.c.block == block).limit(1)).first() is not None:
            raise LogDamaged(f"postings of block {block} are there already: run fsck")
        claim = BulkInsert(dialect, blocks, ("block", "first_time", "last_time"), "ON CONFLICT DO NOTHING")
        if claim.execute(driver, [(block, first_time, last_time)]):
            rows = [(tenant, term, block, offsets) for (tenant, term), offsets in sorted(found.items())]
            BulkInsert(dialect, table, ("tenant", "term", "block", "offsets")).execute(driver, rows)

    return store


def stored(connection: Connection) -> Iterator[tuple[Made, Made | None]]:
    """Of each block with postings: what is stored, and what its entries give; ``None`` where they give none, because
    the block is not full or an entry of it is damaged. For ``fsck``.
    """
    for row in connection.execute(select(blocks).order_by(blocks.c.block)).all():
        kept = connection.execute(
            select(table.c.tenant, table.c.term, table.c.offsets).where(table.c.block == row.block)
        )
        found = {(one.tenant, one.term): bytes(one.offsets) for one in kept}
        try:
            due = make(connection, row.block)
        except LogDamaged:
            due = None
        yield (row.block, found, row.first_time, row.last_time), due
