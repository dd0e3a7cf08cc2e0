"""The http adapter against a real server that misbehaves, and against names and addresses it must not follow."""

import asyncio
import gzip
import socket
import tracemalloc
import zlib
from types import SimpleNamespace

import pytest
from aiohttp import web

from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.http import HttpAdapter
from tests.hands.hands_support import call

UNKNOWN, EXECUTED, NOT_EXECUTED = HandFailure.UNKNOWN, HandFailure.EXECUTED, HandFailure.NOT_EXECUTED
ANY = {"type": "object", "additionalProperties": True}
ITEM = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"], "additionalProperties": True}


def settings(url: str, **more) -> HandSettings:
    actions = {
        "get": {"method": "GET", "path": "/anything", "args_schema": ANY},
        "item": {"method": "GET", "path": "/items/{id}/x", "args_schema": ITEM},
        "put": {"method": "PUT", "path": "/items/{id}", "args_schema": ITEM},
        "post": {"method": "POST", "path": "/anything", "args_schema": ANY},
        "delete": {"method": "DELETE", "path": "/anything", "args_schema": ANY},
        "head": {"method": "HEAD", "path": "/anything", "args_schema": ANY},
    }
    return HandSettings(adapter="http", base_url=url, **{"private_network": True, "actions": actions, **more})


async def refused(awaitable) -> tuple[Reason, HandFailure]:
    with pytest.raises(HandError) as caught:
        await awaitable
    return caught.value.reason, caught.value.failure


@pytest.fixture
async def served():
    """``await served(handler)`` -> ``run(action, args, **call changes)`` over a real aiohttp server."""
    cleanup = []

    async def make(handler, **more):
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application, auto_decompress=False)
        await runner.setup()
        cleanup.append(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        adapter = HttpAdapter("api", settings(f"http://127.0.0.1:{port}/v1", **more), None)
        cleanup.append(adapter.close)
        digest = (await adapter.manifest()).digest

        async def run(action="get", args=None, **changes):
            return await adapter.run(call("api", action, args or {}, digest, **changes))

        return run

    yield make
    for close in reversed(cleanup):
        await close()


@pytest.fixture
async def raw():
    """``await raw(bytes)`` -> a server that reads one request and sends exactly these bytes, then closes."""
    cleanup = []

    async def make(script):
        state = SimpleNamespace(requests=0, connections=0)

        async def answer(reader, writer):
            state.connections += 1
            try:
                while await reader.readuntil(b"\r\n\r\n"):
                    state.requests += 1
                    await script(writer, state.requests)
                    if writer.is_closing():
                        return
            except (asyncio.IncompleteReadError, OSError):
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        adapter = HttpAdapter("api", settings(f"http://127.0.0.1:{port}"), None)
        digest = (await adapter.manifest()).digest

        async def close():
            await adapter.close()
            server.close()
            await server.wait_closed()

        cleanup.append(close)

        async def run(action="get", args=None, **changes):
            return await adapter.run(call("api", action, args or {}, digest, **changes))

        return run, state

    yield make
    for close in cleanup:
        await close()


async def echo(request: web.Request) -> web.Response:
    body = (await request.read()).decode()
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path,
            "body": body,
            "type": request.headers.get("Content-Type"),
            "authorization": request.headers.get("Authorization"),
            "proof": request.headers.get("DPoP"),
            "encoding": request.headers.get("Accept-Encoding"),
            "cookie": request.headers.get("Cookie"),
        },
        headers={"Set-Cookie": "track=1"},
    )


@pytest.mark.parametrize("name", ["_method", "_METHOD", "_method[]", "X-HTTP-Method-Override"])
@pytest.mark.parametrize("action", ["get", "item", "put", "post", "delete"])
async def test_no_argument_that_nobody_declared_tells_a_server_another_method(served, action, name):
    """Servers that obey such a name (Rack, Laravel, Symfony, Express) would do what no rule judged."""
    run = await served(echo)
    args = {"id": "1", name: "DELETE"}
    assert await refused(run(action, args)) == (Reason.SCHEMA_ARGS, NOT_EXECUTED)


@pytest.mark.parametrize(
    ("action", "args", "pointer", "why"),
    [
        ("item", {"id": "a/b"}, "/id", "A value that is no single path segment."),
        ("item", {"id": "1", "secret": {"a": 1}}, "/*", "A value that is no scalar."),
        ("post", {"_method": "DELETE"}, "/*", "An argument that says another method."),
    ],
)
async def test_a_value_that_does_not_fit_is_said_to_be_where_it_is_and_not_what_it_is(
    served, action, args, pointer, why
):
    run = await served(echo)
    with pytest.raises(HandError) as refusal:
        await run(action, args)
    assert refusal.value.facts == {"pointer": pointer, "why": why}


async def test_an_operator_may_declare_such_an_argument(served):
    schema = {"type": "object", "properties": {"_method": {"const": "PATCH"}}}
    run = await served(echo, actions={"post": {"method": "POST", "path": "/anything", "args_schema": schema}})
    assert (await run("post", {"_method": "PATCH"})).structured["body"] == '{"_method":"PATCH"}'


async def test_arguments_go_where_the_template_says(served):
    run = await served(echo)
    got = (
        await run("item", {"id": "a b", "q": "x&y=1", "n": 2, "flag": True, "many": ["1", "2"], "none": None})
    ).structured
    assert got["path"] == "/v1/items/a%20b/x?flag=true&many=1&many=2&n=2&q=x%26y%3D1"
    assert (got["method"], got["body"], got["type"]) == ("GET", "", None)
    put = (await run("put", {"id": "7", "text": "é", "n": 1})).structured
    assert (put["method"], put["path"], put["body"]) == ("PUT", "/v1/items/7", '{"n":1,"text":"é"}')
    post = (await run("post", {"b": 2, "a": 1})).structured
    assert (post["body"], post["type"]) == ('{"a":1,"b":2}', "application/json")
    assert post["authorization"] == "DPoP secret-step-credential"
    assert post["proof"].startswith("proof POST http://127.0.0.1:")
    assert put["proof"].endswith("/v1/items/7")


async def test_cookies_are_not_kept_and_nothing_compressed_is_asked_for(served):
    run = await served(echo)
    await run()
    got = (await run()).structured
    assert (got["cookie"], got["encoding"]) == (None, "identity")


@pytest.mark.parametrize("value", ["..", ".", "", "a/b", "../admin", "a\\b", "..%2f/", "\n", "\x00", "/"])
async def test_a_path_argument_cannot_leave_its_segment(served, value):
    run = await served(echo)
    assert await refused(run("item", {"id": value})) == (Reason.SCHEMA_ARGS, NOT_EXECUTED)


@pytest.mark.parametrize("value", ["..%2f", "%2e%2e", "a?b=c", "a#b", "a;b", "é", "{id}", "...x"])
async def test_a_path_argument_arrives_as_one_segment(served, value):
    run = await served(echo)
    got = (await run("item", {"id": value})).structured["path"]
    assert got.count("/") == 4
    assert "?" not in got
    assert "#" not in got


async def test_a_query_argument_that_is_an_object_is_refused(served):
    run = await served(echo)
    assert await refused(run("get", {"filter": {"a": 1}})) == (Reason.SCHEMA_ARGS, NOT_EXECUTED)


async def test_answers_become_content_by_their_type(served):
    async def handler(request):
        match request.query["kind"]:
            case "json":
                return web.json_response({"a": [1]})
            case "text":
                return web.Response(text="hé", content_type="text/plain")
            case "binary":
                return web.Response(body=b"\xff\x00", content_type="image/png")
            case "liar":
                return web.Response(body=b"\xff", content_type="text/plain")
            case _:
                return web.Response(status=204)

    run = await served(handler)
    got = await run("get", {"kind": "json"})
    assert (got.structured, got.content) == ({"a": [1]}, ({"type": "text", "text": '{"a": [1]}'},))
    got = await run("get", {"kind": "text"})
    assert (got.structured, got.content) == (None, ({"type": "text", "text": "hé"},))
    got = await run("get", {"kind": "binary"})
    assert got.content[0]["resource"] == {"uri": "urn:handrail:body", "mimeType": "image/png", "blob": "/wA="}
    got = await run("get", {"kind": "liar"})
    assert got.content[0]["resource"]["blob"] == "/w=="
    got = await run("get", {"kind": "none"})
    assert (got.structured, got.content, got.is_error) == (None, (), False)
    assert (await run("head", {"kind": "json"})).content == ()


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
async def test_a_status_that_is_no_success_is_an_error_result(served, status):
    async def handler(request):
        return web.Response(status=status, text="why", headers={"Location": "http://127.0.0.1:1/"})

    got = await (await served(handler))()
    assert (got.is_error, got.structured, got.content[0]["text"]) == (True, {"status": status}, "why")


@pytest.mark.parametrize("status", [502, 504])
async def test_a_proxy_that_lost_its_upstream_leaves_the_step_ambiguous(served, status):
    async def handler(request):
        return web.Response(status=status)

    assert await refused((await served(handler))()) == (Reason.HAND_LOST_REPLY, UNKNOWN)


async def test_a_redirect_to_the_metadata_service_is_not_followed(served):
    seen = []

    async def handler(request):
        seen.append(request.path)
        raise web.HTTPFound("http://169.254.169.254/latest/meta-data/")

    got = await (await served(handler))()
    assert got.structured == {"status": 302}
    assert "meta-data" not in str(got.content)
    assert seen == ["/v1/anything"]


async def test_strict_json_only(served):
    async def handler(request):
        return web.Response(body=b'{"a":1,"a":2}', content_type="application/json")

    assert await refused((await served(handler))()) == (Reason.HAND_PROTOCOL, EXECUTED)


async def test_an_answer_over_the_limit_is_cut_off_whether_it_says_so_or_not(served):
    sent = []

    async def honest(request):
        return web.Response(body=b"x" * 5000)

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
                sent.append(1)
        except OSError:
            pass
        return response

    run = await served(honest)
    assert await refused(run(result_max_bytes=4999)) == (Reason.HAND_RESULT_TOO_LARGE, EXECUTED)
    assert len((await run(result_max_bytes=5000)).content[0]["resource"]["blob"]) > 5000
    assert await refused((await served(endless))(result_max_bytes=100_000)) == (Reason.HAND_RESULT_TOO_LARGE, EXECUTED)
    assert sum(sent) < 1000


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_decompression_bomb_is_bounded_while_it_inflates(served, coding):
    packed = gzip.compress(b"\0" * 50_000_000) if coding == "gzip" else zlib.compress(b"\0" * 50_000_000)

    async def handler(request):
        return web.Response(body=packed, headers={"Content-Encoding": coding})

    run = await served(handler)
    assert len(packed) < 60_000
    tracemalloc.start()
    try:
        assert await refused(run(result_max_bytes=1_000_000)) == (Reason.HAND_RESULT_TOO_LARGE, EXECUTED)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000


async def test_an_honest_compressed_answer_is_read(served):
    async def handler(request):
        return web.Response(
            body=gzip.compress(b'{"a":1}'), headers={"Content-Encoding": "gzip"}, content_type="application/json"
        )

    assert (await (await served(handler))()).structured == {"a": 1}


@pytest.mark.parametrize(
    ("coding", "body"), [("br", b"x"), ("gzip", b"no gzip"), ("gzip", gzip.compress(b"{}" * 99, mtime=0)[:-9])]
)
async def test_a_content_coding_that_is_none_is_refused(served, coding, body):
    async def handler(request):
        return web.Response(body=body, headers={"Content-Encoding": coding})

    assert await refused((await served(handler))()) == (Reason.HAND_PROTOCOL, EXECUTED)


async def test_a_slow_answer_ends_at_the_deadline(served):
    release = asyncio.Event()

    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a")
        await release.wait()
        return response

    run = await served(handler)
    assert await refused(run(deadline_seconds=0.2)) == (Reason.HAND_TIMEOUT, UNKNOWN)
    release.set()


@pytest.mark.parametrize("action", ["get", "post", "put", "delete"])
async def test_a_connection_reset_after_the_request_is_ambiguous_and_never_retried(raw, action):
    async def script(writer, count):
        if count == 1:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        else:
            writer.transport.abort()

    run, state = await raw(script)
    args = {"id": "1"} if action == "put" else {}
    await run("get")
    assert await refused(run(action, args)) == (Reason.HAND_LOST_REPLY, UNKNOWN)
    assert (state.requests, state.connections) == (2, 1), "the kept connection was used, and nothing was sent again"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\ngarbage\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n",
        b"",
    ],
)
async def test_an_answer_that_is_no_http_is_ambiguous(raw, answer):
    async def script(writer, count):
        writer.write(answer)
        await writer.drain()
        writer.close()

    run, _ = await raw(script)
    assert await refused(run()) == (Reason.HAND_LOST_REPLY, UNKNOWN)


async def test_a_closed_port_was_not_executed():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        adapter = HttpAdapter("api", settings(f"http://127.0.0.1:{taken.getsockname()[1]}"), None)
        digest = (await adapter.manifest()).digest
        assert await refused(adapter.run(call("api", "get", {}, digest))) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
        await adapter.close()


@pytest.fixture
async def listener():
    """A port of this machine that only counts who connects."""
    state = SimpleNamespace(connections=0, port=0)

    async def count(reader, writer):
        state.connections += 1
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    yield state
    server.close()
    await server.wait_closed()


async def _dial(url: str, **more) -> tuple[Reason, HandFailure]:
    adapter = HttpAdapter("api", settings(url, **more), None)
    outcome = await refused(adapter.run(call("api", "get", {}, (await adapter.manifest()).digest)))
    await adapter.close()
    return outcome


async def test_a_name_that_resolves_to_this_machine_is_not_dialled(listener):
    url = f"https://localhost:{listener.port}"
    assert await _dial(url, private_network=False) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert listener.connections == 0
    assert await _dial(url, private_network=True) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert listener.connections == 1, "the control: with the operator's word it is dialled (and speaks no TLS)"


async def test_a_name_whose_answer_changes_after_it_was_judged_is_judged_where_it_is_dialled(listener, monkeypatch):
    async def lie(self, host, port=0, family=socket.AF_INET):
        found = {"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
        return [found]

    monkeypatch.setattr("hand_adapters.dialer._Resolver.resolve", lie)
    url = f"https://rebound.test:{listener.port}"
    assert await _dial(url, private_network=False) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert listener.connections == 0


async def test_proxy_variables_are_not_obeyed(served, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert (await (await served(echo))()).structured["method"] == "GET"


async def test_another_manifest_than_the_pinned_one_is_not_called(served):
    run = await served(echo)
    with pytest.raises(HandDrifted):
        await run("get", {}, manifest_digest="0" * 64)


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("http://api.example.com", {"private_network": False}),
        ("https://user:secret@api.example.com", {}),
        ("https://api.example.com/?a=1", {}),
        ("https://169.254.169.254", {}),
        ("https://127.0.0.1", {"private_network": False}),
        ("https://[::1]", {"private_network": False}),
        ("https://2130706433", {"private_network": False}),
        ("https://", {}),
    ],
)
def test_a_base_url_that_is_unsafe_is_refused_at_start(url, more):
    with pytest.raises(SettingsError):
        HttpAdapter.validate("api", settings(url, **more))


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/x/{id}"},
        {"path": "/x/{id}", "args_schema": {"properties": {"id": {"type": "string"}}}},
        {"path": "/x/{id}", "args_schema": {"properties": {"id": {"type": "object"}}, "required": ["id"]}},
        {"path": "/x?a=1"},
        {"path": "/x/{"},
        {"path": "/x/{a b}"},
        {"args_schema": {"$ref": "http://127.0.0.1/s"}},
        {"args_schema": {"type": "objekt"}},
        {"result_schema": {"type": "objekt"}},
    ],
)
def test_a_declaration_that_cannot_be_kept_is_refused_at_start(change):
    action = {"method": "GET", "path": "/x", "args_schema": {"type": "object"}, **change}
    declared = HandSettings(adapter="http", base_url="https://api.example.com", actions={"a": action})
    with pytest.raises(SettingsError):
        HttpAdapter.validate("api", declared)
