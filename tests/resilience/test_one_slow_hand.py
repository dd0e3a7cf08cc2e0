"""One slow hand does not slow another: calls of the second complete while every call of the first is outstanding."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters.contract import HandError
from tests.resilience.servers import NOTHING, Calls, http, registry, serving
from tests.until import until

OUTSTANDING = 40
"""Calls of the slow hand; more than the threads that the event loop has for everybody."""


async def good(_: web.Request) -> web.StreamResponse:
    return web.json_response({"done": True})


async def hanging(_: web.Request) -> web.StreamResponse:
    await asyncio.get_running_loop().create_future()
    return web.Response()


async def quick_calls_complete(calls: Calls, slow: "list[asyncio.Task[Any]]") -> None:
    """Calls of the other hand, and work in the threads that everybody shares, while the slow hand keeps its own."""
    for number in range(100):
        result = await calls.hands.run(calls.call("quick", principal=f"user-{number % 7}"))
        assert (result.structured, result.attempts) == ({"done": True}, 1)
    assert [await asyncio.to_thread(int, "7") for _ in range(50)] == [7] * 50
    assert calls.hands.guards["quick"].document("default") == {"circuit": "closed", "running": 0, "waiting": 0}
    assert not any(task.done() for task in slow)


async def ended(tasks: "list[asyncio.Task[Any]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_hand_with_every_slot_taken_and_its_queue_full_keeps_nobody_elsewhere_waiting() -> None:
    async with serving(hanging) as slow_port, serving(good) as port:
        limits = {"concurrency_max": 8, "queue_max": 8, "principal_share": 0.5, "queue_seconds": 60.0}
        async with registry(slow=http(slow_port, **limits), quick=http(port)) as hands:
            calls = Calls(hands)
            slow = [calls.begin("slow", principal=f"user-{number}", deadline_seconds=3600.0) for number in range(16)]
            load = hands.guards["slow"].bulkhead
            await until(lambda: (load.running, load.waiting) == (8, 8))
            with pytest.raises(HandError) as refused:
                await hands.run(calls.call("slow", principal="one-more"))
            assert refused.value.reason is Reason.HAND_BUSY
            await quick_calls_complete(calls, slow)
            await ended(slow)
            assert (load.running, load.waiting) == (0, 0)


async def test_names_that_nobody_answers_for_take_no_thread_that_others_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look, answered = socket.getaddrinfo, threading.Event()

    def slow_look(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "slow.test":
            answered.wait()
        return look("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow_look)
    try:
        async with (
            serving(good) as port,
            registry(slow=http(port, "slow.test"), quick=http(port, "quick.test")) as hands,
        ):
            calls = Calls(hands)
            slow = [calls.begin("slow", principal=f"user-{number}") for number in range(OUTSTANDING)]
            await until(lambda: hands.guards["slow"].bulkhead.running == OUTSTANDING)
            await quick_calls_complete(calls, slow)
            await ended(slow)
    finally:
        answered.set()


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener.getsockname()[1]


def database(port: int, connections: int) -> HandSettings:
    return HandSettings(
        adapter="sql",
        private_network=True,
        database={
            "dialect": "postgresql", "host": "127.0.0.1", "port": port, "name": "d", "user": "u", "tls": False,
            "connections_max": connections,
        },
        actions={"one": {"statement": "SELECT 1 AS n", "args_schema": NOTHING | {"additionalProperties": False}}},
    )  # fmt: skip


async def test_a_database_that_says_nothing_keeps_its_own_threads_waiting_and_no_others(mute: int) -> None:
    async with serving(good) as port, registry(slow=database(mute, 32), quick=http(port)) as hands:
        calls = Calls(hands)
        slow = [calls.begin("slow", "one", principal=f"user-{number}") for number in range(OUTSTANDING)]
        load = hands.guards["slow"].bulkhead
        await until(lambda: (load.running, load.waiting) == (32, OUTSTANDING - 32))
        await quick_calls_complete(calls, slow)
        await ended(slow)


async def test_one_principal_does_not_take_every_connection_of_a_database(mute: int) -> None:
    """It has fewer of them than the hand has slots: whoever had most slots would be first at each of them."""
    async with registry(slow=database(mute, 4)) as hands:
        calls = Calls(hands)
        load = hands.guards["slow"].bulkhead
        slow = [calls.begin("slow", "one", principal="mallory") for _ in range(OUTSTANDING)]
        await until(lambda: load.running + load.waiting == OUTSTANDING)
        assert load.running == 3
        slow.append(calls.begin("slow", "one", principal="ana"))
        await until(lambda: load.running == 4)
        await ended(slow)
