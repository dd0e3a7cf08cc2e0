"""Several writers on one log: every entry once, no fork, no lost entry."""

import asyncio
import threading

import pytest
from sqlalchemy import insert, text

import migrations
from audit.checkpoint import VerifierKey
from audit.database import make_engine
from audit.fsck import check
from audit.merkle import EMPTY_ROOT
from audit.tables import head
from gateway.canonical import b64url_decode
from gateway.errors import Refused
from gateway.ports import Append
from gateway.settings import LogSettings
from tests.audit.conftest import draft, once
from tests.until import until


async def test_two_writers_never_fork_the_log(engine, database_url, open_log, signer):
    other_engine = make_engine(database_url)
    async with (
        open_log(engine, "g1", group_max_entries=8) as one,
        open_log(other_engine, "g2", group_max_entries=8) as two,
    ):
        taken = await asyncio.gather(
            *((one if number % 2 else two).append(Append([draft(number), draft(number)])) for number in range(100))
        )
        notes = await asyncio.gather(one.checkpoint(), two.checkpoint())
    other_engine.dispose()
    assert sorted(index for indices in taken for index in indices) == list(range(1, 201))
    key = VerifierKey("handrail.local/log", b64url_decode(signer.active_jwk(None)["x"]))
    assert list(check(engine, keys=[key], kept=notes)) == []


async def test_a_signature_that_takes_its_time_keeps_no_other_writer_waiting(
    engine, database_url, open_log, signer, monkeypatch
):
    """As a key in a service does, or one that hangs: the lock of the head is nobody's meanwhile."""
    asked, may_go_on, sign = threading.Event(), threading.Event(), signer.sign_raw

    def slowly(purpose, message):
        if threading.current_thread() in slow:
            asked.set()
            may_go_on.wait()
        return sign(purpose, message)

    other_engine, slow = make_engine(database_url), set()
    async with open_log(engine, "g1") as one, open_log(other_engine, "g2") as two:
        await one.append(Append([draft()]))
        slow.add(await one._writer.call(lambda _: threading.current_thread()))
        monkeypatch.setattr(signer, "sign_raw", slowly)
        signing = asyncio.create_task(one._signed())
        try:
            await until(asked.is_set)
            assert list(await two.append(Append([draft(1)]))) == [2]
            size, newer = await two._signed()
        finally:
            may_go_on.set()
        await asyncio.wait([signing])
        older = await one._writer.call(lambda _: one._checkpoint[1])
    other_engine.dispose()
    key = VerifierKey("handrail.local/log", b64url_decode(signer.active_jwk(None)["x"]))
    assert size == 3
    assert list(check(engine, keys=[key], kept=[older, newer])) == []


async def test_a_replay_to_two_gateways_at_once_is_accepted_once(engine, database_url, open_log):
    other_engine = make_engine(database_url)
    async with open_log(engine, "g1") as one, open_log(other_engine, "g2") as two:
        outcomes = await asyncio.gather(
            *((one if number % 2 else two).append(Append([draft()], guards=[once()])) for number in range(200)),
            return_exceptions=True,
        )
    other_engine.dispose()
    assert sum(1 for outcome in outcomes if not isinstance(outcome, BaseException)) == 1
    assert sum(1 for outcome in outcomes if isinstance(outcome, Refused)) >= 50
    assert list(check(engine)) == []


async def test_gateways_that_start_together_on_a_new_database_open_one_log(engine, database_url, open_log):
    engines = [engine, make_engine(database_url), make_engine(database_url)]

    async def begin(number):
        async with open_log(engines[number], f"g{number}") as log:
            return await log.append(Append([draft(number)]))

    taken = await asyncio.gather(*(begin(number) for number in range(len(engines))))
    for one in engines[1:]:
        one.dispose()
    assert sorted(index for indices in taken for index in indices) == [1, 2, 3]
    assert list(check(engine)) == []


@pytest.mark.postgres
async def test_whoever_makes_the_head_second_takes_the_one_that_is_there(postgres_url, open_log):
    engine = make_engine(postgres_url)
    migrations.upgrade(engine)
    with engine.connect() as first, engine.connect() as observer:
        first.execute(insert(head).values(id=1, tree_size=0, root=EMPTY_ROOT, origin=LogSettings().origin))

        async def begin():
            async with open_log(engine) as log:
                return await log.append(Append([draft()]))

        waiting = asyncio.create_task(begin())
        observer.execution_options(isolation_level="AUTOCOMMIT")
        blocked = text(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO head%'"
        )
        await until(lambda: observer.execute(blocked).first())
        first.commit()
        assert await waiting == range(1, 2)
    assert list(check(engine)) == []
    engine.dispose()
