"""Slots and queues: never more calls than there are slots, in turn by principal, and none is lost."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_adapters.resilience.bulkhead import Bulkhead, Full, Room

ANA, BEN, CY = ("default", "ana"), ("default", "ben"), ("default", "cy")


async def waiting(bulkhead: Bulkhead, who: tuple[str, str], order: list[str]) -> None:
    await bulkhead.take(who, 60.0)
    order.append(who[1])


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_principal_leaves_room_for_others_in_slots_and_queue() -> None:
    bulkhead = Bulkhead(Room(4, 4, 0.75))
    for _ in range(3):
        assert not await bulkhead.take(ANA, 60.0)
    order: list[str] = []
    queued = [asyncio.ensure_future(waiting(bulkhead, ANA, order)) for _ in range(3)]
    await settle()
    assert (bulkhead.running, bulkhead.waiting) == (3, 3)
    with pytest.raises(Full):
        await bulkhead.take(ANA, 60.0)
    assert not await bulkhead.take(BEN, 60.0)
    last = asyncio.ensure_future(waiting(bulkhead, CY, order))
    await settle()
    with pytest.raises(Full):
        await bulkhead.take(BEN, 60.0)
    for task in (*queued, last):
        task.cancel()
    await asyncio.gather(*queued, last, return_exceptions=True)
    assert bulkhead.waiting == 0


async def test_whose_turn_it_is_goes_round_by_principal() -> None:
    """A hundred calls of one who came first do not keep another's one call waiting."""
    bulkhead = Bulkhead(Room(1, 200, 1.0))
    await bulkhead.take(ANA, 60.0)
    order: list[str] = []
    tasks = [asyncio.ensure_future(waiting(bulkhead, ANA, order)) for _ in range(100)]
    tasks.append(asyncio.ensure_future(waiting(bulkhead, BEN, order)))
    await settle()
    held = ANA
    for _ in range(101):
        bulkhead.give(held)
        await settle()
        held = ("default", order[-1])
    assert order.index("ben") == 1
    assert Counter(order) == {"ana": 100, "ben": 1}
    bulkhead.give(held)
    assert (bulkhead.running, bulkhead.waiting) == (0, 0)


async def test_no_room_to_wait_refuses_at_once_and_a_wait_has_an_end() -> None:
    bulkhead = Bulkhead(Room(1, 0, 1.0))
    await bulkhead.take(ANA, 60.0)
    with pytest.raises(Full):
        await bulkhead.take(BEN, 60.0)
    bulkhead = Bulkhead(Room(1, 5, 1.0))
    await bulkhead.take(ANA, 60.0)
    with pytest.raises(Full):
        await bulkhead.take(BEN, 0.001)
    with pytest.raises(Full):
        await bulkhead.take(BEN, 0.0)
    assert (bulkhead.running, bulkhead.waiting) == (1, 0)


@pytest.mark.parametrize("cancelled_first", [False, True])
async def test_a_turn_that_comes_at_the_moment_of_a_cancellation_goes_on_to_the_next(cancelled_first: bool) -> None:
    bulkhead = Bulkhead(Room(1, 5, 1.0))
    await bulkhead.take(ANA, 60.0)
    order: list[str] = []
    first = asyncio.ensure_future(waiting(bulkhead, BEN, order))
    second = asyncio.ensure_future(waiting(bulkhead, CY, order))
    await settle()
    if cancelled_first:
        first.cancel()
        bulkhead.give(ANA)
    else:
        bulkhead.give(ANA)
        first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert order == ["cy"]
    assert (bulkhead.running, bulkhead.waiting) == (1, 0)


@given(st.lists(st.tuples(st.sampled_from(["take", "give", "cancel"]), st.integers(0, 5)), max_size=80))
def test_no_slot_is_given_twice_or_lost_whatever_is_cancelled(history: list[tuple[str, int]]) -> None:
    async def play() -> None:
        room = Room(4, 6, 0.5)
        bulkhead = Bulkhead(room)
        held: list[tuple[str, str]] = []
        tasks: list[asyncio.Task[None]] = []

        async def take(who: tuple[str, str]) -> None:
            await bulkhead.take(who, 60.0)
            held.append(who)

        for what, number in history:
            if what == "take":
                tasks.append(asyncio.create_task(take(("t", f"p-{number}"))))
            elif what == "give" and held:
                bulkhead.give(held.pop(number % len(held)))
            elif what == "cancel" and tasks:
                tasks[number % len(tasks)].cancel()
            if number % 2:
                await settle()
            assert bulkhead.running <= 4
            assert bulkhead.waiting <= 6
        await settle()
        assert Counter(held) == bulkhead._held
        assert len(held) == bulkhead.running
        assert all(count <= 2 for count in Counter(held).values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while held:
            bulkhead.give(held.pop())
        assert (bulkhead.running, bulkhead.waiting) == (0, 0)
        assert not bulkhead._held
        assert not bulkhead._queues

    asyncio.run(play())


# --- hands that several tenants have ---------------------------------------------------------------------------------


def of(tenant: str, number: int) -> tuple[str, str]:
    return tenant, f"p-{number}"


async def test_the_principals_of_one_tenant_together_leave_room_for_another() -> None:
    bulkhead = Bulkhead(Room(10, 10, 0.5, 0.8))
    for number in range(8):
        assert not await bulkhead.take(of("acme", number), 60.0)
    order: list[str] = []
    queued = [asyncio.ensure_future(waiting(bulkhead, of("acme", 100 + number), order)) for number in range(8)]
    await settle()
    assert (bulkhead.running, bulkhead.waiting, bulkhead.of("acme")) == (8, 8, (8, 8))
    with pytest.raises(Full):
        await bulkhead.take(of("acme", 200), 60.0)
    for number in range(2):
        assert not await bulkhead.take(of("globex", number), 60.0)
    queued.append(asyncio.ensure_future(waiting(bulkhead, of("globex", 9), order)))
    await settle()
    assert bulkhead.of("globex") == (2, 1)
    for task in queued:
        task.cancel()
    await asyncio.gather(*queued, return_exceptions=True)


async def test_whose_turn_it_is_goes_round_by_tenant_first() -> None:
    """A hundred principals of one tenant do not keep the one of another waiting for a hundred turns."""
    bulkhead = Bulkhead(Room(1, 300, 1.0, 1.0))
    held = of("acme", 0)
    await bulkhead.take(held, 60.0)
    order: list[tuple[str, str]] = []

    async def wait(who: tuple[str, str]) -> None:
        await bulkhead.take(who, 60.0)
        order.append(who)

    tasks = [asyncio.ensure_future(wait(of("acme", number))) for number in range(100) for _ in range(2)]
    tasks += [asyncio.ensure_future(wait(of("globex", 1))) for _ in range(3)]
    await settle()
    for _ in tasks:
        bulkhead.give(held)
        await settle()
        held = order[-1]
    assert [tenant for tenant, _ in order[:6]] == ["acme", "globex"] * 3
    own = [who for tenant, who in order if tenant == "acme"]
    assert set(own[:100]) == {f"p-{number}" for number in range(100)}, "each once before any a second time"
    bulkhead.give(held)
    assert (bulkhead.running, bulkhead.waiting, bulkhead.of("acme"), bulkhead.of("globex")) == (0, 0, (0, 0), (0, 0))


async def test_a_tenant_that_waits_beyond_its_share_gives_way_to_one_within() -> None:
    bulkhead = Bulkhead(Room(2, 10, 1.0, 0.5))
    await bulkhead.take(of("acme", 1), 60.0)
    order: list[str] = []
    first = asyncio.ensure_future(waiting(bulkhead, of("acme", 2), order))
    await settle()
    assert not await bulkhead.take(of("globex", 3), 60.0)
    second = asyncio.ensure_future(waiting(bulkhead, of("globex", 4), order))
    await settle()
    bulkhead.give(of("globex", 3))
    await settle()
    assert order == ["p-4"]
    bulkhead.give(of("acme", 1))
    await settle()
    assert order == ["p-4", "p-2"]
    await asyncio.gather(first, second)
