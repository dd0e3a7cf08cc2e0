"""The end of a payload's time, and what a hold keeps."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text

import migrations
from audit import purge as purge_module
from audit.buckets import SLOTS, Buckets
from audit.controls import shipped
from audit.database import make_engine, writing
from audit.epochs import EpochKeys
from audit.eraser import make_eraser
from audit.erasure import Erasures, Held
from audit.log import Log
from audit.purge import RENEWED_AT_ONCE, Purge
from audit.query import Filter
from audit.subjects import Hold, lifting, setting
from audit.tables import data_keys, key_buckets, payloads
from audit.wrapping import every_epoch
from gateway.commitments import Committed, commit, person_key
from gateway.entries import EntryDraft, EntryType
from gateway.ports import Append
from gateway.settings import LogSettings
from tests.audit.conftest import CheckpointSigner
from tests.until import until

DAY = 86_400.0
ANN, BOB = person_key("ann"), person_key("bob")


@dataclass
class Kept:
    """A log whose clock is the test's."""

    log: Log
    engine: Engine
    epochs: EpochKeys
    erasures: Erasures
    purge: Purge
    now: float = 1_795_226_400.0

    async def keep(self, value: bytes, *subjects: str) -> Committed:
        committed = commit(value, *subjects)
        await self.log.append(Append([EntryDraft(EntryType.PLAN_RECEIVED, "default", fields={"args": committed})]))
        return committed

    async def open(self, *values: Committed) -> set[bytes]:
        return {value for _, value in (await self.log.open([one.commitment for one in values])).values()}

    async def hold(self, subject: str) -> None:
        """Put somebody under a hold that does not end by itself."""
        hold = Hold("h1", "default", subject, "legal_claim", self.now, "p-9", None)
        async with self.erasures.steady() as every:
            entry = EntryDraft(EntryType.HOLD_SET, "default", facts={"hold": "h1"})
            await self.log.append(Append([entry], [setting(every[-1], hold)]))

    def keys(self) -> set[str]:
        with self.engine.connect() as connection:
            return set(connection.execute(select(data_keys.c.key_id)).scalars())


@pytest.fixture
async def kept(database: dict[str, Any], tmp_path: Path) -> AsyncIterator[Kept]:
    url = database.get("database", {}).get("url", f"sqlite:///{tmp_path / 'log.db'}")
    engine, eraser = make_engine(url), make_eraser(url)
    migrations.upgrade(engine)
    epochs = EpochKeys(tmp_path / "epochs", b"m" * 32)
    made: list[Kept] = []

    def clock() -> float:
        return made[0].now if made else 1_795_226_400.0

    log = Log(engine, LogSettings(), CheckpointSigner(), epochs, "g1", clock, controls=shipped())
    await log.start()
    erasures = Erasures(log, log.reader, eraser, epochs, clock, lambda _tenant, _subject: ["default/ann/c"])
    purge = Purge(log, log.reader, eraser, epochs, lambda _tenant, _subject: ["default/ann/c"], clock)
    made.append(Kept(log, engine, epochs, erasures, purge))
    try:
        yield made[0]
    finally:
        await log.close()
        engine.dispose()
        eraser.dispose()


async def test_values_end_at_their_age_and_not_before(kept: Kept) -> None:
    old = await kept.keep(b"old", ANN)
    kept.now += 20 * DAY
    young = await kept.keep(b"young", ANN)
    kept.now += 9.9 * DAY
    assert (await kept.purge.run(30)).payloads == 0
    kept.now += 0.2 * DAY
    purged = await kept.purge.run(30)
    assert (purged.payloads, purged.keys) == (1, 1), "the key of the older value sealed nothing else"
    assert await kept.open(old, young) == {b"young"}
    applied = kept.log.reader.query(Filter(type=str(EntryType.RETENTION_APPLIED))).entries
    assert len(applied) == 1, "and what finds nothing is no entry"


async def test_the_key_of_what_is_past_its_time_goes_from_every_copy(kept: Kept) -> None:
    """An active person has a new key each week, so that the old ones can end; then the epoch above them does."""
    await kept.keep(b"old", ANN)
    with kept.engine.connect() as connection:
        copy = connection.execute(select(data_keys)).all()
        values = connection.execute(select(payloads)).all()
    for _ in range(7):
        kept.now += 6 * DAY
        await kept.keep(b"more", ANN)
    with kept.engine.connect() as connection:
        buckets = connection.execute(select(key_buckets)).all()
    for _ in range(SLOTS // RENEWED_AT_ONCE):
        await kept.purge.run(30)
        assert await kept.erasures.advance()
    with kept.engine.begin() as connection:
        connection.execute(key_buckets.insert(), [dict(row._mapping) for row in buckets])
        connection.execute(data_keys.insert(), [dict(row._mapping) for row in copy])
        connection.execute(payloads.insert(), [dict(row._mapping) for row in values])
    assert await kept.log.open([row.commitment for row in values]) == {}


async def test_what_is_held_outlives_its_age(kept: Kept) -> None:
    anns, both = await kept.keep(b"of Ann", ANN), await kept.keep(b"of both", ANN, BOB)
    bobs, hers = await kept.keep(b"of Bob", BOB), await kept.keep(b"her context", "default/ann/c")
    hold = Hold("h1", "default", ANN, "legal_claim", kept.now, "p-9", kept.now + 100 * DAY)
    async with kept.erasures.steady() as every:
        entry = EntryDraft(EntryType.HOLD_SET, "default", facts={"hold": "h1"})
        await kept.log.append(Append([entry], [setting(every[-1], hold)]))
    kept.now += 40 * DAY
    await kept.purge.run(30)
    assert await kept.open(anns, both, bobs, hers) == {b"of Ann", b"of both", b"her context"}
    kept.now += 70 * DAY
    await kept.purge.run(30)
    assert await kept.open(anns, both, bobs, hers) == set(), "it ended by itself"
    assert kept.keys() == set()


async def test_nobodys_erasure_takes_what_is_held_of_somebody_else(kept: Kept) -> None:
    """A value of two people goes with either, so a hold on one of them stands against the erasure of the other."""
    both, bobs = await kept.keep(b"of her context and Bob", "default/ann/c", BOB), await kept.keep(b"of Bob", BOB)
    hold = Hold("h1", "default", ANN, "legal_claim", kept.now, "p-9", kept.now + 100 * DAY)
    async with kept.erasures.steady() as every:
        entry = EntryDraft(EntryType.HOLD_SET, "default", facts={"hold": "h1"})
        await kept.log.append(Append([entry], [setting(every[-1], hold)]))
    with pytest.raises(Held) as held:
        await kept.erasures.request("default", BOB, by="p-8")
    assert held.value.holds == [hold]
    assert await kept.open(both, bobs) == {b"of her context and Bob", b"of Bob"}
    kept.now += 101 * DAY
    await kept.erasures.request("default", BOB, by="p-8")
    assert await kept.open(both, bobs) == set()


async def test_a_hold_that_comes_between_the_look_and_the_deletion_wins(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, bobs = await kept.keep(b"old", ANN), await kept.keep(b"of Bob", BOB)
    kept.now += 40 * DAY
    loop, real, first = asyncio.get_running_loop(), purge_module.erasing, True

    def held_meanwhile(engine: Engine) -> Any:
        nonlocal first
        if first:  # in the purge's own thread, after it looked at the holds
            first = False
            asyncio.run_coroutine_threadsafe(kept.hold(ANN), loop).result()
        return real(engine)

    monkeypatch.setattr(purge_module, "erasing", held_meanwhile)
    assert (await kept.purge.run(30)).payloads == 1
    assert await kept.open(old, bobs) == {b"old"}


@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
async def test_a_hold_that_is_about_to_commit_is_waited_for(kept: Kept) -> None:
    """Its transaction holds the lock from its first row on, and the deletion looks again once it has it. SQLite has one
    writer at a time: there is nothing to wait for inside of a transaction."""
    old = await kept.keep(b"old", ANN)
    kept.now += 40 * DAY
    hold = Hold("h1", "default", ANN, "legal_claim", kept.now, "p-9", None)
    write = setting(every_epoch(kept.epochs)[-1], hold)
    with kept.engine.connect() as connection, connection.begin() as transaction:
        connection.execute(write.statement, write.parameters)
        purging = asyncio.create_task(kept.purge.run(30))

        def waiting() -> bool:
            with kept.engine.connect() as watching:
                query = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                return bool(watching.execute(query).scalar_one())

        await until(waiting)
        transaction.commit()
    assert (await purging).payloads == 0
    assert await kept.open(old) == {b"old"}


async def test_a_hold_may_keep_more_keys_than_a_statement_takes_parameters(kept: Kept) -> None:
    """100,000 held keys, and the rest ends all the same."""
    await kept.keep(b"so that there are buckets", BOB)
    with kept.engine.connect() as connection:
        bucket = Buckets.load(connection, kept.epochs).of_subject(("default", ANN))[-1]
    tag = bucket.tag(("default", ANN))
    with writing(kept.engine.connect()) as connection, connection.begin():
        rows = [
            {
                "key_id": f"{number:032x}",
                "tenant": "default",
                "subject": tag,
                "bucket": bucket.name,
                "wrapped": b"",
                "created_at": kept.now,
            }
            for number in range(100_000)
        ]
        connection.execute(data_keys.insert(), rows)
        values = [
            {
                "commitment": f"{number:064x}",
                "tenant": "default",
                "key_id": f"{number:032x}",
                "owners": 1,
                "sealed": b"",
                "idx": 0,
                "created_at": kept.now,
            }
            for number in range(0, 100_000, 40)
        ]
        connection.execute(payloads.insert(), values)
    bobs = await kept.keep(b"of Bob", BOB)
    await kept.hold(ANN)
    kept.now += 40 * DAY
    purged = await kept.purge.run(30)
    assert purged.payloads == 2
    assert await kept.open(bobs) == set()
    with kept.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(payloads)).scalar() == len(values)
        assert connection.execute(select(func.count()).select_from(data_keys)).scalar() == len(values)


async def test_a_hold_of_which_nobody_can_say_whose_it_is_keeps_all_of_its_tenant(kept: Kept) -> None:
    """As in a database that was put back from before an erasure: its epoch key is gone."""
    await kept.hold(ANN)
    other = kept.epochs.rotate()
    for name in kept.epochs.names():
        if name != other:
            kept.epochs.destroy(name)
    bobs = await kept.keep(b"of Bob", BOB)
    kept.now += 40 * DAY
    assert (await kept.purge.run(30)).payloads == 0
    with pytest.raises(Held) as held:
        await kept.erasures.request("default", BOB, by="p-8")
    assert [hold.subject for hold in held.value.holds] == [None]
    await kept.log.append(Append([EntryDraft(EntryType.HOLD_LIFTED, "default", facts={"hold": "h1"})], [lifting("h1")]))
    assert (await kept.purge.run(30)).payloads == 1
    assert await kept.open(bobs) == set()


async def test_a_purge_waits_for_its_turn(kept: Kept) -> None:
    old = await kept.keep(b"old", ANN)
    kept.now += 40 * DAY
    with kept.epochs.turn() as mine:
        assert mine
        assert (await kept.purge.run(30)).payloads == 0
    assert await kept.open(old) == {b"old"}
    assert (await kept.purge.run(30)).payloads == 1
