"""Connections: so many in all and of one address, and none that only waits to be waited for."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.settings import LimitSettings, Settings
from gateway.telemetry import Metrics
from gateway.web import server
from gateway.web.asgi import create_app
from gateway.web.doors import POLITE_MAX, Doors, Place
from tests.limits.raw import HEALTH, answer, connection, ended
from tests.until import until
from tests.web.conftest import serving
from tests.web.fake import testing_only_Gateway

LARGE = b"x" * 16_000_000
ELSE = b"GET /v1/me HTTP/1.1\r\nhost: x\r\n\r\n"
SETTINGS = Settings(server={"port": 0})


def doors(**limits: int) -> Doors:
    return Doors(LimitSettings(**limits), ("192.0.2.0/24",), Metrics())


def enter(counted: Doors, host: str, end: Callable[[], None] = lambda: None) -> Place:
    return counted.enter(host, end)


def test_an_address_has_its_share_and_not_more() -> None:
    counted = doors(connections_max=10, connections_max_per_address=2)
    places = [enter(counted, "198.51.100.7") for _ in range(2)]
    third = enter(counted, "198.51.100.7")
    assert third.refusal is not None
    assert third.refusal.reason == "limit.connections"
    assert enter(counted, "198.51.100.8").refusal is None
    counted.leave(third)
    counted.leave(places[0])
    assert enter(counted, "198.51.100.7").refusal is None


def test_all_addresses_of_one_network_of_version_6_are_one() -> None:
    counted = doors(connections_max_per_address=1)
    assert enter(counted, "2001:db8::1").refusal is None
    assert enter(counted, "2001:db8::2").refusal is not None
    assert enter(counted, "2001:db8:0:1::1").refusal is None


def test_a_declared_proxy_stands_for_many() -> None:
    counted = doors(connections_max=5, connections_max_per_address=1)
    assert [enter(counted, "192.0.2.9").refusal for _ in range(5)] == [None] * 5
    beyond = enter(counted, "192.0.2.9")
    assert beyond.refusal is not None
    assert beyond.refusal.reason == "gateway.overloaded"


def test_of_those_beyond_a_limit_that_say_nothing_the_oldest_goes() -> None:
    counted = doors(connections_max_per_address=1)
    ended: list[int] = []
    places = [enter(counted, "198.51.100.7", partial(ended.append, number)) for number in range(POLITE_MAX + 1)]
    counted.heard(places[1])
    enter(counted, "198.51.100.7")
    assert ended == [], "the first has its place, and the second asked something"
    for _ in range(2):
        enter(counted, "198.51.100.7")
    assert ended == [2, 3]


def test_of_those_beyond_a_limit_that_wait_for_an_answer_the_oldest_goes() -> None:
    """A probe whose answer takes its time is no way to hold more connections than there may be."""
    counted = doors(connections_max_per_address=1)
    ended: list[int] = []
    enter(counted, "198.51.100.7")
    for number in range(POLITE_MAX + 2):
        place = enter(counted, "198.51.100.7", partial(ended.append, number))
        for _ in range(2):
            counted.heard(place)
    assert ended == [0, 1]
    counted.leave(place)
    counted.heard(enter(counted, "198.51.100.7"))
    assert ended == [0, 1]


def test_whoever_left_has_no_place_any_more() -> None:
    counted = doors(connections_max_per_address=1)
    places = [enter(counted, "198.51.100.7") for _ in range(POLITE_MAX + 3)]
    for place in places:
        counted.leave(place)
    assert (counted.open, enter(counted, "198.51.100.7").refusal) == (0, None)


async def test_one_address_does_not_keep_another_out() -> None:
    gateway = testing_only_Gateway(limits={"connections_max_per_address": 2})
    async with (
        serving(create_app(gateway), gateway.settings) as port,  # type: ignore[arg-type]
        contextlib.AsyncExitStack() as stack,
    ):
        held = [await stack.enter_async_context(connection(port)) for _ in range(2)]
        for reader, writer in held:
            writer.write(HEALTH)
            assert (await answer(reader)).status == 200
        reader, writer = await stack.enter_async_context(connection(port))
        writer.write(ELSE)
        refused = await answer(reader)
        assert (refused.status, refused.code) == (429, "limit.connections")
        assert (refused.headers[b"retry-after"], refused.headers[b"connection"]) == (b"1", b"close")
        assert await ended(reader) == b""
        reader, writer = await stack.enter_async_context(connection(port, "127.0.0.2"))
        writer.write(HEALTH)
        assert (await answer(reader)).status == 200


@pytest.mark.parametrize("silent", [0, 3 * POLITE_MAX])
@pytest.mark.parametrize("limit", ["connections_max", "connections_max_per_address"])
async def test_a_full_house_answers_whoever_looks_whether_it_lives(limit: str, silent: int) -> None:
    gateway = testing_only_Gateway(limits={limit: 2})
    async with (
        serving(create_app(gateway), gateway.settings) as port,  # type: ignore[arg-type]
        contextlib.AsyncExitStack() as stack,
    ):
        held = [await stack.enter_async_context(connection(port)) for _ in range(2)]
        for reader, writer in held:
            writer.write(HEALTH)
            assert (await answer(reader)).status == 200
        for _ in range(silent):
            await stack.enter_async_context(connection(port))
        for path in (b"/healthz", b"/readyz"):
            reader, writer = await stack.enter_async_context(connection(port))
            writer.write(b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n" % path)
            looked = await answer(reader)
            assert (looked.status, looked.headers[b"connection"]) == (200, b"close")
            assert await ended(reader) == b"", "and it has no place for more"


async def test_behind_a_probe_beyond_a_limit_nothing_comes_in() -> None:
    gateway = testing_only_Gateway(limits={"connections_max": 1})
    async with (
        serving(create_app(gateway), gateway.settings) as port,  # type: ignore[arg-type]
        connection(port) as (reader, writer),
    ):
        writer.write(HEALTH)
        assert (await answer(reader)).status == 200
        async with connection(port) as (beyond, asking):
            asking.write(HEALTH + ELSE)
            assert (await answer(beyond)).status == 200
            assert await ended(beyond) == b""


async def test_connections_far_beyond_the_limit_are_ended_at_once() -> None:
    gateway = testing_only_Gateway(limits={"connections_max_per_address": 1})
    async with (
        serving(create_app(gateway), gateway.settings) as port,  # type: ignore[arg-type]
        contextlib.AsyncExitStack() as stack,
    ):
        readers = [(await stack.enter_async_context(connection(port)))[0] for _ in range(POLITE_MAX + 2)]
        assert await ended(readers[1]) == b""


# --- answers that nobody reads ---------------------------------------------------------------------------------------


async def _large(_: Request) -> Response:
    return Response(LARGE)


async def _streamed(_: Request) -> Response:
    async def pieces() -> Any:
        for _ in range(256):
            yield LARGE[:65_536]

    return StreamingResponse(pieces())


def large() -> Starlette:
    return Starlette(routes=[Route("/large", _large), Route("/streamed", _streamed)])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda seconds: monkeypatch.setattr(server, "UNREAD_SECONDS", seconds)


@pytest.mark.parametrize("path", [b"/large", b"/streamed"])
@pytest.mark.parametrize("close", [b"", b"connection: close\r\n"])
async def test_an_answer_that_nobody_reads_is_given_up(
    impatient: Callable[[float], None], path: bytes, close: bytes
) -> None:
    impatient(0.05)
    async with serving(large(), SETTINGS) as port, connection(port, buffer=1024) as (reader, writer):
        writer.write(b"GET %s HTTP/1.1\r\nhost: x\r\n%s\r\n" % (path, close))
        await reader.readexactly(16)
        writer.transport.pause_reading()
        await until(lambda: _cut_off(writer))
        writer.transport.resume_reading()
        rest = await ended(reader)
    assert len(rest) < len(LARGE)


def _cut_off(writer: asyncio.StreamWriter) -> bool:
    """Whether the other side has ended the connection: who does not read learns it by writing."""
    writer.write(b"\r\n")
    return writer.transport.is_closing()


@pytest.mark.parametrize("path", [b"/large", b"/streamed"])
async def test_an_answer_that_is_read_slowly_but_steadily_comes_whole(
    impatient: Callable[[float], None], path: bytes
) -> None:
    impatient(0.5)
    async with (
        serving(large(), SETTINGS) as port,
        connection(port, buffer=1024) as (reader, writer),
        connection(port) as (asked, asking),
    ):
        writer.write(b"GET %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path)
        got = 0
        async with asyncio.timeout(60):
            while piece := await reader.read(262_144):
                got += len(piece)
                asking.write(b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n")
                assert (await answer(asked)).status == 404, "something takes time between two pieces"
    assert got >= len(LARGE)


# --- connections that only wait --------------------------------------------------------------------------------------


@pytest.mark.parametrize("drip", [b"\r\n", b"x"])
async def test_what_drips_after_an_answer_does_not_hold_the_connection(
    monkeypatch: pytest.MonkeyPatch, drip: bytes
) -> None:
    """Line ends between requests, and the rest of a body that nobody waits for."""
    monkeypatch.setattr(server, "HEAD_TIMEOUT_SECONDS", 0.2)
    gateway = testing_only_Gateway()
    app = create_app(gateway)  # type: ignore[arg-type]
    length = b"" if drip == b"\r\n" else b"content-length: 100000\r\n"
    async with serving(app, gateway.settings) as port, connection(port) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + length + b"\r\n")
        assert (await answer(reader)).status == 200
        gone = asyncio.ensure_future(ended(reader))
        async with asyncio.timeout(20):
            while not gone.done():
                with contextlib.suppress(ConnectionError):
                    writer.write(drip)
                    await writer.drain()
                await asyncio.wait({gone}, timeout=0.02)
        assert await gone == b""


async def test_many_headers_are_refused() -> None:
    gateway = testing_only_Gateway()
    async with serving(create_app(gateway), gateway.settings) as port, connection(port) as (reader, writer):  # type: ignore[arg-type]
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 200 + b"\r\n")
        refused = await answer(reader)
    assert (refused.status, refused.code) == (431, "request.headers_too_large")
