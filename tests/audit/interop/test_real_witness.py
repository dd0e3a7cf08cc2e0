"""A witness that others wrote cosigns our log, and does not cosign another history of it."""

import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from handrail.note import LogKey, open_checkpoint, parse_proof
from handrail.note import Quorum as ClientQuorum
from sqlalchemy import text

import migrations
from audit.checkpoint import VerifierKey, verify_checkpoint, verify_tlog_proof
from audit.cosignature import Quorum, WitnessKey
from audit.database import make_engine
from audit.errors import NoteInvalid
from audit.fsck import check
from audit.merkle import leaf_hash
from audit.witness import Fault
from audit.witnesses import Witnesses
from gateway.ports import Append
from gateway.reasons import Reason
from hand_adapters.courier import courier
from tests.audit.conftest import draft
from tests.until import until

NAMES = iter(range(10_000))


@pytest.fixture
def origin():
    """Each test is another log to the witnesses."""
    return f"handrail.test/log{next(NAMES)}"


@asynccontextmanager
async def witnessed(open_log, engine, origin, known, quorum=0, **settings):
    """A log and those who look after its witnesses; nobody is asked by himself."""
    table = {f"w{number}": one if isinstance(one, dict) else one.settings for number, one in enumerate(known)}
    async with open_log(engine, origin=origin, witnesses=table, witness_quorum=quorum, **settings) as log:
        asking = Witnesses.open(log._settings, log, log.cosigned, courier)
        try:
            yield log, asking
        finally:
            await asking.close()


def trusting(known, log):
    for one in known:
        one.trust(log.origin, log.vkey())


@pytest.fixture
def other_engine(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path / 'other.db'}")
    migrations.upgrade(engine)
    yield engine
    engine.dispose()


async def test_a_real_witness_cosigns_as_the_log_grows(engine, open_log, origin, witnesses):
    async with witnessed(open_log, engine, origin, witnesses[:1], 1, checkpoint_interval_seconds=0.001) as (
        log,
        asking,
    ):
        trusting(witnesses[:1], log)
        [witness] = asking.all
        for number in range(4):
            await log.append(Append([draft(each) for each in range(1 + number * 7)]))
            await log.checkpoint()
            await asking.attempt(witness)
            assert (witness.fault, witness.detail) == (None, "")
            assert witness.tree_size == witnesses[0].state(origin)
        found = await log.cosigned_checkpoint(1)
        size = (await log.reads.run(log.reader.head))[0]
        assert found.tree_size == witness.tree_size == size
        [one] = Quorum((witnesses[0].key,), 1).verify(found.note)
        assert abs(one.time - time.time()) < 600
        assert verify_checkpoint(found.note, [VerifierKey.parse(log.vkey())], origin).tree_size == size
        assert (await log.cosigned_checkpoint()).note == found.note
    assert list(check(engine)) == []


async def test_a_real_witness_cosigns_a_checkpoint_that_is_signed_twice(engine, open_log, origin, witnesses):
    async with witnessed(open_log, engine, origin, witnesses[:1], 1, post_quantum=True) as (log, asking):
        trusting(witnesses[:1], log)
        [witness] = asking.all
        await log.append(Append([draft()]))
        assert (await log.checkpoint()).count("\u2014") == 2
        await asking.attempt(witness)
        assert (witness.fault, witness.detail) == (None, "")
        assert witness.tree_size == witnesses[0].state(origin)


async def test_a_witness_that_does_not_know_the_log_says_so(engine, open_log, origin, witnesses, signer):
    async with witnessed(open_log, engine, origin, witnesses[:1]) as (log, asking):
        await log.append(Append([draft()]))
        [witness] = asking.all
        await asking.attempt(witness)
        assert witness.fault is Fault.UNKNOWN_LOG
        other = VerifierKey(origin, bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))
        witnesses[0].trust(origin, str(other))
        await asking.attempt(witness)
        assert witness.fault is Fault.UNTRUSTED_KEY
        assert witness.failures == 2


async def test_two_of_three_witnesses_are_enough_offline_while_one_is_dead(
    engine, open_log, origin, witnesses, dead_witness
):
    known = [*witnesses, dead_witness]
    async with witnessed(open_log, engine, origin, known, 2) as (log, asking):
        trusting(witnesses, log)
        [index] = await log.append(Append([draft()]))
        for witness in asking.all:
            await asking.attempt(witness)
        assert [witness.fault for witness in asking.all] == [None, None, Fault.UNREACHABLE]
        assert asking.problem() is None
        proof, leaf = await log.proof(index), leaf_hash(await log.entry(index))
        key = VerifierKey.parse(log.vkey())
    # From here on: what a verifier has in its hands.
    keys = (*(one.key for one in witnesses), WitnessKey.parse(dead_witness["key"]))
    assert verify_tlog_proof(proof, leaf, [key], origin)[0] == index
    note = parse_proof(proof).checkpoint
    assert {one.witness for one in Quorum(keys, 2).verify(note)} == {one.name for one in witnesses}
    with pytest.raises(NoteInvalid, match="2 of 3 witnesses cosigned it; 3 are needed"):
        Quorum(keys, 3).verify(note)
    theirs = [one.vkey for one in witnesses] + [dead_witness["key"]]
    opened = open_checkpoint(note, [LogKey.parse(str(key))], ClientQuorum.parse(theirs, 2))
    assert sorted(opened.witnesses) == [one.name for one in witnesses]


async def test_another_history_of_the_same_log_is_refused_and_reported(
    engine, other_engine, open_log, origin, witnesses
):
    async with witnessed(open_log, engine, origin, witnesses[:1]) as (log, asking):
        trusting(witnesses[:1], log)
        await log.append(Append([draft(number) for number in range(9)]))
        await asking.attempt(asking.all[0])
        assert witnesses[0].state(origin) == 10
    async with witnessed(open_log, other_engine, origin, witnesses[:1], checkpoint_interval_seconds=0.001) as (
        log,
        asking,
    ):
        [witness] = asking.all
        await log.append(Append([draft(number, principal="mallory") for number in range(4)]))
        await asking.attempt(witness)
        assert witness.fault is Fault.AHEAD, "a shorter one: rolled back"
        assert "10 entries; there are 5" in witness.detail
        await log.append(Append([draft(number, principal="mallory") for number in range(9)]))
        await asking.attempt(witness)
        assert witness.fault is Fault.FORKED, "a longer one: another history"
        assert asking.problem() is Reason.LOG_FORKED
        assert asking.view()["witnesses"][0]["fault"] == "forked"
        assert witnesses[0].state(origin) == 10
        with other_engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM cosignatures")).scalar() == 0
    async with witnessed(open_log, engine, origin, witnesses[:1]) as (log, asking):
        await log.append(Append([draft()]))
        await log.checkpoint()
        await asking.attempt(asking.all[0])
        assert asking.problem() is None, "the true log goes on"
        assert witnesses[0].state(origin) == (await log.reads.run(log.reader.head))[0]


async def test_an_idle_log_is_cosigned_anew_at_its_heartbeat(engine, open_log, origin, witnesses):
    async with witnessed(open_log, engine, origin, witnesses[:1]) as (log, asking):
        trusting(witnesses[:1], log)
        await log.append(Append([draft()]))
        [witness] = asking.all
        await asking.attempt(witness)
        first = witness.cosigned_at
        asking._settings = log._settings.model_copy(update={"witness_heartbeat_seconds": 0.0})

        async def again():
            await asking.attempt(witness)
            return witness.fault is not None or witness.cosigned_at > first

        await until(again)
        assert (witness.fault, witness.tree_size) == (None, 2)
        assert (await log.cosigned_checkpoint(1)).cosignatures[0].time == witness.cosigned_at


async def test_two_gateways_of_one_log_share_what_a_witness_said(engine, open_log, origin, witnesses):
    known = witnesses[:1]
    async with (
        witnessed(open_log, engine, origin, known, gateway_id="g1", checkpoint_interval_seconds=0.001) as (one, asks),
        witnessed(open_log, engine, origin, known, gateway_id="g2", checkpoint_interval_seconds=0.001) as (two, also),
    ):
        trusting(known, one)
        await one.append(Append([draft()]))
        await asks.attempt(asks.all[0])
        await two.append(Append([draft()]))
        await two.checkpoint()
        await also.attempt(also.all[0])
        also.all[0].tree_size = 0
        for asking in (asks, also):
            await asking.attempt(asking.all[0])
            assert (asking.all[0].fault, asking.all[0].tree_size) == (None, 3)
        assert (await two.cosigned_checkpoint(1)).tree_size == 3


async def test_the_witnesses_are_asked_in_the_background(engine, open_log, origin, witnesses):
    async with witnessed(open_log, engine, origin, witnesses, 2, witness_interval_seconds=0.05) as (log, asking):
        trusting(witnesses, log)
        asking.start()
        [index] = await log.append(Append([draft()]))
        found = await until(lambda: log.reads.run(log.cosigned.newest, 2, index))
        assert len(found.cosignatures) == 2


async def test_a_forged_row_of_the_database_does_not_spoil_the_checkpoint(engine, open_log, origin, witnesses):
    async with witnessed(open_log, engine, origin, witnesses, 1) as (log, asking):
        trusting(witnesses, log)
        await log.append(Append([draft()]))
        for witness in asking.all:
            await asking.attempt(witness)
        good = await log.reads.run(log.cosigned.newest, 2)
        [line] = [one.line for one in good.cosignatures if one.witness == witnesses[0].name]
        forged = line[:-8] + "AAAAAA=\n"
        row = {"size": good.tree_size, "name": witnesses[0].name, "id": witnesses[0].key.key_id.hex(), "line": forged}
        with engine.begin() as connection:
            insert = "INSERT INTO cosignatures VALUES (:size, :name, :id, 9000000000, :line)"
            connection.execute(text(insert), row)
        left = await log.reads.run(log.cosigned.attach, *await log.reads.run(log.reader.checkpoint))
        assert [one.witness for one in left.cosignatures] == [witnesses[1].name]


async def test_lines_of_strangers_beside_a_cosignature_are_not_served(engine, open_log, origin, witnesses):
    async with witnessed(open_log, engine, origin, witnesses[:1]) as (log, asking):
        trusting(witnesses[:1], log)
        await log.append(Append([draft()]))
        await asking.attempt(asking.all[0])
        note = (await log.cosigned_checkpoint(1)).note
    stranger = replace(witnesses[0].key, name="another.example/w")
    with pytest.raises(NoteInvalid):
        Quorum((stranger,), 1).verify(note)
