"""What a damaged or forged row, of the entries or of their index, does to the index, to fsck and to a query."""

import asyncio
import threading

from sqlalchemy import delete, event, insert, select, update

from audit.database import changing_schema
from audit.findings import Fault
from audit.fsck import check
from audit.postings import BLOCK, encode
from audit.query import Filter
from audit.tables import entries, posting_blocks, postings
from gateway.ports import Append
from tests.audit.conftest import Opener, draft
from tests.audit.indexed import disarm, missing
from tests.until import until

SIZE = 2 * BLOCK + 5


async def fill(log, count):
    for start in range(0, count, 2000):
        await log.append(Append([draft(number) for number in range(start, min(start + 2000, count))]))


async def test_fsck_names_an_entry_that_is_gone_from_an_indexed_block(engine, open_log: Opener):
    async with open_log(engine) as log:
        await fill(log, SIZE)
        await until(lambda: not missing(log.reader))
    with engine.begin() as connection:
        disarm(connection)
        with changing_schema(connection):
            connection.execute(delete(entries).where(entries.c.idx == 17))
        connection.execute(update(entries).where(entries.c.idx == BLOCK + 1).values(body=b"{}"))
    found = list(check(engine))
    assert (Fault.MISSING_ENTRY, 17) in {(item.fault, item.first) for item in found}
    assert (Fault.LEAF, BLOCK + 1) in {(item.fault, item.first) for item in found}
    assert {item.first for item in found if item.fault is Fault.INDEX} == {0, BLOCK}


async def test_a_block_that_only_seems_indexed_hides_nothing_of_what_is_not_full(engine, open_log: Opener):
    async with open_log(engine) as log:
        await fill(log, BLOCK + 5)
        await until(lambda: not missing(log.reader))
        with engine.begin() as connection:  # what the gateway's own role may do
            connection.execute(insert(posting_blocks), [_row(block) for block in (-1, 1, 2**20)])
        page = log.reader.query(Filter(tenant="default", type="PLNRCV"), limit=1, newest_first=True, counted=True)
        assert (page.entries[0].index, page.matches) == (BLOCK + 5, BLOCK + 5)
    assert [item.fault for item in check(engine)] == [Fault.INDEX] * 3


async def test_a_block_that_cannot_be_indexed_stops_no_other(engine, open_log: Opener):
    async with open_log(engine) as log:
        await fill(log, BLOCK - 10)
        with engine.begin() as connection:
            disarm(connection)
            connection.execute(update(entries).where(entries.c.idx == 3).values(body=b"{}"))
        await fill(log, BLOCK + 20)
        await until(lambda: missing(log.reader) == [0])
        await fill(log, BLOCK)
        await until(lambda: missing(log.reader) == [0])
        assert not log._indexer._task.done()
        assert not log._flusher.done()


async def test_stray_postings_stop_no_other_block(engine, open_log: Opener):
    with engine.begin() as connection:  # as above; the insert of the true ones cannot succeed
        connection.execute(insert(postings).values(tenant="default", term="*", block=0, offsets=encode([1])))
    async with open_log(engine) as log:
        await fill(log, SIZE)
        await until(lambda: missing(log.reader) == [0])
        assert log.reader.query(Filter(tenant="default"), limit=1, counted=True).matches == SIZE + 1
    assert [item.fault for item in check(engine)] == [Fault.INDEX]


def test_fsck_does_not_read_all_postings_for_each_block(engine):
    statement = select(postings.c.offsets).where(postings.c.block == 1)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            text = str(statement.compile(engine, compile_kwargs={"literal_binds": True}))
            plan = " ".join(str(row) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}"))
        assert "ix_postings_block" in plan
        assert "SCAN" not in plan


async def test_queries_that_hang_take_no_thread_from_anybody_else(engine, open_log: Opener):
    going_on = threading.Event()
    hung = set()

    def hang(*_):
        if threading.current_thread().name.startswith("handrail-audit-query"):
            hung.add(threading.current_thread())
            going_on.wait(30)

    async with open_log(engine) as log:
        await log.append(Append([draft()]))
        event.listen(engine, "before_cursor_execute", hang)
        asked = {"after": None, "limit": 1, "newest_first": False, "counted": True}
        queries = [asyncio.create_task(log.reads.query(Filter(tenant="default"), **asked)) for _ in range(20)]
        await until(lambda: len(hung) == 2)
        assert await log.entry(1)
        assert await asyncio.to_thread(lambda: "read") == "read"
        assert list(await log.append(Append([draft(1)]))) == [2]
        going_on.set()
        assert {page.matches for page in await asyncio.gather(*queries)} <= {2, 3}
    assert len(hung) == 2


async def test_a_proof_is_made_of_what_another_gateway_appended_meanwhile(engine, open_log: Opener, monkeypatch):
    async with open_log(engine, checkpoint_interval_seconds=60) as one, open_log(engine, "g2") as two:
        await one.append(Append([draft()]))
        early = await one._signed()
        indices = await two.append(Append([draft(1)]))
        signed = one._signed
        answers = iter([early])

        async def joined():
            return next(answers, None) or await signed()

        monkeypatch.setattr(one, "_signed", joined)
        one._checkpoint = None
        note, paths = await one.proofs(indices)
        assert set(paths) == set(indices)
        assert int(note.splitlines()[1]) > indices[0]


async def test_a_signature_under_way_is_not_shared_with_who_means_what_came_after_its_head(
    engine, open_log: Opener, monkeypatch
):
    going_on, signing = threading.Event(), threading.Event()
    async with open_log(engine, checkpoint_interval_seconds=60) as one, open_log(engine, "g2") as two:
        await one.append(Append([draft()]))
        await one.signed_head()
        sign = one.heads.sign

        def slowly(size, root):
            signing.set()
            going_on.wait(30)
            return sign(size, root)

        monkeypatch.setattr(one.heads, "sign", slowly)
        early = asyncio.create_task(one.signed_head())
        await until(signing.is_set)
        [index] = await two.append(Append([draft(1)]))
        covering = asyncio.create_task(one.cover(index))
        late = asyncio.create_task(one.signed_head())
        proof = asyncio.create_task(one.proof(index))
        await asyncio.sleep(0)
        going_on.set()
        await covering
        assert one._checkpoint is not None
        assert one._checkpoint[0] > index
        assert (await early)[0] == index
        assert (await late)[0] > index
        assert f"index {index}" in await proof


def _row(block):
    return {"block": block, "first_time": "2026-11-21T02:00:00.125Z", "last_time": "2026-11-21T02:00:00.125Z"}
