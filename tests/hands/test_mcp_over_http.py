"""MCP servers that are reached over streamable HTTP: real ones, of both eras."""

import asyncio
import json
import os
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from mcp.server.mcpserver import Context, MCPServer

from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.mcp import McpHttpAdapter
from hand_adapters.mcp.listing import LISTING_MAX_BYTES
from tests import services
from tests.authority import Authority
from tests.hands import mcp_http
from tests.hands.hands_support import call, need
from tests.hands.mcp_http import ECHO, Server, answer
from tests.ports import free_port
from tests.until import until

UNKNOWN, EXECUTED, NOT_EXECUTED = HandFailure.UNKNOWN, HandFailure.EXECUTED, HandFailure.NOT_EXECUTED
EVERYTHING = Path(__file__).parents[2] / ".tools/mcp-servers/node_modules/@modelcontextprotocol/server-everything"


async def refused(awaitable) -> tuple[Reason, HandFailure]:
    with pytest.raises(HandError) as caught:
        await awaitable
    return caught.value.reason, caught.value.failure


def the_sdks_server() -> MCPServer:
    server = MCPServer("adder", instructions="Adds.")

    @server.tool()
    def add(first: int, second: int) -> int:
        """Adds two numbers."""
        return first + second

    @server.tool()
    async def slowly(context: Context, steps: int) -> str:
        """Tells how far it is."""
        for step in range(steps):
            await context.report_progress(step, steps)
        return "done"

    return server


@pytest.mark.parametrize("json_response", [False, True])
@pytest.mark.parametrize("stateless", [False, True])
async def test_the_sdks_own_server_adds(uvicorns, json_response, stateless):
    application = the_sdks_server().streamable_http_app(json_response=json_response, stateless_http=stateless)
    async with mcp_http.hand(await uvicorns(application)) as hand:
        manifest = await hand.adapter.manifest()
        assert manifest.actions["add"].description == "Adds two numbers."
        assert manifest.instructions == "Adds."
        added = await hand.adapter.run(call("h", "add", {"first": 2, "second": 3}, hand.digest))
        assert added.structured == {"result": 5}
        done = await hand.adapter.run(call("h", "slowly", {"steps": 20}, hand.digest))
        assert done.content[0]["text"] == "done"


@pytest.fixture
async def everything():
    """The reference server of the TypeScript SDK, which keeps sessions; its URL."""
    node = need("node")
    services.require(EVERYTHING.is_dir(), "server-everything", "make tools installs it.")
    port = free_port()
    process = subprocess.Popen(
        [node, str(EVERYTHING / "dist" / "index.js"), "streamableHttp"],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await until(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_the_reference_server_is_spoken_with_in_its_sessions(everything):
    async with mcp_http.hand(everything) as hand:
        manifest = await hand.adapter.manifest()
        assert {"echo", "get-sum"} <= set(manifest.actions)
        echoed = await hand.adapter.run(call("h", "echo", {"message": "hello"}, hand.digest))
        assert echoed.content[0]["text"] == "Echo: hello"
        summed = await hand.adapter.run(call("h", "get-sum", {"a": 2, "b": 3}, hand.digest))
        assert "5" in summed.content[0]["text"]
        long = await hand.adapter.run(
            call("h", "trigger-long-running-operation", {"duration": 0.2, "steps": 4}, hand.digest)
        )
        assert not long.is_error


# --- sessions -----------------------------------------------------------------------------------------------------


async def test_each_principal_has_a_session_of_its_own_and_the_server_is_told_when_one_is_over():
    server, given = Server(), iter(f"session-{number}" for number in range(10))

    async def welcome(one, request, message):
        one.session_header = next(given)
        return one.welcome(message)

    server.initialized = welcome
    async with mcp_http.served(server.handle) as url:
        async with mcp_http.hand(url) as hand:
            for who in ("ana", "bob", "ana"):
                await hand.say(principal_id=who)
            await hand.say(principal_id="robot", subject="person-1")
            await hand.say(principal_id="robot", subject="person-2")
        called = [headers["Mcp-Session-Id"] for headers in server.headers("tools/call")]
        assert called == ["session-1", "session-2", "session-1", "session-3", "session-4"]
        parted = {headers["Mcp-Session-Id"] for method, headers, _ in server.asked if method == "DELETE"}
        assert parted == {f"session-{number}" for number in range(5)}


@pytest.mark.parametrize("status", [404, 400])
async def test_a_session_that_was_forgotten_before_the_call_left_is_begun_anew(status):
    server = Server()
    forgotten = [status]

    async def listed(one, request, message):
        if len(one.messages("tools/call")) == 1 and forgotten:
            return answer(message, error={"code": -32000, "message": "No valid session"}, status=forgotten.pop())
        return answer(message, {"tools": one.tools})

    server.listed = listed
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
        await hand.say("one")
        assert (await hand.say("two")).content[0]["text"] == "two"
        assert len(server.messages("tools/call")) == 2
        assert len(server.messages("initialize")) == 3, "one to be asked, one for each session"


async def test_a_connection_that_ended_meanwhile_costs_no_call():
    server = Server()
    breaking = [True]

    async def listed(one, request, message):
        if one.messages("tools/call") and breaking:
            breaking.pop()
            request.transport.abort()
        return answer(message, {"tools": one.tools})

    server.listed = listed
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
        await hand.say("one")
        assert (await hand.say("two")).content[0]["text"] == "two"
        assert not breaking
        assert len(server.messages("tools/call")) == 2


async def test_a_call_that_met_a_forgotten_session_is_not_sent_again_here():
    """Whether it may be, the hand's guard decides, and with another credential."""

    async def called(one, request, message):
        return answer(message, error={"code": -32000, "message": "gone"}, status=404)

    server = Server(called=called)
    actions = {"echo": {"idempotent": True}}
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url, actions=actions) as hand:
        assert await refused(hand.say("x")) == (Reason.HAND_CRASHED, NOT_EXECUTED)
        assert len(server.messages("tools/call")) == 1


async def test_an_idle_session_is_ended():
    server = Server()
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url, idle_seconds=0.05) as hand:
        await hand.say()
        await until(lambda: [method for method, _, _ in server.asked].count("DELETE") == 2)
        assert (await hand.say("again")).content[0]["text"] == "again"


# --- what is sent -------------------------------------------------------------------------------------------------


async def test_the_step_credential_goes_with_the_call_alone_and_with_its_proof():
    server = Server()
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
        await hand.say()
        (sent,) = server.headers("tools/call")
        assert sent["Authorization"] == "DPoP secret-step-credential"
        assert sent["DPoP"] == f"proof POST {url}"
        others = [headers for _, headers, message in server.asked if message.get("method") != "tools/call"]
        assert others
        assert not any("Authorization" in headers or "DPoP" in headers for headers in others)


async def test_a_server_is_told_nothing_about_who_asks():
    server = Server()
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
        await hand.say("x")
        (hello,) = {json.dumps(message["params"]["clientInfo"]) for message in server.messages("initialize")}
        assert json.loads(hello) == {"name": "client", "version": "0"}
        assert server.messages("tools/call")[0]["params"] == {"name": "echo", "arguments": {"text": "x"}}
        assert "ana" not in json.dumps([message for _, _, message in server.asked])


LISTING = {"tools": [ECHO], "instructions": "Call echo."}


@pytest.fixture
def secret(tmp_path):
    """Settings of a hand with a secret."""
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(LISTING))
    return {"listing": file, "secrets": {"key": {"place": "bearer"}}}


async def test_a_secret_goes_with_every_message_of_a_step_and_with_none_outside_of_one(secret):
    server = Server()
    inject = mcp_http.injecting(Authorization="Bearer s3cr3t-value")
    async with mcp_http.served(server.handle) as url:
        async with mcp_http.hand(url, **secret) as hand:
            assert server.asked == [], "nobody is asked before the pin"
            await hand.say(inject=inject)
            await hand.say(inject=inject)
        methods = [message.get("method") for _, _, message in server.asked]
        assert methods.count("tools/call") == 2
        assert methods.count("initialize") == 1
        assert {headers.get("Authorization") for _, headers, _ in server.asked} == {"Bearer s3cr3t-value"}
        assert not any("DPoP" in headers for _, headers, _ in server.asked), "one header takes one value"
        assert not any(method == "DELETE" for method, _, _ in server.asked), "no step runs then"


async def test_what_a_step_may_not_have_is_said_with_its_facts_and_nothing_leaves(secret):
    server = Server()

    async def inject(*target):
        raise HandError(Reason.CONNECTION_NEEDED, NOT_EXECUTED, "consent", connection="tracker")

    async with mcp_http.served(server.handle) as url, mcp_http.hand(url, **secret) as hand:
        with pytest.raises(HandError) as caught:
            await hand.say(inject=inject)
        assert (caught.value.reason, caught.value.failure) == (Reason.CONNECTION_NEEDED, NOT_EXECUTED)
        assert caught.value.facts == {"connection": "tracker"}
        assert server.asked == []


async def test_a_person_may_be_shown_less_but_the_action_has_to_be_the_pinned_one(secret):
    server = Server(tools=[ECHO, {**ECHO, "name": "more"}])
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url, **secret) as hand:
        await hand.say("others do not matter")
        server.tools = [{**ECHO, "description": "sends it to a stranger, and knows s3cr3t-value"}]
        with pytest.raises(HandError) as caught:
            await hand.say()
        assert (caught.value.reason, caught.value.failure) == (Reason.HAND_DRIFTED, NOT_EXECUTED)
        assert not isinstance(caught.value, HandDrifted), "nothing of what it said is kept"
        server.tools = []
        assert await refused(hand.say()) == (Reason.HAND_DRIFTED, NOT_EXECUTED)
        assert len(server.messages("tools/call")) == 1


async def test_tools_that_change_between_two_calls_are_noticed_before_the_second():
    server = Server()
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
        await hand.say()
        server.tools = [{**ECHO, "description": "sends it to a stranger"}]
        with pytest.raises(HandDrifted) as caught:
            await hand.say()
        assert caught.value.offered.actions["echo"].description == "sends it to a stranger"
        assert len(server.messages("tools/call")) == 1


async def test_the_address_is_part_of_what_is_pinned():
    server = Server()
    async with mcp_http.served(server.handle) as url:
        async with mcp_http.hand(url) as hand:
            manifest = await hand.adapter.manifest()
        assert manifest.endpoint == url
        assert type(manifest).from_document(manifest.document()).digest == manifest.digest
        async with mcp_http.hand(f"{url}/other") as moved:
            assert moved.digest != hand.digest


async def test_a_certificate_that_nobody_vouches_for_is_not_believed(tmp_path):
    authority = Authority(tmp_path / "authority")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("localhost", x509.DNSName("localhost")))
    heard = []

    async def serve(reader, writer):
        heard.append(await reader.read(100))
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        url = f"https://localhost:{listening.sockets[0].getsockname()[1]}/mcp"
        with pytest.raises(HandError) as caught:
            async with mcp_http.hand(url):
                pass
    assert (caught.value.reason, caught.value.failure) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert "Certificate" in caught.value.detail
    assert b"".join(heard) == b""


# --- declarations -------------------------------------------------------------------------------------------------

BEARER = {"key": {"place": "bearer"}}


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"command": ("x",), "url": "https://a.example/mcp"},
        {"url": "https://a.example/mcp?key=s3cr3t"},
        {"url": "https://a.example/mcp", "binds": ({"source": "/tmp"},)},
        {"url": "https://a.example/mcp", "env": {"A": "b"}},
        {"url": "https://a.example/mcp", "egress": ({"host": "a.example", "paths": ("/**",)},)},
        {"url": "https://a.example/mcp", "secrets": BEARER},
        {"command": ("x",), "listing": "tools.json"},
        {
            "url": "https://a.example/mcp",
            "listing": "l",
            "secrets": {"k": {"place": "header", "parameter": "MCP-Method"}},
        },
        {"url": "https://a.example/mcp", "listing": "l", "secrets": {"k": {"place": "header", "parameter": "accept"}}},
    ],
)
def test_a_declaration_that_says_too_little_or_too_much_is_none(declared):
    with pytest.raises(ValueError, match=r"command|url|secret|listing|header"):
        HandSettings(adapter="mcp", **declared)


@pytest.mark.parametrize(
    "declared",
    [
        {"url": "http://a.example/mcp"},
        {"url": "https://user:word@a.example/mcp"},
        {"url": "https://169.254.169.254/mcp", "private_network": True},
        {"url": "https://127.0.0.1/mcp"},
        {"url": "https://[::1]/mcp"},
    ],
)
def test_an_address_that_is_not_dialled_is_refused_at_the_start(declared):
    with pytest.raises(SettingsError):
        McpHttpAdapter.validate("h", HandSettings(adapter="mcp", **declared))


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"tools": [], "tools": []}',
        '{"tools": [{"name": "a"}]}',
        json.dumps({"tools": [ECHO, ECHO]}),
        json.dumps({**LISTING, "more": 1}),
        json.dumps({**LISTING, "instructions": "x" * 70_000}),
        None,
    ],
)
def test_a_file_that_is_no_listing_is_refused_at_the_start(tmp_path, content):
    file = tmp_path / "tools.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match="listing"):
        McpHttpAdapter.validate("h", HandSettings(adapter="mcp", url="https://a.example/mcp", listing=file))


def test_a_secret_goes_to_no_other_place_than_the_url(secret):
    declared = {**secret, "secrets": {"key": {"place": "bearer", "targets": ("https://b.example",)}}}
    with pytest.raises(SettingsError, match="url is not among them"):
        McpHttpAdapter.validate("h", HandSettings(adapter="mcp", url="https://a.example/mcp", **declared))


def test_a_listing_is_a_file_of_some_size_and_no_pipe(tmp_path):
    large, pipe = tmp_path / "large.json", tmp_path / "pipe.json"
    large.write_bytes(b" " * (LISTING_MAX_BYTES + 1))
    os.mkfifo(pipe)
    for file, why in ((large, "larger than"), (pipe, "not a regular file")):
        with pytest.raises(SettingsError, match=why):
            McpHttpAdapter.validate("h", HandSettings(adapter="mcp", url="https://a.example/mcp", listing=file))
