"""A stop: it is said first, nothing new is taken, what was taken ends, and a second signal does not wait."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from gateway.draining import Drain
from gateway.errors import Unavailable
from gateway.model import Role
from gateway.web.asgi import create_app
from gateway.web.server import uvicorn_config
from gateway.web.standing import Standing
from gateway.web.stopping import DrainingServer
from tests.limits.raw import HEALTH, answer, connection, ended
from tests.until import until
from tests.web.fake import PLAN_ID, testing_only_Gateway, token
from tests.web.rpc import JSON_RPC, rpc

AGENT = token(Role.AGENT)
JOSE = {**AGENT, "content-type": "application/jose"}


@dataclass
class Served:
    gateway: testing_only_Gateway
    app: Starlette
    server: DrainingServer
    task: "asyncio.Task[None]"
    port: int

    def signal(self) -> None:
        self.server.handle_exit(signal.SIGTERM, None)


@asynccontextmanager
async def served(**limits: Any) -> AsyncIterator[Served]:
    gateway = testing_only_Gateway(limits=limits)
    app = create_app(gateway)  # type: ignore[arg-type]
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = DrainingServer(uvicorn_config(app, gateway.settings), gateway)
    task = asyncio.create_task(server._serve(sockets=[listener]))
    try:
        yield Served(gateway, app, server, task, listener.getsockname()[1])
    finally:
        server.should_exit = server.force_exit = True
        server.handle_exit(signal.SIGTERM, None)
        if gateway.pipeline.slow is not None:
            gateway.pipeline.slow.set()
        await task
        listener.close()


def client(one: Served) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{one.port}", timeout=60)


async def test_what_is_under_way_ends_and_nothing_new_is_taken() -> None:
    async with served() as one, client(one) as http, client(one) as other:
        one.gateway.pipeline.slow = asyncio.Event()
        under_way = asyncio.create_task(http.post("/v1/plans", content=b"a", headers=JOSE))
        await until(lambda: len(one.gateway.pipeline.submitted) == 1)
        assert (await other.get("/readyz")).status_code == 200
        one.signal()
        await until(lambda: one.gateway.drain.begun)
        refused = await other.post("/v1/plans", content=b"b", headers=JOSE)
        assert (refused.status_code, refused.json()["code"]) == (503, "gateway.draining")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("2", "close")
        ready = await other.get("/readyz")
        assert (ready.status_code, ready.json()["notices"]) == (503, {"stop": "gateway.draining"})
        assert (await other.get("/healthz")).status_code == 200
        result = {"content": [], "structured": None, "is_error": False}
        dpop = {"authorization": "DPoP credential", "dpop": "proof"}
        assert (await other.post("/v1/steps/jti/result", json=result, headers=dpop)).status_code == 200
        assert not one.task.done()
        one.gateway.pipeline.slow.set()
        done = await under_way
        assert (done.status_code, done.headers["connection"]) == (200, "close")
        await asyncio.wait_for(asyncio.shield(one.task), 20)
        assert (len(one.gateway.pipeline.submitted), one.gateway.closed) == (1, 1)


async def test_plans_whose_requests_are_over_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as one:
        finished = asyncio.Event()
        monkeypatch.setattr(one.gateway, "finish", finished.wait)
        one.signal()
        await until(lambda: one.gateway.drain.begun)
        async with connection(one.port) as (reader, writer):
            writer.write(HEALTH)
            assert (await answer(reader)).status == 200, "it still listens"
        assert one.gateway.closed == 0
        finished.set()
        await asyncio.wait_for(asyncio.shield(one.task), 20)
        assert one.gateway.closed == 1


async def test_who_asks_during_a_stop_keeps_nothing_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that drips in needs no key: it must not hold up what ends runs and plans."""
    async with served(drain_seconds=3600) as one, client(one) as http:
        one.gateway.pipeline.slow = asyncio.Event()
        under_way = asyncio.create_task(http.post("/v1/plans", content=b"a", headers=JOSE))
        await until(lambda: len(one.gateway.pipeline.submitted) == 1)
        finished = asyncio.Event()

        async def finish() -> None:
            finished.set()

        monkeypatch.setattr(one.gateway, "finish", finish)
        one.signal()
        await until(lambda: one.gateway.drain.begun)
        dripping = asyncio.create_task(asyncio.Event().wait())
        one.server.server_state.tasks.add(dripping)
        one.gateway.pipeline.slow.set()
        assert (await under_way).status_code == 200
        try:
            await asyncio.wait_for(finished.wait(), 20)
        finally:
            dripping.cancel()


async def test_a_stop_is_noticed_before_anything_is_refused() -> None:
    async with served(drain_notice_seconds=300) as one, client(one) as http:
        one.signal()
        await until(lambda: one.gateway.drain.announced)
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.post("/v1/plans", content=b"a", headers=JOSE)).status_code == 200
        one.signal()
        await asyncio.wait_for(asyncio.shield(one.task), 20)


async def test_a_second_signal_does_not_wait() -> None:
    async with served(drain_seconds=3600) as one, connection(one.port) as (reader, writer):
        one.gateway.pipeline.slow = asyncio.Event()
        head = b"POST /v1/plans HTTP/1.1\r\nhost: x\r\ncontent-type: application/jose\r\n"
        writer.write(head + b"authorization: Bearer hr_agent_key\r\ncontent-length: 1\r\n\r\na")
        await until(lambda: len(one.gateway.pipeline.submitted) == 1)
        one.signal()
        await until(lambda: one.gateway.drain.begun)
        one.signal()
        await asyncio.wait_for(asyncio.shield(one.task), 20)
        del reader


async def test_what_does_not_end_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.web.server._SHUTDOWN_SECONDS", 0.05)
    async with served(drain_seconds=0.05) as one, connection(one.port) as (reader, writer):
        one.gateway.pipeline.slow = asyncio.Event()
        head = b"POST /v1/plans HTTP/1.1\r\nhost: x\r\ncontent-type: application/jose\r\n"
        writer.write(head + b"authorization: Bearer hr_agent_key\r\ncontent-length: 1\r\n\r\na")
        await until(lambda: len(one.gateway.pipeline.submitted) == 1)
        one.signal()
        await asyncio.wait_for(asyncio.shield(one.task), 20)
        assert one.gateway.closed == 1
        assert b"200 OK" not in await ended(reader)


async def test_a_stream_ends_whole_and_its_client_comes_back_with_its_last_event() -> None:
    async with served() as one, connection(one.port) as (reader, writer):
        one.gateway.pipeline.script, one.gateway.pipeline.holds = [(7, "step", {"id": "a"})], True
        writer.write(b"GET /v1/plans/%s/events HTTP/1.1\r\nhost: x\r\n" % PLAN_ID.encode())
        writer.write(b"authorization: Bearer hr_agent_key\r\n\r\n")
        async with asyncio.timeout(20):
            await reader.readuntil(b"event: step")
        one.signal()
        rest = await ended(reader)
        assert b"event: done" not in rest
        assert b"event: error" not in rest
        assert rest.endswith(b"0\r\n\r\n"), "the whole of a chunked body"
        await asyncio.wait_for(asyncio.shield(one.task), 20)
        assert one.app.state.streams.total == 0


async def test_a_sessions_own_stream_ends_whole() -> None:
    accept = {**AGENT, "accept": "application/json, text/event-stream"}
    asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    async with served() as one, client(one) as http, connection(one.port) as (reader, writer):
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked}
        opened = await http.post("/mcp", json=message, headers=accept)
        session = opened.headers["mcp-session-id"].encode()
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (
            await http.post("/mcp", json=ready, headers={**accept, "mcp-session-id": session.decode()})
        ).status_code == 202
        writer.write(b"GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nmcp-session-id: %s\r\n" % session)
        writer.write(b"authorization: Bearer hr_agent_key\r\naccept: text/event-stream\r\n\r\n")
        assert (await answer(reader)).status == 200
        one.signal()
        assert (await ended(reader)).endswith(b"0\r\n\r\n")
        await asyncio.wait_for(asyncio.shield(one.task), 20)


async def test_a_stream_of_changes_ends_with_its_result() -> None:
    """Of the stateless era, where a client listens by a request that stands open."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "0"},
    }
    wanted = {"_meta": meta, "notifications": {"toolsListChanged": True}}
    era = {"mcp-protocol-version": "2026-07-28", "mcp-method": "subscriptions/listen"}
    async with served() as one, client(one) as http:
        message = rpc("subscriptions/listen", wanted)
        async with http.stream("POST", "/mcp", content=message, headers=AGENT | JSON_RPC | era) as answered:
            assert answered.status_code == 200
            said = answered.aiter_text()
            while "notifications/subscriptions/acknowledged" not in (piece := await anext(said)):
                assert piece
            one.signal()
            assert '"result"' in "".join([piece async for piece in said])
        await asyncio.wait_for(asyncio.shield(one.task), 20)


async def test_a_standing_answer_that_has_not_begun_is_refused() -> None:
    drain = Drain()

    async def never(*_: Any) -> None:
        drain.begin()
        await asyncio.Event().wait()

    with pytest.raises(Unavailable, match="draining"):
        await Standing(never, drain)({}, None, None)  # type: ignore[arg-type]


def test_who_is_told_of_a_stop_is_told_once() -> None:
    drain, told = Drain(), []
    drain.on_begin(lambda: told.append(1))
    drain.begin()
    drain.begin()
    assert told == [1]
