"""A real server, and clients that do not play by the rules of HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette

from gateway.web import server as server_module
from gateway.web.asgi import create_app
from gateway.web.limits import HEADERS_MAX_BYTES
from tests.until import until
from tests.web.conftest import serving
from tests.web.fake import PLAN_ID, testing_only_Gateway

KEY = b"authorization: Bearer hr_agent_key\r\n"
POST = b"POST /v1/plans HTTP/1.1\r\nhost: x\r\ncontent-type: application/jose\r\n" + KEY
PATIENCE = 20


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes], bytes]:
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
    return int(lines[0].split(b" ")[1]), headers, body


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes; a reset is a close too."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


def small(**limits: Any) -> tuple[testing_only_Gateway, Starlette]:
    gateway = testing_only_Gateway(**limits)
    return gateway, create_app(gateway)  # type: ignore[arg-type]


async def test_a_body_that_never_comes_is_408_and_aggregated() -> None:
    gateway, app = small(body_timeout_seconds=0.05)
    async with serving(app, gateway.settings) as port, connection(port) as (reader, writer):
        writer.write(POST + b"content-length: 100\r\n\r\nabc")
        status, headers, body = await answer(reader)
        assert (status, orjson.loads(body)["code"]) == (408, "request.timeout")
        assert headers[b"connection"] == b"close"
        assert await ended(reader) == b""
    assert [entry.reasons for entry, _ in gateway.log.aggregated] == [("request.timeout",)]
    assert gateway.pipeline.submitted == []


async def test_a_body_that_drips_does_not_extend_its_time() -> None:
    gateway, app = small(body_timeout_seconds=0.2)
    async with serving(app, gateway.settings) as port, connection(port) as (reader, writer):
        writer.write(POST + b"content-length: 100000\r\n\r\n")

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x")
                    await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        status, _, _ = await answer(reader)
        dripping.cancel()
    assert status == 408


async def test_a_declared_length_over_the_limit_is_413_before_a_byte_of_it() -> None:
    gateway, app = small(body_max_bytes=1024)
    async with serving(app, gateway.settings) as port, connection(port) as (reader, writer):
        writer.write(POST + b"content-length: 1025\r\n\r\n")
        status, headers, body = await answer(reader)
    assert (status, orjson.loads(body)["code"]) == (413, "request.too_large")
    assert orjson.loads(body)["body_max_bytes"] == 1024
    assert headers[b"connection"] == b"close"


async def test_an_undeclared_length_is_counted_as_it_comes() -> None:
    gateway, app = small(body_max_bytes=1024)
    async with serving(app, gateway.settings) as port, connection(port) as (reader, writer):
        writer.write(POST + b"transfer-encoding: chunked\r\n\r\n" + b"200\r\n" + b"x" * 512 + b"\r\n")
        writer.write((b"200\r\n" + b"x" * 512 + b"\r\n") * 2)
        status, _, body = await answer(reader)
    assert (status, orjson.loads(body)["code"]) == (413, "request.too_large")
    assert gateway.pipeline.submitted == []


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    gateway, app = small(body_max_bytes=1024)
    async with serving(app, gateway.settings) as port, connection(port) as (reader, writer):
        writer.write(POST + b"content-length: 1024\r\n\r\n" + b"x" * 1024)
        assert (await answer(reader))[0] == 200
    assert len(gateway.pipeline.submitted[0][0].raw) == 1024


async def test_a_length_shorter_than_the_body_takes_only_what_was_declared(
    gateway: testing_only_Gateway, port: int
) -> None:
    async with connection(port) as (reader, writer):
        writer.write(POST + b"content-length: 3\r\n\r\nabc")
        assert (await answer(reader))[0] == 200
        writer.write(b"def\r\n\r\n")
        assert (await ended(reader)).startswith(b"HTTP/1.1 400")
    assert [plan.raw for plan, _ in gateway.pipeline.submitted] == [b"abc"]


@pytest.mark.parametrize(
    "length",
    [
        b"content-length: 3\r\ncontent-length: 4\r\n",
        b"content-length: -1\r\n",
        b"content-length: 3, 3\r\n",
        b"content-length: 0x10\r\n",
        b"content-length: 3\r\ntransfer-encoding: chunked\r\n",
    ],
)
async def test_lengths_that_two_servers_could_read_differently_are_refused(
    gateway: testing_only_Gateway, port: int, length: bytes
) -> None:
    async with connection(port) as (reader, writer):
        writer.write(POST + length + b"\r\nabc")
        assert (await ended(reader)).startswith(b"HTTP/1.1 400")
    assert gateway.pipeline.submitted == []


async def test_a_client_that_leaves_in_mid_body_submits_nothing(gateway: testing_only_Gateway, port: int) -> None:
    async with connection(port) as (reader, writer):
        writer.write(POST + b"content-length: 100\r\n\r\nabc")
        writer.write_eof()
        await ended(reader)
    async with connection(port) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await answer(reader))[0] == 200
    assert gateway.pipeline.submitted == []


async def test_a_whole_head_over_the_limit_is_431(port: int) -> None:
    async with connection(port) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * HEADERS_MAX_BYTES + b"\r\n\r\n")
        status, headers, body = await answer(reader)
    problem = orjson.loads(body)
    assert (status, problem["code"], problem["status"]) == (431, "request.headers_too_large", 431)
    assert problem["detail"] == "The request's target and headers, not its body, are larger than accepted."
    assert problem["headers_max_bytes"] == HEADERS_MAX_BYTES
    assert headers[b"content-type"] == b"application/problem+json"


async def test_many_small_headers_are_one_large_head(port: int) -> None:
    async with connection(port) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * HEADERS_MAX_BYTES + b"\r\n")
        assert (await answer(reader))[0] == 431


async def test_a_head_without_end_is_431_before_its_end(
    gateway: testing_only_Gateway, app: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEAD_TIMEOUT_SECONDS", 3600.0)
    async with serving(app, gateway.settings) as port, connection(port) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                writer.write(b"a" * 65_536)
                await writer.drain()
        got = await ended(reader)
    assert got == b"" or (got.startswith(b"HTTP/1.1 431") and b'"request.headers_too_large"' in got)


async def test_a_head_that_never_ends_is_hung_up_on(
    gateway: testing_only_Gateway, app: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEAD_TIMEOUT_SECONDS", 0.05)
    async with serving(app, gateway.settings) as port:
        for begun in (b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nhost: x\r\n"):
            async with connection(port) as (reader, writer):
                writer.write(begun)
                assert await ended(reader) == b""


async def test_a_second_head_that_never_ends_is_hung_up_on(
    gateway: testing_only_Gateway, app: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEAD_TIMEOUT_SECONDS", 0.2)
    async with serving(app, gateway.settings) as port, connection(port) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await answer(reader))[0] == 200
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        assert await ended(reader) == b""


async def test_large_pipelined_bodies_are_not_mistaken_for_heads(gateway: testing_only_Gateway, port: int) -> None:
    body = b"x" * (HEADERS_MAX_BYTES * 2)
    async with connection(port) as (reader, writer):
        for _ in range(3):
            writer.write(POST + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert [(await answer(reader))[0] for _ in range(3)] == [200, 200, 200]
    assert [len(plan.raw) for plan, _ in gateway.pipeline.submitted] == [len(body)] * 3


async def test_pipelined_requests_are_answered_in_order_each_as_its_own(port: int) -> None:
    get = b"GET %s HTTP/1.1\r\nhost: x\r\n%s\r\n"
    async with connection(port) as (reader, writer):
        writer.write(get % (b"/healthz", b"") + get % (b"/v1/me", KEY) + get % (b"/v1/me", b""))
        first, second, third = [await answer(reader) for _ in range(3)]
    assert (first[0], second[0], third[0]) == (200, 200, 401)
    assert orjson.loads(second[2])["id"] == "agent", "a key must not carry over to the next request"


async def test_a_body_that_goes_on_after_its_refusal_is_cut_off(port: int) -> None:
    async with connection(port) as (reader, writer):
        writer.write(b"POST /v1/plans HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        assert (await answer(reader))[0] == 401

        async def go_on() -> None:
            while True:
                writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                await writer.drain()

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(go_on(), PATIENCE)


async def test_connections_beyond_the_limit_get_503_and_the_others_go_on() -> None:
    gateway, app = small(limits={"connections_max": 4})
    async with serving(app, gateway.settings) as port:
        async with contextlib.AsyncExitStack() as stack:
            first = await stack.enter_async_context(connection(port))
            first[1].write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await answer(first[0]))[0] == 200
            for _ in range(8):
                await stack.enter_async_context(connection(port))
            late = await stack.enter_async_context(connection(port))
            late[1].write(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n")
            status, headers, body = await answer(late[0])
            assert (status, headers[b"retry-after"], orjson.loads(body)["code"]) == (503, b"1", "gateway.overloaded")
        async with connection(port) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await answer(reader))[0] in (200, 503)


async def test_the_server_does_not_name_itself(port: int) -> None:
    async with connection(port) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        _, headers, _ = await answer(reader)
    assert b"server" not in headers


async def test_a_follower_that_hangs_up_frees_everything(gateway: testing_only_Gateway, app: Starlette) -> None:
    gateway.pipeline.script = [(1, "step", {"id": "a"})]
    gateway.pipeline.holds = True
    async with serving(app, gateway.settings) as port:
        async with connection(port) as (reader, writer):
            writer.write(b"GET /v1/plans/%s/events HTTP/1.1\r\nhost: x\r\n" % PLAN_ID.encode() + KEY + b"\r\n")
            async with asyncio.timeout(PATIENCE):
                await reader.readuntil(b"event: step")
            assert (gateway.pipeline.following, app.state.streams.total) == (1, 1)
        await until(lambda: not app.state.streams.total and not gateway.pipeline.following)
    assert gateway.closed == 1


async def test_a_follower_that_does_not_read_is_not_remembered(gateway: testing_only_Gateway, app: Starlette) -> None:
    """The iterator is asked for one event at a time, so what piles up is the transport's bounded buffer."""
    gateway.pipeline.script = [(number, "step", {"text": "x" * 65_536}) for number in range(1, 2000)]
    async with serving(app, gateway.settings) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /v1/plans/%s/events HTTP/1.1\r\nhost: x\r\n" % PLAN_ID.encode() + KEY + b"\r\n")
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"retry")
            pulled = -1
            while pulled != gateway.pipeline.pulled:
                pulled = gateway.pipeline.pulled
                async with connection(port) as (other, asking):
                    asking.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                    await answer(other)
        assert gateway.pipeline.pulled < 1000
        writer.transport.abort()
