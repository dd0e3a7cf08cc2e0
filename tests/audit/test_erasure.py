"""Erasure: what is gone is gone in every copy, and what stays is provable as before."""

import asyncio
import os
import shutil

import pytest
from sqlalchemy import select

from audit.checkpoint import VerifierKey, parse_checkpoint, verify_note
from audit.database import changing_schema, make_engine
from audit.epochs import EpochKeys
from audit.erasure import Held
from audit.errors import SealBroken
from audit.fsck import check
from audit.opening import Opener
from audit.query import Filter
from audit.subjects import Hold, setting
from audit.tables import data_keys, erased_keys, payload_keys, payloads
from gateway.commitments import commit, person_key
from gateway.entries import EntryType
from gateway.ports import Append
from tests.audit.conftest import TIME, draft
from tests.audit.erasing import eraser_of, own_log
from tests.audit.owner import attack

ANN, BOB = person_key("ann@example.com"), person_key("bob@example.com")


async def keep(log, value: bytes, *subjects: str):
    """Log a value; returns what it was committed as."""
    committed = commit(value, *subjects)
    await log.append(Append([draft(fields={"args": committed})]))
    return committed


def count(engine, table) -> int:
    with engine.connect() as connection:
        return len(connection.execute(select(table)).all())


async def test_what_is_erased_opens_nowhere_and_others_keep_theirs(engine, epochs, open_log):
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        anns, bobs = await keep(log, b"of Ann", ANN), await keep(log, b"of Bob", BOB)
        before = log.reader.head()
        old_epoch = epochs.names()
        erasure_id = await erasures.request("default", ANN, by="p-9")
        assert await log.open([anns.commitment]) == {}  # from the request on
        assert await erasures.advance()
        assert set(await log.open([anns.commitment, bobs.commitment])) == {bobs.commitment}
        assert (count(engine, payloads), count(engine, data_keys)) == (1, 1)
        assert len(epochs.names()) == 1
        assert epochs.names() != old_epoch
        done = await erasures.state("default", erasure_id)
        assert (done.keys, done.payloads) == (1, 1)
        assert log.reader.root(before[0]) == before[1]
        entry = log.reader.query(Filter(type=str(EntryType.ERASURE_DONE))).entries[0]
        assert entry.index == done.done_index
        assert b"ann@" not in entry.body
        assert list(check(engine, epochs=epochs)) == []


async def test_old_proofs_hold(engine, epochs, open_log, signer):
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        await keep(log, b"of Ann", ANN)
        old = await log.checkpoint()
        proof = await log.proof(1)
        await erasures.request("default", ANN, by="p-9")
        await erasures.advance()
        key = VerifierKey(log.origin, signer.key.public_key().public_bytes_raw())
        size = parse_checkpoint(verify_note(old, [key])).tree_size
        assert log.reader.consistency(size, log.reader.head()[0])
        assert log.reader.inclusion(1, size) == log.reader.inclusion(1, size)
        assert proof.split("\n")[0] == (await log.proof(1)).split("\n")[0]
        assert list(check(engine, keys=[key], kept=[old], epochs=epochs)) == []


async def test_a_value_of_two_people_goes_with_either_and_what_is_one_persons_stays(engine, epochs, open_log):
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        both, bobs = await keep(log, b"Ann pays Bob", ANN, BOB), await keep(log, b"of Bob", BOB)
        assert (await log.open([both.commitment]))[both.commitment][1] == b"Ann pays Bob"
        await erasures.request("default", ANN, by="p-9")
        assert set(await log.open([both.commitment, bobs.commitment])) == {bobs.commitment}
        await erasures.advance()
        assert set(await log.open([both.commitment, bobs.commitment])) == {bobs.commitment}
        assert count(engine, payload_keys) == 0


async def test_one_key_of_two_does_not_open_what_concerns_both(engine, epochs, open_log):
    """An attacker who keeps Bob's data key, and puts the deleted rows back, reads nothing of the shared value."""
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        both = await keep(log, b"Ann pays Bob", ANN, BOB)
        with engine.connect() as connection:
            rows = [connection.execute(select(table)).mappings().all() for table in (payloads, payload_keys, data_keys)]
        await erasures.request("default", ANN, by="p-9")
        await erasures.advance()
        with engine.begin() as connection, changing_schema(connection):
            connection.execute(payloads.insert(), [dict(row) for row in rows[0]])
            connection.execute(payload_keys.insert(), [dict(row) for row in rows[1]])
            put_back = [dict(row) for row in rows[2] if row["key_id"] not in _erased(connection)]
            connection.execute(data_keys.delete())
            connection.execute(data_keys.insert(), put_back)
        assert await log.open([both.commitment]) == {}


def _erased(connection) -> set[str]:
    return set(connection.execute(select(erased_keys.c.key_id)).scalars())


async def test_rows_of_an_old_replica_that_are_put_back_stay_unreadable(engine, epochs, open_log):
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        anns = await keep(log, b"of Ann", ANN)
        with engine.connect() as connection:
            old = [connection.execute(select(table)).mappings().all() for table in (payloads, data_keys)]
        await erasures.request("default", ANN, by="p-9")
        await erasures.advance()
        with engine.begin() as connection:
            connection.execute(payloads.insert(), [dict(row) for row in old[0]])
            connection.execute(data_keys.insert(), [dict(row) for row in old[1]])
        assert await log.open([anns.commitment]) == {}
        attack(engine, erased_keys.delete())  # and where the marks are taken away too
        assert await log.open([anns.commitment]) == {}


async def test_the_same_person_after_the_erasure_is_somebody_new(engine, epochs, open_log):
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        await keep(log, b"of Ann", ANN)
        with engine.connect() as connection:
            old = connection.execute(select(data_keys.c.key_id, data_keys.c.subject)).one()
        await erasures.request("default", ANN, by="p-9")
        again = await keep(log, b"of Ann again", ANN)  # while the erasure is under way
        await erasures.advance()
        assert (await log.open([again.commitment]))[again.commitment][1] == b"of Ann again"
        with engine.connect() as connection:
            new = connection.execute(select(data_keys.c.key_id, data_keys.c.subject)).one()
        assert new.key_id != old.key_id
        assert new.subject != old.subject


async def test_another_gateway_seals_by_no_key_that_was_erased(engine, signer, tmp_path):
    """Its caches hold the erased key and the old epoch; what it appends next comes under new ones."""
    master = os.urandom(32)
    ours, theirs = EpochKeys(tmp_path / "shared", master), EpochKeys(tmp_path / "shared", master)
    async with (
        own_log(engine, signer, ours, "g1") as log,
        own_log(engine, signer, theirs, "g2") as second,
        eraser_of(engine, log, ours) as erasures,
    ):
        await keep(second, b"before", ANN)
        await erasures.request("default", ANN, by="p-9")
        between = await keep(second, b"between", ANN)
        await erasures.advance()
        after = await keep(second, b"after", ANN)
        opened = await log.open([between.commitment, after.commitment])
        assert {value for _, value in opened.values()} == {b"between", b"after"}
        assert count(engine, data_keys) == 1
        assert theirs.names() == ours.names()
        assert theirs.current() == ours.current()


async def test_a_gateway_without_the_new_epoch_key_seals_nothing(engine, signer, tmp_path):
    """What it sealed under an epoch that is about to be destroyed would be lost. It says what is wrong instead."""
    master = os.urandom(32)
    ours, theirs = EpochKeys(tmp_path / "ours", master), EpochKeys(tmp_path / "theirs", master)
    async with (
        own_log(engine, signer, ours, "g1") as log,
        own_log(engine, signer, theirs, "g2") as second,
        eraser_of(engine, log, ours) as erasures,
    ):
        await keep(log, b"before", ANN)
        await erasures.request("default", ANN, by="p-9")
        await erasures.advance()
        with pytest.raises(SealBroken, match="share the directory"):
            await keep(second, b"after", BOB)
        await keep(log, b"after", BOB)


async def test_appends_during_an_erasure_are_all_readable_or_all_erased(engine, epochs, open_log):
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        values = [commit(f"value {number}".encode(), ANN, *([BOB] if number % 3 else [])) for number in range(200)]

        async def append_all() -> None:
            for start in range(0, 200, 10):
                appends = [log.append(Append([draft(fields={"args": one})])) for one in values[start : start + 10]]
                await asyncio.gather(*appends)

        async def erase() -> None:
            for _ in range(3):
                await erasures.request("default", ANN, by="p-9")
                await erasures.advance()

        await asyncio.gather(append_all(), erase())
        with engine.connect() as connection:
            stored = set(connection.execute(select(payloads.c.commitment)).scalars())
            keys = set(connection.execute(select(data_keys.c.key_id)).scalars())
            used = set(connection.execute(select(payloads.c.key_id)).scalars())
            used |= set(connection.execute(select(payload_keys.c.key_id)).scalars())
        assert used <= keys
        assert set(await log.open([one.commitment for one in values])) == stored
        await erasures.request("default", ANN, by="p-9")
        assert await erasures.advance()
        assert await log.open([one.commitment for one in values]) == {}
        assert count(engine, payloads) == 0


async def test_nobody_who_is_held_is_erased(engine, epochs, open_log):
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        anns = await keep(log, b"of Ann", ANN)
        hold = Hold("h1", "default", ANN, "litigation", TIME, "p-9", None)
        async with erasures.steady() as every:
            entry = draft(type=EntryType.HOLD_SET, facts={"hold": "h1"})
            await log.append(Append([entry], [setting(every[-1], hold)]))
        with pytest.raises(Held) as held:
            await erasures.request("default", ANN, by="p-9")
        assert held.value.holds == [hold]
        assert set(await log.open([anns.commitment])) == {anns.commitment}
        await erasures.request("default", BOB, by="p-9")
        assert await erasures.advance()  # the hold moves to the new epoch
        with pytest.raises(Held):
            await erasures.request("default", ANN, by="p-9")


async def test_a_backup_from_before_gives_nothing_back(sqlite_engine, epochs, open_log, tmp_path):
    async with open_log(sqlite_engine) as log, eraser_of(sqlite_engine, log, epochs) as erasures:
        values = [await keep(log, f"of Ann {number}".encode(), ANN) for number in range(5)]
        for name in ("log.db", "log.db-wal"):
            shutil.copyfile(tmp_path / name, tmp_path / f"copy{name.removeprefix('log')}")
        await erasures.request("default", ANN, by="p-9")
        assert await erasures.advance()
    restored = make_engine(f"sqlite:///{tmp_path / 'copy.db'}")
    with restored.connect() as connection:
        assert len(connection.execute(select(payloads)).all()) == 5
        assert Opener(epochs).open(connection, [one.commitment for one in values]) == {}
    restored.dispose()
