"""Between the step that asks the model and its client: in order, at once, and not too much."""

import asyncio
from typing import Any

import pytest

from gateway.errors import Unavailable
from gateway.ingress.anthropic.channel import WAITING_MAX, Channel


def opened() -> tuple[Channel, asyncio.Future[Any]]:
    return Channel({}, b"", b""), asyncio.get_running_loop().create_future()


async def test_a_part_goes_out_before_what_came_with_it_is_looked_at() -> None:
    channel, whole = opened()
    order: list[str] = []

    async def read() -> None:
        while isinstance(part := await channel.take(whole), bytes):
            order.append(f"out {part.decode()}")

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    for part in ("one", "two"):
        await channel.chunk(part.encode())
        order.append(f"looked at {part}")
    whole.set_result(None)
    await reading
    assert order == ["out one", "looked at one", "out two", "looked at two"]


async def test_what_came_before_the_steps_end_is_taken_after_it() -> None:
    channel, whole = opened()
    await channel.chunk(b"last")
    whole.set_result(None)
    assert (await channel.take(whole), await channel.take(whole)) == (b"last", None)


async def test_a_reader_that_takes_nothing_holds_the_upstream() -> None:
    channel, whole = opened()
    parts = [bytes([number]) for number in range(WAITING_MAX)]
    for part in parts:
        await channel.chunk(part)
    waiting = asyncio.create_task(channel.chunk(b"more"))
    await asyncio.sleep(0)
    assert not waiting.done()
    taken = [await channel.take(whole) for _ in range(WAITING_MAX)]
    await waiting
    assert [*taken, await channel.take(whole)] == [*parts, b"more"]


async def test_the_head_is_known_once_the_answer_begins_or_there_is_none() -> None:
    channel, whole = opened()
    knowing = asyncio.create_task(channel.head(whole))
    await asyncio.sleep(0)
    assert not knowing.done()
    channel.begin(200, {})
    assert await knowing
    with pytest.raises(Unavailable):
        channel.begin(200, {})
    channel, whole = opened()
    knowing = asyncio.create_task(channel.head(whole))
    await asyncio.sleep(0)
    whole.set_result(None)
    assert not await knowing
