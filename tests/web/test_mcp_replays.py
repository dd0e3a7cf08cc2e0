"""What was sent of late is sent again to the session that it was sent to, and to no other."""

import asyncio
from typing import Any

import pytest
from mcp.server.streamable_http import EventMessage
from mcp.types import JSONRPCResponse

from gateway.ingress.mcp.replays import (
    ALL_MAX_BYTES,
    KEPT_SECONDS,
    NAMED_MAX,
    SESSION_EVENTS_MAX,
    SESSION_MAX_BYTES,
    Replays,
)


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.replays = Replays(lambda: self.now)

    async def sent(self, session: str, stream: str, text: str | None = "x") -> str:
        self.replays.enter(session)
        message = None if text is None else JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": text})
        return await self.replays.store_event(stream, message)

    async def again(self, session: str, event: str) -> list[Any]:
        self.replays.enter(session)
        found: list[Any] = []

        async def take(given: EventMessage) -> None:
            assert isinstance(given.message, JSONRPCResponse)
            found.append(given.message.result["text"])

        await self.replays.replay_events_after(event, take)
        return found


@pytest.fixture
def world() -> World:
    return World()


async def test_a_client_that_comes_back_gets_what_followed_on_its_stream(world: World) -> None:
    primed = await world.sent("a", "1", None)
    await world.sent("a", "2", "another stream")
    first = await world.sent("a", "1", "first")
    await world.sent("a", "1", "second")
    assert await world.again("a", primed) == ["first", "second"]
    assert await world.again("a", first) == ["second"]


async def test_another_session_gets_nothing_though_its_stream_has_the_same_name(world: World) -> None:
    event = await world.sent("a", "1", None)
    await world.sent("a", "1", "for a")
    await world.sent("b", "1", "for b")
    assert await world.again("b", event) == []
    assert await world.again("a", event) == ["for a"]


async def test_what_is_sent_in_the_task_of_the_opening_request_is_the_sessions(world: World) -> None:
    name = world.replays.enter(None)
    go = asyncio.Event()

    async def router() -> None:
        await go.wait()
        message = JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "later"})
        await world.replays.store_event("1", message)

    task = asyncio.create_task(router())
    world.replays.opened(name, "a")
    primed = await world.sent("a", "1", None)
    go.set()
    await task
    assert await world.again("a", primed) == ["later"]


async def test_nothing_is_kept_for_long_or_beyond_measure_or_after_the_end(world: World) -> None:
    event = await world.sent("a", "1", None)
    await world.sent("a", "1", "old")
    world.now += KEPT_SECONDS + 1
    assert await world.again("a", event) == []
    event = await world.sent("a", "1", None)
    for _ in range(SESSION_EVENTS_MAX):
        await world.sent("a", "1", "x")
    assert await world.again("a", event) == [], "it is the oldest, and gone"
    event = await world.sent("a", "1", None)
    await world.sent("a", "1", "x" * SESSION_MAX_BYTES)
    assert await world.again("a", event) == [], "too large to keep"
    await world.sent("a", "1", "x")
    world.replays.ended("a")
    assert await world.again("a", event) == []


async def test_many_sessions_do_not_fill_the_memory(world: World) -> None:
    large = "x" * (SESSION_MAX_BYTES - 1024)
    events = [await world.sent(str(number), "1", large) for number in range(ALL_MAX_BYTES // SESSION_MAX_BYTES + 4)]
    assert world.replays._size <= ALL_MAX_BYTES
    assert await world.replays.replay_events_after(events[0], None) is None  # type: ignore[arg-type]
    for number in range(NAMED_MAX + 8):
        world.replays.opened(f" {number}", str(number))
    assert len(world.replays._named) == NAMED_MAX


async def test_without_a_session_nothing_is_kept() -> None:
    assert await asyncio.create_task(_unnamed())


async def _unnamed() -> str:
    return await Replays().store_event("1", None)
