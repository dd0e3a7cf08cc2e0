"""Appends: durable at once or not at all, and one caller's fault is not another's."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from audit.database import changing_schema, writing
from audit.errors import AuditError, EntryInvalid, LogUnavailable, NotLogged, SealBroken
from audit.fsck import check
from audit.tables import data_keys, entries, payloads
from gateway.commitments import commit, fields_root
from gateway.entries import EntryType
from gateway.errors import Refused
from gateway.ports import Append, Write
from gateway.reasons import Reason
from tests.audit.conftest import CLAIM, claims, draft, once

BROKEN = Write(CLAIM, {"name": "broken", "owner": None})


def count(engine, table):
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar()


async def test_the_first_entry_says_that_the_log_was_opened(engine, open_log):
    async with open_log(engine) as log:
        assert await log.append(Append([draft(1), draft(2)])) == range(1, 3)
        assert json.loads(await log.entry(0))["type"] == EntryType.LOG_OPENED
        body = json.loads(await log.entry(1))
    assert body["plan_id"] == f"{1:064x}"
    assert body["time"] == "2026-11-21T02:00:00.125Z"
    assert list(check(engine)) == []


async def test_many_callers_share_commits_and_get_their_own_indices(engine, open_log):
    async with open_log(engine) as log:
        taken = await asyncio.gather(*(log.append(Append([draft(number)])) for number in range(200)))
        assert sorted(indices[0] for indices in taken) == list(range(1, 201))
        for number in (0, 99, 199):
            assert json.loads(await log.entry(taken[number][0]))["plan_id"] == f"{number:064x}"
    assert list(check(engine)) == []


async def test_sqlite_copies_no_page_before_it_changes_it(sqlite_engine, open_log):
    """A savepoint that stands, or a statement that can be taken back, would double what a commit writes: SQLite keeps
    the copies in an unlinked file until the transaction ends."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("no /proc to see open files in")
    copies = []
    async with open_log(sqlite_engine) as log:
        await log.append(Append([draft()]))
        committer = log._writer._committer
        claim = committer._claim

        def look(jobs):
            for one in descriptors.iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    copies.append("etilqs" in str(one.readlink()))
            return claim(jobs)

        committer._claim = look
        held = [Append([draft(number), draft(number)], (), [once(f"{number}")]) for number in range(400)]
        await asyncio.gather(*map(log.append, held))
        taken = await asyncio.gather(*map(log.append, held[:9]), return_exceptions=True)
    assert all(isinstance(outcome, Refused) for outcome in taken)
    assert copies
    assert not any(copies)
    assert list(check(sqlite_engine)) == []


async def test_a_log_that_is_opened_again_goes_on_where_it_was(engine, open_log):
    for first in (1, 4, 7):
        async with open_log(engine) as log:
            assert await log.append(Append([draft(), draft(), draft()])) == range(first, first + 3)
    assert list(check(engine)) == []


async def test_a_thousand_identical_requests_give_one_acceptance(engine, open_log):
    async with open_log(engine) as log:
        outcomes = await asyncio.gather(
            *(log.append(Append([draft(7)], guards=[once()])) for _ in range(1000)), return_exceptions=True
        )
    accepted = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(accepted) == 1
    # On a machine that is busy with other things some may run into the deadline; none of those is written.
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert len(refused) >= 100
    assert {outcome.reason for outcome in refused} == {Reason.VERIFY_REPLAYED}
    assert all(type(outcome) in {Refused, LogUnavailable} for outcome in outcomes if outcome is not accepted[0])
    assert count(engine, entries) == 2
    assert list(check(engine)) == []


async def test_a_guard_may_look_and_go_on(engine, open_log):
    def only(owner):
        def look(connection):
            found = connection.execute(select(claims.c.owner).where(claims.c.name == "context")).scalar()
            if found != owner:
                raise Refused(Reason.VERIFY_CONTEXT)

        return once("context", look, owner)

    async with open_log(engine) as log:
        await log.append(Append([draft()], guards=[only("alice")]))
        again = [log.append(Append([draft()], guards=[once(name), only("alice")])) for name in "ab"]
        stolen = log.append(Append([draft()], guards=[once("x"), only("eve")]))
        *fine, refused = await asyncio.gather(*again, stolen, return_exceptions=True)
    assert sorted(indices[0] for indices in fine) == [2, 3]
    assert refused.reason is Reason.VERIFY_CONTEXT
    # Of the refused append nothing stays, not even its other guard.
    with engine.connect() as connection:
        assert set(connection.execute(select(claims.c.name)).scalars()) == {"context", "a", "b"}


async def test_a_guard_that_breaks_another_constraint_is_no_replay(engine, open_log):
    async with open_log(engine) as log:
        with pytest.raises(AuditError) as caught:
            await log.append(Append([draft()], guards=[once(owner=None)]))
    assert caught.value.reason is Reason.INTERNAL


async def test_one_faulty_append_does_not_touch_its_neighbours(engine, open_log):
    def explode(_indices):
        raise ZeroDivisionError

    def explode_in_guard(_connection):
        raise ZeroDivisionError

    calls = []

    def receipt(indices):
        calls.append(list(indices))
        return [Write(CLAIM, {"name": str(indices[0]), "owner": "receipt"})]

    async with open_log(engine) as log:
        await log.append(Append([draft()], guards=[once("taken")]))
        outcomes = await asyncio.gather(
            log.append(Append([draft(1)], finalise=receipt)),
            log.append(Append([draft(2)], finalise=explode)),
            log.append(Append([draft(3, facts={"ratio": 0.5})])),
            log.append(Append([draft(4, action="x" * 70_000)])),
            log.append(Append([draft(5)], guards=[once("taken", explode_in_guard)])),
            log.append(Append([draft(6)], writes=[BROKEN])),
            log.append(Append([draft(7)], finalise=receipt)),
            return_exceptions=True,
        )
        good = [outcomes[0], outcomes[6]]
        assert sorted(indices[0] for indices in good) == [2, 3]
        assert [type(outcome) for outcome in outcomes[1:6]] == [
            AuditError,
            EntryInvalid,
            EntryInvalid,
            AuditError,
            AuditError,
        ]
        assert [list(indices) for indices in good] == [[2], [3]]
        assert calls[-1] == [3]
    with engine.connect() as connection:
        receipts = select(claims.c.name).where(claims.c.owner == "receipt")
        assert set(connection.execute(receipts).scalars()) == {"2", "3"}
    assert list(check(engine)) == []


async def test_rows_ride_in_the_same_transaction_as_their_entries(engine, open_log):
    async with open_log(engine) as log:
        await log.append(Append([draft()]))
        with pytest.raises(AuditError):
            await log.append(Append([draft(), draft()], writes=[Write(CLAIM, once("r").parameters), BROKEN]))
        assert await log.append(Append([], writes=[Write(CLAIM, once("c").parameters)])) == range(2, 2)
    assert (count(engine, claims), count(engine, entries)) == (1, 2)


async def test_a_value_is_sealed_once_and_opens_again(engine, open_log):
    value, other = commit(b'{"to":"ann@example.com"}', "default/alice/c1"), commit(b"r" * 5000, "default/alice/c1")
    async with open_log(engine) as log:
        await asyncio.gather(*(log.append(Append([draft(n, fields={"args": value})])) for n in range(20)))
        indices = await log.append(Append([draft(fields={"args": value, "result": other})]))
        body = json.loads(await log.entry(indices[0]))
        opened = await log.open([value.commitment, other.commitment, "0" * 64])
    assert body["commitment"] == fields_root({"args": value.commitment, "result": other.commitment})
    assert opened == {value.commitment: (value.salt, value.value), other.commitment: (other.salt, other.value)}
    assert (count(engine, payloads), count(engine, data_keys)) == (2, 1)
    with engine.connect() as connection:
        rows = connection.execute(select(payloads.c.sealed)).scalars().all()
        names = connection.execute(select(data_keys.c.subject, data_keys.c.wrapped)).all()
    assert not any(b"ann@example.com" in bytes(row) for row in rows)
    assert "alice" not in repr(names)


async def test_a_subject_keeps_its_key_over_a_restart(engine, open_log):
    for number in range(3):
        async with open_log(engine) as log:
            await log.append(Append([draft(fields={"args": commit(b"%d" % number, "default/alice/c1")})]))
    assert count(engine, data_keys) == 1
    assert count(engine, payloads) == 3


async def test_a_key_whose_row_was_rolled_back_never_seals(engine, open_log):
    value = commit(b"secret", "default/alice/c1")
    async with open_log(engine) as log:
        with pytest.raises(AuditError):
            await log.append(Append([draft(fields={"args": value})], writes=[BROKEN]))
        assert count(engine, payloads) == 0
        await log.append(Append([draft(fields={"args": value})]))
        assert await log.open([value.commitment]) == {value.commitment: (value.salt, b"secret")}


async def test_destroying_the_epoch_key_makes_payloads_unreadable_and_leaves_the_log_whole(engine, open_log, epochs):
    value = commit(b"secret", "default/alice/c1")
    async with open_log(engine) as log:
        await log.append(Append([draft(fields={"args": value})]))
    old, _ = epochs.current()
    epochs.rotate()
    epochs.destroy(old)
    async with open_log(engine) as log:
        assert await log.open([value.commitment]) == {}
        await log.append(Append([draft(fields={"args": commit(b"new", "default/alice/c1")})]))
    assert list(check(engine, epochs=epochs)) == []


async def test_a_swapped_payload_is_refused_not_shown(sqlite_engine, open_log):
    one, two = commit(b"one", "s"), commit(b"two", "s")
    async with open_log(sqlite_engine) as log:
        await log.append(Append([draft(fields={"a": one, "b": two})]))
        with writing(sqlite_engine.connect()) as connection, changing_schema(connection), connection.begin():
            other = select(payloads.c.sealed).where(payloads.c.commitment == two.commitment)
            blob = connection.execute(other).scalar()
            connection.execute(payloads.update().where(payloads.c.commitment == one.commitment).values(sealed=blob))
        with pytest.raises(SealBroken):
            await log.open([one.commitment])


async def test_an_entry_that_is_not_there_is_not_found(engine, open_log):
    async with open_log(engine) as log:
        await log.append(Append([draft()]))
        for index in (2, -1, 2**70):
            with pytest.raises(NotLogged):
                await log.entry(index)
        with pytest.raises(NotLogged):
            await log.proof(2)


async def test_a_closed_log_refuses(engine, open_log):
    async with open_log(engine) as log:
        await log.append(Append([draft()]))
    with pytest.raises(LogUnavailable):
        await log.append(Append([draft()]))
    with pytest.raises(LogUnavailable):
        await log.entry(0)


async def test_another_logs_database_is_refused(engine, open_log):
    async with open_log(engine) as log:
        await log.append(Append([draft()]))
    with pytest.raises(LogUnavailable) as caught:
        async with open_log(engine, origin="other.example/log"):
            pass
    assert "handrail.local/log" in caught.value.detail


async def test_ready_is_true_of_a_log_that_can_be_written(engine, open_log):
    async with open_log(engine) as log:
        await asyncio.gather(*(log.ready() for _ in range(50)))
