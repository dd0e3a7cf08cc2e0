"""What a log holds in memory does not grow with what was written to it. Blocks of memory are counted, not bytes of the
process, which depend on what the allocator gives back.
"""

import asyncio
import gc
import sys

from audit.database import CACHE_BYTES
from audit.postings import BLOCK
from gateway.ports import Append
from tests.audit.conftest import draft
from tests.audit.indexed import missing
from tests.until import until

BATCH = 256
SETTLED, GROWN = 2 * BLOCK + 1, 8 * BLOCK + 1
"""Sizes between which the growth is looked at. The first entry of a block has the one before it indexed."""
ENTRIES_PER_BLOCK = 16
"""Of memory. An entry that left one object, if only its hash, would be found sixteen times over."""


async def held(log, size):
    """Blocks of memory that the interpreter has given out, in a log of ``size`` entries that is proved and indexed."""
    count, _ = await asyncio.to_thread(log.reader.head)
    for first in range(count, size, BATCH):
        await log.append(Append([draft(number) for number in range(first, min(first + BATCH, size))]))
    await log._signed()
    await log.proofs([0, size // 2, size - 1])
    await until(lambda: not missing(log.reader))
    gc.collect()
    return sys.getallocatedblocks()


async def test_entries_that_were_appended_leave_nothing_in_memory(engine, open_log):
    async with open_log(engine) as log:
        before = await held(log, SETTLED)
        grown = await held(log, GROWN) - before
    assert grown < (GROWN - SETTLED) / ENTRIES_PER_BLOCK


async def test_what_is_kept_of_entries_would_be_seen(sqlite_engine, open_log):
    """The count can fail: here somebody keeps the bodies."""
    bodies = []
    async with open_log(sqlite_engine) as log:
        before = await held(log, BLOCK + 1)
        insert = log._writer._committer._insert_tree

        def keeping(driver, edge, built):
            bodies.extend(one.body for one in built)
            insert(driver, edge, built)

        log._writer._committer._insert_tree = keeping
        grown = await held(log, 2 * BLOCK + 1) - before
    assert grown > BLOCK / ENTRIES_PER_BLOCK


async def test_a_connection_to_sqlite_caches_no_more_pages_than_said(sqlite_engine, open_log):
    async with open_log(sqlite_engine) as log:
        await log.append(Append([draft()]))
        with sqlite_engine.connect() as reader:
            for connection in (reader, log._writer._committer.connection):
                assert connection.exec_driver_sql("PRAGMA cache_size").scalar() == -(CACHE_BYTES >> 10)
