"""``handrail mcp stdio``: real clients through it, and everything that a client or a gateway may do wrong."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client
from typer.testing import CliRunner

from gateway.cli import stdio_answers, stdio_bridge
from gateway.cli.main import app as root
from gateway.web.asgi import create_app
from tests.cli.stdio_support import JSON, STREAM, Asked, answer, answering, bridged, request, result
from tests.ports import free_port
from tests.until import until
from tests.web.conftest import serving
from tests.web.fake import action as an_action
from tests.web.fake import manifest, step, testing_only_Gateway, view

BRIDGE = [sys.executable, "-c", "from gateway.cli.main import run; run()", "mcp", "stdio"]
PIPES: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
DONE = view("done", step(result={"content": [{"type": "text", "text": "clean"}], "structured": {"n": 1}}))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "HANDRAIL_API_KEY": "hr_agent_key", "HANDRAIL_HOME": str(tmp_path)}


@asynccontextmanager
async def gateway_at_work() -> AsyncIterator[tuple[testing_only_Gateway, str]]:
    gateway = testing_only_Gateway()
    gateway.pipeline.answer = DONE
    async with serving(create_app(gateway), gateway.settings) as port:  # type: ignore[arg-type]
        yield gateway, f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])
async def test_the_sdks_client_of_stdio_has_the_tools_of_the_gateway_and_calls_them(
    environment: dict[str, str], mode: str
) -> None:
    async with gateway_at_work() as (gateway, url):
        server = StdioServerParameters(command=BRIDGE[0], args=[*BRIDGE[1:], "--url", url], env=environment)
        async with Client(stdio_client(server), mode=mode) as client:
            names = sorted(tool.name for tool in (await client.list_tools()).tools)
            called = await client.call_tool("git__status", {"n": 1})
    assert names == ["clock__now", "clock__set", "git__commit", "git__status"]
    assert (called.is_error, called.structured_content) == (False, {"n": 1})
    assert gateway.pipeline.submitted[0][0].caller.id == "agent"


async def test_one_hand_is_served_under_its_tools_own_names(environment: dict[str, str]) -> None:
    async with gateway_at_work() as (_, url):
        words = [*BRIDGE[1:], "--url", url, "--hand", "git"]
        server = StdioServerParameters(command=BRIDGE[0], args=words, env=environment)
        async with Client(stdio_client(server), mode="auto") as client:
            assert sorted(tool.name for tool in (await client.list_tools()).tools) == ["commit", "status"]


async def test_arguments_that_a_tool_wants_in_headers_are_put_there_also_where_nobody_listed_it() -> None:
    gateway = testing_only_Gateway()
    gateway.pipeline.answer = DONE
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    look = an_action("look")
    gateway.hands.manifests = [manifest("map", type(look)(look.name, look.description, schema))]
    async with (
        serving(create_app(gateway), gateway.settings) as port,  # type: ignore[arg-type]
        bridged(f"http://127.0.0.1:{port}/mcp", key="hr_agent_key") as talk,
    ):
        told = await talk.ask(request("tools/call", name="map__look", arguments={"region": "nord-süd"}))
    assert told["result"]["structuredContent"] == {"n": 1}


# --- how it begins and ends ------------------------------------------------------------------------------------------


def test_a_key_among_the_arguments_is_refused_and_not_repeated(tmp_path: Path) -> None:
    told = CliRunner().invoke(root, ["mcp", "stdio", "--api-key", "hr_secret"], env={"HANDRAIL_HOME": str(tmp_path)})
    assert told.exit_code == 2
    assert told.stdout == ""
    assert "HANDRAIL_API_KEY" in told.stderr
    assert "hr_secret" not in told.stderr


@pytest.mark.parametrize("words", [[], ["--hand", "a/b"], ["--url", "ftp://nowhere"]])
def test_wrong_use_is_said_on_standard_error_alone(tmp_path: Path, words: list[str]) -> None:
    key = {"HANDRAIL_API_KEY": "hr_agent_key" if words else ""}
    told = CliRunner().invoke(root, ["mcp", "stdio", *words], env={"HANDRAIL_HOME": str(tmp_path), **key})
    assert (told.exit_code, told.stdout) == (2, "")
    assert len(told.stderr.splitlines()) >= 1


async def test_it_ends_when_the_client_closes_its_side_and_the_answers_to_what_was_asked_still_come(
    environment: dict[str, str],
) -> None:
    async with gateway_at_work() as (_, url):
        process = await asyncio.create_subprocess_exec(*BRIDGE, "--url", url, env=environment, **PIPES)
        out, errors = await process.communicate(request("tools/list", "a") + request("ping", "b").rstrip(b"\n"))
    assert process.returncode == 0, errors
    assert errors == b""
    assert {json.loads(line)["id"] for line in out.splitlines()} == {"a", "b"}


async def test_it_ends_when_the_client_reads_no_more(environment: dict[str, str]) -> None:
    async with gateway_at_work() as (_, url):
        process = await asyncio.create_subprocess_exec(*BRIDGE, "--url", url, env=environment, **PIPES)
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        stdout._transport.close()  # type: ignore[attr-defined]
        stdin.write(request("tools/list"))
        assert await process.wait() == 1


async def test_the_session_is_ended_with_the_client() -> None:
    def respond(asked: Asked) -> bytes:
        if asked.method == "DELETE":
            return answer(b"", {})
        return opened(asked)

    async with answering(respond) as gateway, bridged(gateway.url) as talk:
        await talk.ask(INITIALIZE)
    assert [(one.method, one.headers.get("mcp-session-id")) for one in gateway.asked] == [
        ("POST", None),
        ("DELETE", "s-1"),
    ]


# --- lines -----------------------------------------------------------------------------------------------------------


async def test_a_character_that_arrives_in_two_pieces_is_one() -> None:
    whole = '{"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"word": "süd"}}\n'.encode()
    cut = whole.index("ü".encode()) + 1

    def respond(asked: Asked) -> bytes:
        return answer(result(heard=asked.message["params"]["word"]))

    async with answering(respond) as gateway, bridged(gateway.url) as talk:
        talk.send(whole[:cut])
        await asyncio.sleep(0)
        talk.send(whole[cut:])
        assert (await talk.read())["result"] == {"heard": "süd"}
    assert gateway.asked[0].body == whole.rstrip(b"\n")


WRONG = [
    (b"\xff\xfe\n", -32700),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "s\xc3\n', -32700),
    (b"no json\n", -32700),
    (b'{"id": NaN, "method": "ping"}\n', -32700),
    (b"[" * 100_000 + b"\n", -32700),
    (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]\n', -32600),
    (b'"ping"\n', -32600),
    (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}\n', -32600),
    (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}\n', -32600),
    (b"x" * 300_000 + b"\n", -32700),
]


@pytest.mark.parametrize(("raw", "code"), WRONG)
async def test_a_line_that_is_no_message_is_answered_and_the_next_one_served(raw: bytes, code: int) -> None:
    async with answering(lambda _: answer(result(2))) as gateway, bridged(gateway.url, max_bytes=200_000) as talk:
        wrong = await talk.ask(raw)
        assert (wrong["id"], wrong["error"]["code"]) == (None, code)
        assert await talk.ask(b"\r\n\n" + request("ping", 2)) == result(2)
    assert len(gateway.asked) == 1


async def test_more_requests_than_are_taken_at_once_are_refused_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio_bridge, "REQUESTS_MAX", 2)
    free = asyncio.Event()

    async def respond(asked: Asked) -> bytes:
        await free.wait()
        return answer(result(asked.message["id"]))

    async with answering(respond) as gateway, bridged(gateway.url) as talk:
        talk.send(request("a", 1) + request("b", 2) + request("c", 3))
        refused = await talk.read()
        assert (refused["id"], "nothing was sent" in refused["error"]["message"]) == (3, True)
        free.set()
        assert {(await talk.read())["id"], (await talk.read())["id"]} == {1, 2}


# --- what a gateway may answer ---------------------------------------------------------------------------------------

PROBLEM = {"type": "about:blank", "status": 401, "code": "auth.invalid", "detail": "The API key is not valid."}
BAD = [
    (answer(b"<html>", {"content-type": "text/html"}), "Is --url that of a Handrail gateway?"),
    (answer(b"<html>", JSON), "no message of MCP"),
    (answer(b'{"jsonrpc": "2.0", "id": 1, "result": {"n": NaN}}'), "no message of MCP"),
    (answer(b'{"jsonrpc": "2.0", "id": 1, "result": "\xff"}'), "no message of MCP"),
    (answer(b"[" * 1500), "no message of MCP"),
    (answer({"said": "hello"}), "Is --url that of a Handrail gateway?"),
    (answer(b"", {}, 202), "Is --url that of a Handrail gateway?"),
    (answer(b"", {}, 302, location="http://127.0.0.1:9/"), "Is --url that of a Handrail gateway?"),
    (answer(result(7)), "ended before an answer came"),
    (answer(b"data: {}\n\n", STREAM), "ended before an answer came"),
    (answer(b": ping\n\n", STREAM), "ended before an answer came"),
    (answer(b"data: nonsense\n\n", STREAM), "no message of MCP"),
    (answer(b"data: " + b"x" * 3000 + b"\n\n", STREAM), "broke"),
    (answer(result(1, text="x" * 3000)), "longer than 2000 bytes"),
    (answer(PROBLEM, {"content-type": "application/problem+json"}, 401), "auth.invalid: The API key is not valid."),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\ncontent-type: application/json\r\n\r\n{", "broke"),
    (b"nonsense\r\n\r\n", "no answer from"),
    (b"", "no answer from"),
]


@pytest.mark.parametrize(("raw", "words"), BAD)
async def test_whatever_the_gateway_answers_the_request_gets_one_error_and_the_next_one_is_served(
    monkeypatch: pytest.MonkeyPatch, raw: bytes, words: str
) -> None:
    for module in (stdio_bridge, stdio_answers):
        monkeypatch.setattr(module, "ANSWER_MAX_BYTES", 2000)

    def respond(asked: Asked) -> bytes:
        return raw if b"first" in asked.body else answer(result(2))

    async with answering(respond) as gateway, bridged(gateway.url) as talk:
        told = await talk.ask(request("first"))
        assert told["id"] == 1
        assert words in told["error"]["message"]
        assert await talk.ask(request("second", 2)) == result(2)
    assert len(gateway.asked) == 2
    assert any(words in line for line in talk.said) or "something else than was asked" in talk.said[0]


async def test_a_gateways_words_cannot_break_a_line_or_steer_a_terminal() -> None:
    spread = json.dumps(result(1, text="a\u2028b\u2029c\u0085d"), ensure_ascii=False, indent=1).encode()
    hostile = PROBLEM | {"detail": "\x1b[2J\u202e" + "long " * 1000}
    answers = [answer(spread), answer(hostile, {"content-type": "application/problem+json"}, 401)]
    async with answering(lambda _: answers.pop(0)) as gateway, bridged(gateway.url) as talk:
        talk.send(request("x"))
        raw = await talk.out.readline()
        assert len(raw.decode().splitlines()) == 1
        assert json.loads(raw)["result"] == {"text": "a\u2028b\u2029c\u0085d"}
        told = (await talk.ask(request("x")))["error"]["message"]
    assert "\x1b" not in told + talk.said[0]
    assert len(told) < 800


async def test_what_comes_before_the_answer_on_its_stream_is_passed_on_and_what_comes_after_is_not() -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
    asks = {"jsonrpc": "2.0", "id": 9, "method": "ping"}
    stream = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in (note, asks, result(), note))
    async with answering(lambda _: answer(stream, STREAM)) as gateway, bridged(gateway.url) as talk:
        assert [await talk.ask(request("x")), await talk.read(), await talk.read()] == [note, asks, result()]
        assert await talk.ask(request("x")) == note


async def test_an_error_that_the_gateway_could_not_address_reaches_who_asked() -> None:
    said = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "request.malformed: no"}}
    async with answering(lambda _: answer(said, status=400)) as gateway, bridged(gateway.url) as talk:
        assert await talk.ask(request("x", "q")) == said | {"id": "q"}


async def test_the_key_goes_to_the_gateway_and_not_where_it_points() -> None:
    async with answering(lambda _: answer(result())) as other:
        moved = answer(b"", {}, 307, location=other.url)
        async with answering(lambda _: moved) as gateway, bridged(gateway.url) as talk:
            assert "error" in await talk.ask(request("x"))
    assert gateway.asked[0].headers["authorization"] == "Bearer hr_key"
    assert other.asked == []


# --- a gateway that goes and comes back ------------------------------------------------------------------------------

INITIALIZE = request("initialize", "i", stateless=False, protocolVersion="2025-11-25")
READY = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'


def opened(asked: Asked, session: str = "s-1", version: str = "2025-11-25") -> bytes:
    return answer(result(asked.message["id"], protocolVersion=version), JSON | {"mcp-session-id": session})


async def test_a_session_that_the_gateway_forgot_is_opened_anew_once_for_all_who_ask() -> None:
    known = {"s-1"}

    async def respond(asked: Asked) -> bytes:
        if asked.method != "POST":
            return answer(b"", {}, 405)
        if asked.message["method"] == "initialize":
            return opened(asked, "s-1" if len(gateway.asked) == 1 else "s-2")
        if asked.headers["mcp-session-id"] not in known:
            return answer({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "?"}}, status=404)
        return answer(result(asked.message["id"])) if "id" in asked.message else answer(b"", {}, 202)

    async with answering(respond) as gateway, bridged(gateway.url) as talk:
        assert (await talk.ask(INITIALIZE))["id"] == "i"
        talk.send(READY)
        assert await talk.ask(request("x", 1, stateless=False)) == result(1)
        known.clear()
        known.add("s-2")
        talk.send(request("x", 2, stateless=False) + request("x", 3, stateless=False))
        assert {(await talk.read())["id"], (await talk.read())["id"]} == {2, 3}
    methods = [one.message["method"] for one in gateway.asked if one.method == "POST"]
    assert methods.count("initialize") == 2
    assert methods.count("notifications/initialized") == 2
    last = next(one for one in reversed(gateway.asked) if one.method == "POST")
    assert (last.headers["mcp-session-id"], last.headers["mcp-protocol-version"]) == ("s-2", "2025-11-25")


async def test_a_gateway_that_speaks_another_version_after_its_start_is_said_to_do_so() -> None:
    def respond(asked: Asked) -> bytes:
        if asked.method == "POST" and asked.message["method"] == "initialize":
            return opened(asked, version="2025-11-25" if len(gateway.asked) == 1 else "2025-06-18")
        return answer(b"", {}, 404)

    async with answering(respond) as gateway, bridged(gateway.url) as talk:
        await talk.ask(INITIALIZE)
        for number in (1, 2):
            told = await talk.ask(request("x", number, stateless=False))
            assert "error" in told


async def test_a_call_under_way_when_the_gateway_goes_is_answered_and_the_next_waits_for_the_new_one() -> None:
    arrived = asyncio.Event()

    async def never(_: Asked) -> bytes:
        arrived.set()
        await asyncio.Event().wait()
        return b""

    port = free_port()
    async with bridged(f"http://127.0.0.1:{port}/mcp") as talk:
        async with answering(never, port):
            talk.send(request("tools/call", name="t"))
            await arrived.wait()
            gone = asyncio.create_task(talk.read())
            for task in [one for one in asyncio.all_tasks() if one.get_coro().__qualname__ == "Gateway.serve"]:  # type: ignore[union-attr]
                task.cancel()
            told = await gone
        assert "not known whether the call was taken" in told["error"]["message"]
        talk.send(request("ping", 2))
        await until(lambda: any("trying again" in line for line in talk.said))
        async with answering(lambda _: answer(result(2)), port):
            assert await talk.read() == result(2)


async def test_where_no_gateway_is_the_answer_says_that_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio_bridge, "RECONNECT_SECONDS", 0.01)
    async with bridged(f"http://127.0.0.1:{free_port()}/mcp") as talk:
        told = await talk.ask(request("tools/call", name="t"))
    assert told["error"]["message"].endswith("Nothing was sent.")


async def test_a_gateway_that_falls_silent_does_not_hang_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio_bridge, "SILENCE_SECONDS", 0.05)

    async def never(_: Asked) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with answering(never) as gateway, bridged(gateway.url) as talk:
        assert "fell silent" in (await talk.ask(request("tools/call", name="t")))["error"]["message"]


# --- calling off -----------------------------------------------------------------------------------------------------


async def test_without_a_session_a_request_is_called_off_by_hanging_up() -> None:
    async def respond(asked: Asked) -> bytes:
        if asked.message["id"] == 1:
            await asyncio.Event().wait()
        return answer(result(2))

    async with answering(respond) as gateway, bridged(gateway.url) as talk:
        talk.send(request("tools/call", 1, name="t"))
        await until(lambda: gateway.asked)
        talk.send(b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}\n')
        await until(lambda: gateway.hung_up)
        assert await talk.ask(request("ping", 2)) == result(2), "nothing was answered to what was called off"


async def test_within_a_session_the_gateway_is_told() -> None:
    def respond(asked: Asked) -> bytes:
        return opened(asked) if asked.method == "POST" and "id" in asked.message else answer(b"", {}, 202)

    called_off = b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}\n'
    async with answering(respond) as gateway, bridged(gateway.url) as talk:
        await talk.ask(INITIALIZE)
        talk.send(called_off)
        await until(lambda: any(one.body == called_off.rstrip(b"\n") for one in gateway.asked))
    assert gateway.asked[1].headers["mcp-session-id"] == "s-1"


async def test_what_the_gateway_says_first_is_passed_on() -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    stream = b"data: " + json.dumps(note).encode() + b"\n\n"

    def respond(asked: Asked) -> bytes:
        if asked.method == "GET":
            return answer(stream, STREAM) if asked.headers["mcp-session-id"] == "s-1" else answer(b"", {}, 404)
        return opened(asked) if "id" in asked.message else answer(b"", {}, 202)

    async with answering(respond) as gateway, bridged(gateway.url) as talk:
        await talk.ask(INITIALIZE)
        assert await talk.ask(READY) == note
        assert await talk.read() == note, "a stream that ended is opened again"
