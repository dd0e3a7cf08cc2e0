"""Names of people: what a row tells to whom, before and after an erasure, and to who writes to the database."""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence

import pytest
from sqlalchemy import delete, insert, select, update
from structlog.testing import capture_logs

from audit.database import changing_schema
from audit.fsck import check
from audit.names import Names
from audit.tables import data_keys, key_buckets
from gateway.commitments import name_subject, new_name_key
from gateway.errors import Refused
from gateway.ports import Append, Naming
from gateway.reasons import Reason
from tests.audit.conftest import draft
from tests.audit.erasing import eraser_of

ANN, BOB = name_subject("ann"), name_subject("bob")


def taken() -> None:
    raise Refused(Reason.REQUEST_CONFLICT)


async def give(log, *subjects: str, tenant: str = "default") -> list[str]:
    """Name people in one append; the ids of the keys that wrap their names."""
    namings = [Naming(tenant, subject, new_name_key(), taken) for subject in subjects]
    await log.append(Append([draft()], namings=namings))
    return [one.key_id for one in namings]


def opened(engine, names: Names, key_ids: Sequence[str]) -> dict[str, str]:
    with engine.connect() as connection:
        return names.open(connection, key_ids)


def found(engine, names: Names, *subjects: str, tenant: str = "default") -> dict[str, str]:
    with engine.connect() as connection:
        return names.find(connection, tenant, subjects)


async def test_a_name_is_found_and_told_by_whoever_has_the_keys(engine, epochs, open_log):
    async with open_log(engine) as log:
        ann, bob = await give(log, ANN, BOB)
        for names in (log.names, Names(engine, epochs)):
            assert opened(engine, names, [ann, bob, "n-nobody"]) == {ann: ANN, bob: BOB}
            assert found(engine, names, ANN, BOB, name_subject("cy")) == {ANN: ann, BOB: bob}
        assert list(check(engine, epochs=epochs)) == []


async def test_lookalikes_wildcards_and_other_tenants_are_not_found(engine, open_log):
    async with open_log(engine) as log:
        await give(log, ANN)
        alike = ["Ann", "ANN", " ann", "ann ", "an%", "%", "a_n", "ann\0", "", "а" + "nn", "@principal/ann"]
        assert found(engine, log.names, *map(name_subject, alike)) == {}
        assert found(engine, log.names, ANN, tenant="other") == {}


async def test_many_are_found_together(engine, open_log):
    async with open_log(engine) as log:
        subjects = [name_subject(f"p{number}") for number in range(60)]
        keys = await give(log, *subjects)
        assert found(engine, log.names, *subjects) == dict(zip(subjects, keys, strict=True))
        assert opened(engine, log.names, keys) == dict(zip(keys, subjects, strict=True))


async def test_a_name_is_given_once_whoever_is_faster(engine, open_log):
    """Two gateways, and appends that share a commit."""
    async with open_log(engine) as one, open_log(engine) as other:
        outcomes = await asyncio.gather(*(give(log, ANN) for log in (one, other) * 6), return_exceptions=True)
        assert sum(isinstance(outcome, list) for outcome in outcomes) == 1
        refused = [outcome for outcome in outcomes if not isinstance(outcome, list)]
        assert all(isinstance(one, Refused) and one.reason is Reason.REQUEST_CONFLICT for one in refused)
        with pytest.raises(Refused):
            await give(one, BOB, BOB)
        assert await give(other, BOB)
        assert await give(one, ANN, tenant="other"), "and once in each tenant"


async def test_nothing_of_a_refused_append_is_written(engine, open_log):
    async with open_log(engine) as log:
        await give(log, ANN)
        size = log.reader.head()[0]
        with pytest.raises(Refused):
            await give(log, BOB, ANN)
        assert log.reader.head()[0] == size
        assert found(engine, log.names, BOB) == {}


async def test_a_stolen_row_answers_no_guess(engine, open_log):
    """Neither a plain hash nor one under what lies in the database."""
    async with open_log(engine) as log:
        await give(log, ANN)
    with engine.connect() as connection:
        row = connection.execute(select(data_keys).where(data_keys.c.key_id.startswith("n-"))).one()
        everything = [bytes(one) for one in connection.execute(select(key_buckets.c.wrapped)).scalars()]
    spelt = [text.encode() for text in ("ann", ANN, f"default\0{ANN}", "default/ann")]
    keys = [b"", row.key_id.encode(), row.bucket.encode(), bytes(row.wrapped), *everything]
    hashes = {hashlib.sha256(text).hexdigest() for text in spelt}
    hashes |= {hmac.digest(key, text, "sha256").hex() for key in keys for text in spelt}
    assert row.subject not in hashes
    assert not any(text in bytes(row.wrapped) for text in spelt)


async def test_after_an_erasure_no_copy_of_the_row_tells_a_name(engine, epochs, open_log):
    """The rows from before are put back, beside the keys of today."""
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        ann, bob = await give(log, ANN, BOB)
        with engine.connect() as connection:
            old_keys = [dict(row) for row in connection.execute(select(data_keys)).mappings()]
            old_buckets = [dict(row) for row in connection.execute(select(key_buckets)).mappings()]
        assert opened(engine, log.names, [ann]) == {ann: ANN}
        await erasures.request("default", ANN, by="p-9")
        assert opened(engine, log.names, [ann, bob]) == {bob: BOB}, "from the request on"
        assert found(engine, log.names, ANN, BOB) == {BOB: bob}
        assert await erasures.advance()
        assert opened(engine, log.names, [ann, bob]) == {bob: BOB}, "and others keep theirs"
        with engine.begin() as connection, changing_schema(connection):
            connection.execute(delete(data_keys))
            connection.execute(insert(data_keys), old_keys)
            connection.execute(delete(key_buckets))
            connection.execute(insert(key_buckets), old_buckets)
        for names in (log.names, Names(engine, epochs)):
            names.forget()
            assert opened(engine, names, [ann, bob]) == {}
            assert found(engine, names, ANN, BOB) == {}
    assert {row["epoch"] for row in old_buckets}.isdisjoint(epochs.names())


async def test_a_name_that_was_erased_is_free_and_is_somebody_else(engine, epochs, open_log):
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        [before] = await give(log, ANN)
        await erasures.request("default", ANN, by="p-9")
        [after] = await give(log, ANN)
        assert await erasures.advance()
        assert opened(engine, log.names, [before, after]) == {after: ANN}
        assert found(engine, log.names, ANN) == {ANN: after}


async def test_two_rows_that_are_swapped_name_nobody(engine, open_log):
    async with open_log(engine) as log:
        keys = await give(log, ANN, BOB)
        with engine.connect() as connection:
            rows = {row.key_id: row for row in connection.execute(select(data_keys)).all()}
        with engine.begin() as connection, changing_schema(connection):
            for mine, other in (keys, keys[::-1]):
                row = rows[other]
                values = {"bucket": row.bucket, "wrapped": row.wrapped, "subject": row.subject}
                connection.execute(update(data_keys).where(data_keys.c.key_id == mine).values(values))
        log.names.forget()
        with capture_logs() as logged:
            assert opened(engine, log.names, keys) == {}
            assert found(engine, log.names, ANN, BOB) == {}
        assert {line["event"] for line in logged} == {"row refused"}
        assert "ann" not in str(logged)


async def test_a_row_that_is_tagged_as_another_name_is_not_found_by_it(engine, open_log):
    """Who writes to the database has somebody looked up in another's place."""
    async with open_log(engine) as log:
        ann, bob = await give(log, ANN, BOB)
        with engine.connect() as connection:
            rows = {row.key_id: row for row in connection.execute(select(data_keys)).all()}
        with engine.begin() as connection, changing_schema(connection):
            connection.execute(delete(data_keys).where(data_keys.c.key_id == bob))
            moved = update(data_keys).where(data_keys.c.key_id == ann)
            connection.execute(moved.values(subject=rows[bob].subject))
        log.names.forget()
        assert found(engine, log.names, BOB) == {}
        assert opened(engine, log.names, [ann]) == {ann: ANN}


async def test_whoever_looks_while_an_epoch_ends_knows_everybody_all_the_same(engine, epochs, open_log):
    """A reader whose transaction is older than the epoch keys: its rows are under a key that is gone."""
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        ann, bob, _ = await give(log, ANN, BOB, name_subject("cy"))
        still = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
        with engine.connect().execution_options(**still) as old:
            assert len(old.execute(select(data_keys)).all()) == 3
            await erasures.request("default", name_subject("cy"), by="p-9")
            await erasures.advance()
            assert len(old.execute(select(data_keys)).all()) == 3, "it sees what was"
            for names in (log.names, Names(engine, epochs)):
                names.forget()
                assert names.open(old, [ann, bob]) == {ann: ANN, bob: BOB}
                names.forget()
                assert names.find(old, "default", [ANN, BOB]) == {ANN: ann, BOB: bob}


async def test_names_are_carried_into_a_new_epoch_and_kept_without_values(engine, epochs, open_log):
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        ann, bob = await give(log, ANN, BOB)
        for subject in (name_subject("x"), name_subject("y")):
            await give(log, subject)
            await erasures.request("default", subject, by="p-9")
            assert await erasures.advance()
            for names in (log.names, Names(engine, epochs)):
                assert opened(engine, names, [ann, bob]) == {ann: ANN, bob: BOB}
                assert found(engine, names, ANN, BOB) == {ANN: ann, BOB: bob}
        assert list(check(engine, epochs=epochs)) == []
