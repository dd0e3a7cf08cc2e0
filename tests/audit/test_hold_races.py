"""A hold against an act that destroys: whichever is in the log first is the one that counts.

Each interleaving is made by taking the act's own append and doing the other thing right before it, by a second writer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from audit import holds
from audit.checkpoint import VerifierKey
from audit.database import make_engine, make_owner
from audit.erasure import Erasures, Held
from audit.errors import LogUnavailable
from audit.fsck import check
from audit.log import Log
from audit.query import Filter
from audit.retained import PARTITION
from audit.retention import Retention, State
from audit.subjects import Hold, setting
from audit.tables import dropped_partitions, entries
from audit.wrapping import every_epoch
from gateway.commitments import commit, person_key
from gateway.entries import EntryType
from gateway.errors import Overtaken
from gateway.ports import Append
from tests.audit.conftest import TIME, draft
from tests.audit.erasing import eraser_of, own_log

ANN, BOB, EVE = (person_key(f"{name}@example.com") for name in ("ann", "bob", "eve"))
MONTH = 31 * 86_400.0


@contextlib.asynccontextmanager
async def two(engine: Engine, database_url: str, signer: Any, epochs: Any) -> AsyncIterator[tuple[Log, Log, Erasures]]:
    """Two writers of one log, and what erases through the first."""
    other = make_engine(database_url)
    async with (
        own_log(engine, signer, epochs, "g1") as log,
        own_log(other, signer, epochs, "g2") as second,
        eraser_of(engine, log, epochs) as erasures,
    ):
        yield log, second, erasures
    other.dispose()


def before(log: Log, kind: EntryType, act: Callable[[], Awaitable[Any]], times: int = 1) -> Callable[[], int]:
    """Do ``act`` right before an append of ``kind`` is handed in, so many times; returns how often one was."""
    real, seen = log.append, 0

    async def append(item: Append) -> Any:
        nonlocal seen
        if item.entries and item.entries[0].type is kind:
            seen += 1
            if seen <= times:
                await act()
        return await real(item)

    log.append = append  # type: ignore[method-assign]
    return lambda: seen


def hold(epochs: Any, subject: str, hold_id: str = "h1") -> Append:
    """As another gateway sets it; without waiting for its turn, so that nothing but the log decides."""
    row = Hold(hold_id, "default", subject, "litigation", TIME, "p-9", None)
    return Append([draft(type=EntryType.HOLD_SET, facts={"hold": hold_id})], [setting(every_epoch(epochs)[-1], row)])


async def kept(log: Log, value: bytes, *subjects: str) -> str:
    committed = commit(value, *subjects)
    await log.append(Append([draft(fields={"args": committed})]))
    return committed.commitment


async def test_a_hold_that_comes_between_check_and_act_stops_the_erasure(engine, database_url, signer, epochs):
    async with two(engine, database_url, signer, epochs) as (log, second, erasures):
        anns = await kept(log, b"of Ann", ANN)
        asked = before(log, EntryType.ERASURE_REQUESTED, lambda: second.append(hold(epochs, ANN)))
        with pytest.raises(Held) as held:
            await erasures.request("default", ANN, by="p-9")
        assert [one.hold_id for one in held.value.holds] == ["h1"]
        assert asked() == 1, "it was handed in once, and refused by the log"
        assert set(await log.open([anns])) == {anns}
        assert log.reader.query(Filter(type=str(EntryType.ERASURE_REQUESTED))).entries == []
        assert await erasures.advance()
        assert set(await log.open([anns])) == {anns}


async def test_a_hold_on_somebody_else_has_the_erasure_look_again_and_go_on(engine, database_url, signer, epochs):
    async with two(engine, database_url, signer, epochs) as (log, second, erasures):
        anns = await kept(log, b"of Ann", ANN)
        asked = before(log, EntryType.ERASURE_REQUESTED, lambda: second.append(hold(epochs, EVE)))
        await erasures.request("default", ANN, by="p-9")
        assert asked() == 2
        assert await log.open([anns]) == {}


async def test_a_value_that_is_shared_with_a_held_person_meanwhile_stops_the_erasure(
    engine, database_url, signer, epochs
):
    async with two(engine, database_url, signer, epochs) as (log, second, erasures):
        await kept(log, b"of Ann", ANN)
        await second.append(hold(epochs, BOB))
        shared = []

        async def share() -> None:
            shared.append(await kept(second, b"Ann pays Bob", ANN, BOB))

        before(log, EntryType.ERASURE_REQUESTED, share)
        with pytest.raises(Held):
            await erasures.request("default", ANN, by="p-9")
        assert set(await log.open(shared)) == set(shared)


async def test_who_is_written_about_together_with_somebody_who_is_not_held_is_erased(
    engine, database_url, signer, epochs
):
    async with two(engine, database_url, signer, epochs) as (log, second, erasures):
        await kept(log, b"of Ann", ANN)
        await second.append(hold(epochs, EVE))
        asked = before(log, EntryType.ERASURE_REQUESTED, lambda: kept(second, b"Ann pays Bob", ANN, BOB))
        await erasures.request("default", ANN, by="p-9")
        assert asked() == 2


async def test_holds_without_end_leave_the_erasure_undone_and_say_so(engine, database_url, signer, epochs):
    async with two(engine, database_url, signer, epochs) as (log, second, erasures):
        anns = await kept(log, b"of Ann", ANN)
        numbers = iter(range(100))
        before(
            log,
            EntryType.ERASURE_REQUESTED,
            lambda: second.append(hold(epochs, EVE, f"h{next(numbers)}")),
            times=100,
        )
        with pytest.raises(LogUnavailable, match="go on changing"):
            await erasures.request("default", ANN, by="p-9")
        assert set(await log.open([anns])) == {anns}


async def test_a_hold_after_the_erasure_is_on_record_keeps_nothing_of_before(engine, database_url, signer, epochs):
    """It is taken, it is about what comes, and it stops neither the erasure nor claims what is gone."""
    async with two(engine, database_url, signer, epochs) as (log, second, erasures):
        anns = await kept(log, b"of Ann", ANN)
        await erasures.request("default", ANN, by="p-9")
        await second.append(hold(epochs, ANN))
        assert await erasures.advance()
        assert await log.open([anns]) == {}
        later = await kept(second, b"of Ann later", ANN)
        with pytest.raises(Held):
            await erasures.request("default", ANN, by="p-9")
        assert set(await log.open([later])) == {later}


@pytest.mark.parametrize("hold_first", [True, False])
async def test_in_one_commit_the_order_of_the_entries_decides(engine, epochs, open_log, hold_first):
    async with open_log(engine, group_max_entries=256) as log, eraser_of(engine, log, epochs) as erasures:
        await kept(log, b"of Ann", ANN)
        every = every_epoch(epochs)
        seen = log.reader.head()[0]
        _, [unless] = erasures._unheld(every, "default", ANN, ())
        assert unless.parameters == {"tenant": "default", "since": seen}
        act = Append([draft()], unless=[unless])
        both = [hold(epochs, ANN), act] if hold_first else [act, hold(epochs, ANN)]
        done = await asyncio.gather(*(log.append(item) for item in both), return_exceptions=True)
        if hold_first:
            assert isinstance(done[1], Overtaken)
            assert list(done[0]) == [seen]
        else:
            assert [list(one) for one in done] == [[seen], [seen + 1]]
        with pytest.raises(Overtaken):
            await log.append(Append([draft()], unless=[unless]))
        assert log.reader.head()[0] == seen + (1 if hold_first else 2)
        assert list(check(engine)) == []


# --- a drop of entries -----------------------------------------------------------------------------------------------


@pytest.fixture
async def old(engine: Engine, database_url: str, signer: Any, epochs: Any) -> AsyncIterator[tuple[Log, Log, Retention]]:
    """Two writers of a log with one partition that is due, and what drops it."""
    owner, other = make_owner(database_url), make_engine(database_url)
    async with own_log(owner, signer, epochs, "g1") as log, own_log(other, signer, epochs, "g2") as second:
        await log.append(Append([draft(number) for number in range(PARTITION // 2)]))
        await log.append(Append([draft(number) for number in range(PARTITION // 2)]))
        key = VerifierKey.parse(log.vkey())
        yield log, second, Retention(owner, log, [key], 24, None, 60, lambda: TIME + 30 * MONTH)
    owner.dispose()
    other.dispose()


def left(engine: Engine) -> tuple[int, int]:
    """Entries of the first partition, and dropped partitions."""
    with engine.connect() as connection:
        count = select(func.count()).select_from(entries).where(entries.c.idx < PARTITION)
        gone = select(func.count()).select_from(dropped_partitions)
        return connection.execute(count).scalar_one(), connection.execute(gone).scalar_one()


async def test_a_hold_before_the_drop_is_on_record_keeps_every_entry(engine, old):
    log, second, retention = old
    assert [one.state for one in await retention.survey()] == [State.DUE]
    hold_id, entry = holds.setting(holds.Held(first=5, last=5), "2026/17")
    asked = before(log, EntryType.RETENTION_APPLIED, lambda: second.append(Append([entry])))
    with pytest.raises(holds.EntriesAreHeld, match=hold_id):
        await retention.drop(0)
    assert asked() == 1
    assert left(engine) == (PARTITION, 0)
    [found] = await retention.survey()
    assert (found.state, found.holds) == (State.HELD, (hold_id,))
    assert list(check(engine)) == []


async def test_a_hold_on_other_entries_does_not_stop_the_drop(engine, old):
    log, second, retention = old
    _, entry = holds.setting(holds.Held(first=PARTITION, last=PARTITION), "2026/17")
    asked = before(log, EntryType.RETENTION_APPLIED, lambda: second.append(Append([entry])))
    assert await retention.drop(0) > 4000
    assert asked() == 2
    assert list(check(engine)) == []


async def test_a_hold_after_the_drop_is_on_record_is_too_late_and_says_so(engine, old, monkeypatch):
    """The record says that the entries are dropped: a hold that came later must not seem to keep them."""
    _, second, retention = old
    delete = retention._delete

    def crash(number: int) -> int:
        raise LogUnavailable("killed")

    monkeypatch.setattr(retention, "_delete", crash)
    with pytest.raises(LogUnavailable):
        await retention.drop(0)
    assert left(engine) == (PARTITION, 1)
    held = holds.Held(context_id="c1")
    _, entry = holds.setting(held, "2026/17")
    indices = await second.append(Append([entry]))
    with engine.connect() as connection:
        assert holds.too_late(connection, held, indices[0]) == [(0, PARTITION - 1)]
        assert holds.too_late(connection, holds.Held(first=PARTITION), indices[0]) == []
        assert holds.too_late(connection, held, 0) == [], "the drop came after that"
    monkeypatch.setattr(retention, "_delete", delete)
    assert await retention.sweep() > 4000
    assert left(engine) == (1, 1)
    assert [one.state for one in await retention.survey()] == [State.DROPPED]
    assert list(check(engine)) == []
