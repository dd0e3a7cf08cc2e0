"""What adapters read of an answer that goes on: so much, no more, and never a part of what is no text."""

import gzip
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from gateway.calls import HandResult, Truncation
from gateway.reasons import Reason
from gateway.settings import HandSettings
from gateway.truncation import LOOK_AHEAD_BYTES
from hand_adapters.contract import HandError
from hand_adapters.http import HttpAdapter
from hand_adapters.mcp.channel import TRUNCATED_MAX_BYTES, answer_max_bytes
from tests.hands import mcp_http
from tests.hands.hands_support import call
from tests.hands.mcp_http import Server, answer, event, streaming

LIMIT = 1000
READ = LIMIT + LOOK_AHEAD_BYTES
Run = Callable[..., Awaitable[HandResult]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CUT = {"result_max_bytes": LIMIT, "truncates": True}


async def refused(awaitable: Awaitable[HandResult]) -> Reason:
    with pytest.raises(HandError) as caught:
        await awaitable
    return caught.value.reason


@pytest.fixture
async def served() -> AsyncIterator[Callable[[Handler], Awaitable[Run]]]:
    """``await served(handler)`` -> ``run(**call changes)`` of an HTTP hand in front of a server."""
    cleanup: list[Callable[[], Awaitable[None]]] = []

    async def make(handler: Handler) -> Run:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        cleanup.append(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        get = {"method": "GET", "path": "/x", "args_schema": {"type": "object"}}
        declared = HandSettings(
            adapter="http", base_url=f"http://127.0.0.1:{port}", private_network=True, actions={"get": get}
        )
        adapter = HttpAdapter("api", declared, None)
        cleanup.append(adapter.close)
        digest = (await adapter.manifest()).digest

        async def run(**changes: Any) -> HandResult:
            return await adapter.run(call("api", "get", {}, digest, **{**CUT, **changes}))

        return run

    yield make
    for close in reversed(cleanup):
        await close()


def sending(body: bytes, **more: Any) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=body, **{"content_type": "text/plain", **more})

    return handler


async def test_http_says_how_much_is_missing_where_the_server_said(served: Any) -> None:
    result = await (await served(sending(b"x" * 1_000_000)))()
    assert len(result.content[0]["text"]) == READ
    assert result.truncated == Truncation(1_000_000 - READ)
    assert not result.is_error


@pytest.mark.parametrize("size", [READ - 1, READ])
async def test_http_reads_on_to_where_it_looks_ahead_and_no_further(served: Any, size: int) -> None:
    result = await (await served(sending(b"x" * size)))()
    assert (len(result.content[0]["text"]), result.truncated) == (size, None)


@pytest.mark.parametrize("ahead", range(4))
async def test_http_ends_between_characters(served: Any, ahead: int) -> None:
    result = await (await served(sending(b"a" * ahead + "😀".encode() * 60_000)))()
    assert set(result.content[0]["text"]) <= {"a", "😀"}
    assert result.truncated is not None


async def test_http_reads_no_more_of_a_gibibyte_than_it_needs(served: Any) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        stream = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await stream.prepare(request)
        while sent < 2**30:
            await stream.write(b"x" * 65_536)
            sent += 65_536
        return stream

    run = await served(endless)
    tracemalloc.start()
    try:
        result = await run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(result.content[0]["text"]) == READ
    assert result.truncated == Truncation(None)
    assert peak < 8_000_000
    assert sent < 2**26, "the connection was closed"


async def test_http_inflates_no_more_than_it_needs(served: Any) -> None:
    packed = gzip.compress(b"A" * 65_000_000)
    run = await served(sending(packed, headers={"Content-Encoding": "gzip"}))
    tracemalloc.start()
    try:
        result = await run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(result.content[0]["text"]) == READ
    assert result.truncated == Truncation(None)
    assert peak < 8_000_000


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (b'{"a": "' + b"x" * READ + b'"}', {"content_type": "application/json"}),
        (b'{"a": "' + b"x" * READ + b'"}', {"content_type": "application/problem+json", "status": 500}),
        (b"\x00" * (READ + 1), {"content_type": "image/png"}),
        (b"\xff" * (READ + 1), {}),
        (b"x" * (READ + 1), {"charset": "utf-16"}),
    ],
    ids=["JSON", "an error in JSON", "an image", "no UTF-8", "another charset"],
)
async def test_http_cuts_nothing_but_text(served: Any, body: bytes, more: dict[str, Any]) -> None:
    assert await refused((await served(sending(body, **more)))()) == Reason.HAND_RESULT_TOO_LARGE


async def test_http_cuts_an_error_page_and_nothing_that_nobody_said_may_be(served: Any) -> None:
    result = await (await served(sending(b"x" * 100_000, status=500)))()
    assert (result.is_error, result.structured) == (True, {"status": 500})
    assert result.truncated == Truncation(100_000 - READ)
    fails = (await served(sending(b"x" * 100_000)))(truncates=False)
    assert await refused(fails) == Reason.HAND_RESULT_TOO_LARGE


@pytest.mark.parametrize(
    ("limit", "most"), [(64, 16_384), (1000, 16_384), (10_000, 80_000), (2**24, TRUNCATED_MAX_BYTES), (2**26, 2**26)]
)
def test_an_mcp_message_is_read_whole_up_to_a_bound(limit: int, most: int) -> None:
    asked = call("h", "echo", {}, "", result_max_bytes=limit, truncates=True)
    assert answer_max_bytes(asked) == most
    assert answer_max_bytes(call("h", "echo", {}, "", result_max_bytes=limit)) == limit


async def test_a_process_with_mcp_gives_its_long_text_whole(mcp_hand: Any) -> None:
    hand = await mcp_hand("huge")
    result = await hand.say(result_max_bytes=65_536, truncates=True)
    assert len(result.content[0]["text"]) == 200_000
    assert await refused(hand.say(result_max_bytes=20_000, truncates=True)) == Reason.HAND_RESULT_TOO_LARGE


async def giant_answer(server: Server, request: web.Request, message: Any) -> web.StreamResponse:
    return answer(message, {"content": [{"type": "text", "text": "x" * 200_000}]})


async def giant_event(server: Server, request: web.Request, message: Any) -> web.StreamResponse:
    stream = await streaming(request)
    body = {"resultType": "complete", "content": [{"type": "text", "text": "x" * 200_000}]}
    await stream.write(event({"jsonrpc": "2.0", "id": message["id"], "result": body}))
    return stream


@pytest.mark.parametrize("called", [giant_answer, giant_event])
async def test_mcp_over_http_gives_its_long_text_whole(called: Any) -> None:
    async with mcp_http.served(Server(called=called).handle) as url, mcp_http.hand(url) as hand:
        result = await hand.say(result_max_bytes=65_536, truncates=True)
        assert len(result.content[0]["text"]) == 200_000
        fails = hand.say(result_max_bytes=20_000, truncates=True)
        assert await refused(fails) == Reason.HAND_RESULT_TOO_LARGE


ACTION = {"args_schema": {"type": "object"}, "results": {"oversize": "truncate"}}
GET = {"method": "GET", "path": "/x", **ACTION}


@pytest.mark.parametrize(
    "settings",
    [
        {"adapter": "remote", "actions": {"a": ACTION}},
        {"adapter": "python", "python": {"source": "f.py"}, "actions": {"a": ACTION}},
        {"adapter": "wasm", "wasm": {"module": "m.wasm"}, "actions": {"a": ACTION}},
        {"adapter": "somebodys", "actions": {"a": ACTION}},
        {"adapter": "process", "actions": {"a": {**ACTION, "argv": ["ls"], "stdout": "json"}}},
        {"adapter": "process", "actions": {"a": {**ACTION, "argv": ["ls"], "output_files": {"f": {"name": "f"}}}}},
        {
            "adapter": "http",
            "base_url": "https://x.example",
            "actions": {"a": {**GET, "pagination": {"by": "link"}}},
        },
    ],
    ids=["remote", "python", "wasm", "a third party's", "process with JSON", "process with files", "pages"],
)
def test_who_cannot_truncate_may_not_be_told_to(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"actions\.a\.results"):
        HandSettings(**settings)


def test_who_can_may() -> None:
    HandSettings(adapter="http", base_url="https://x.example", actions={"a": GET})
    HandSettings(adapter="mcp", command=("server",), actions={"a": {"results": {"oversize": "truncate"}}})
    HandSettings(adapter="process", actions={"a": {**ACTION, "argv": ["ls"]}})
