"""MCP servers over HTTP that break rules: what becomes of the call, and what they are not told."""

import asyncio
import contextlib
import gzip
import json
import socket

import pytest
from aiohttp import web

from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.mcp.events import EventStream, TooLong
from tests.hands import mcp_http
from tests.hands.mcp_http import Server, answer, event, result, said, streaming
from tests.until import until

UNKNOWN, EXECUTED, NOT_EXECUTED = HandFailure.UNKNOWN, HandFailure.EXECUTED, HandFailure.NOT_EXECUTED


async def refused(awaitable) -> tuple[Reason, HandFailure]:
    with pytest.raises(HandError) as caught:
        await awaitable
    return caught.value.reason, caught.value.failure


def body(message, **more):
    return {"jsonrpc": "2.0", "id": message["id"], "result": result(message), **more}


async def endless(server, request, message):
    stream = await streaming(request)
    while True:
        await stream.write(b": still there\n\n" * 500)


async def endless_notes(server, request, message):
    stream = await streaming(request)
    while True:
        note = {"level": "info", "data": ""}
        await stream.write(event({"jsonrpc": "2.0", "method": "notifications/message", "params": note}) * 50)


async def giant_event(server, request, message):
    stream = await streaming(request)
    await stream.write(b"data: ")
    while True:
        await stream.write(b"x" * 65_536)


async def giant_answer(server, request, message):
    return answer(message, {"content": [{"type": "text", "text": "x" * 200_000}]})


async def many_lines(server, request, message):
    stream = await streaming(request)
    while True:
        await stream.write(b"data: " + b"x" * 1_000 + b"\n")


async def another_id(server, request, message):
    return web.json_response(body(message, id=message["id"] + 1))


async def another_id_in_an_event(server, request, message):
    stream = await streaming(request)
    await stream.write(event(body(message, id=1)))
    return stream


async def batch(server, request, message):
    return web.json_response([body(message)])


async def duplicate_members(server, request, message):
    text = json.dumps(body(message))
    return web.Response(text=text[:-1] + ', "id": 99}', content_type="application/json")


async def html(server, request, message):
    return web.Response(text=json.dumps(body(message)), content_type="text/html")


async def events_that_are_json(server, request, message):
    return web.Response(body=json.dumps(body(message)).encode(), headers={"Content-Type": "text/event-stream"})


async def json_that_is_events(server, request, message):
    return web.Response(body=event(body(message)), content_type="application/json")


async def bomb(server, request, message):
    packed = gzip.compress(json.dumps(body(message, pad="x" * 50_000_000)).encode())
    return web.Response(body=packed, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})


async def accepted(server, request, message):
    return web.Response(status=202)


async def empty(server, request, message):
    return web.Response(body=b" ", content_type="application/json")


async def ended_stream(server, request, message):
    stream = await streaming(request)
    await stream.write(b"id: 7\nretry: 1\ndata:\n\n")
    return stream


async def input_wanted(server, request, message):
    return answer(message, {"resultType": "input_required", "requestState": "s"})


async def asks_without_end(server, request, message):
    stream = await streaming(request)
    for number in range(200):
        await stream.write(event({"jsonrpc": "2.0", "id": f"mine-{number}", "method": "roots/list"}))
    await stream.write(event(body(message)))
    return stream


async def bad_gateway(server, request, message):
    return web.Response(status=502)


async def reset(server, request, message):
    request.transport.abort()
    return web.Response()


async def half_a_body(server, request, message):
    stream = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "5000"})
    await stream.prepare(request)
    await stream.write(b'{"jsonrpc"')
    request.transport.abort()
    return stream


@pytest.mark.parametrize(
    ("called", "reason", "failure"),
    [
        (endless, Reason.HAND_PROTOCOL, UNKNOWN),
        (endless_notes, Reason.HAND_PROTOCOL, UNKNOWN),
        (giant_event, Reason.HAND_RESULT_TOO_LARGE, UNKNOWN),
        (giant_answer, Reason.HAND_RESULT_TOO_LARGE, UNKNOWN),
        (many_lines, Reason.HAND_RESULT_TOO_LARGE, UNKNOWN),
        (another_id, Reason.HAND_PROTOCOL, UNKNOWN),
        (another_id_in_an_event, Reason.HAND_PROTOCOL, UNKNOWN),
        (batch, Reason.HAND_PROTOCOL, UNKNOWN),
        (duplicate_members, Reason.HAND_PROTOCOL, UNKNOWN),
        (html, Reason.HAND_PROTOCOL, UNKNOWN),
        (events_that_are_json, Reason.HAND_LOST_REPLY, UNKNOWN),
        (json_that_is_events, Reason.HAND_PROTOCOL, UNKNOWN),
        (bomb, Reason.HAND_PROTOCOL, UNKNOWN),
        (accepted, Reason.HAND_PROTOCOL, UNKNOWN),
        (empty, Reason.HAND_PROTOCOL, UNKNOWN),
        (ended_stream, Reason.HAND_LOST_REPLY, UNKNOWN),
        (input_wanted, Reason.HAND_PROTOCOL, UNKNOWN),
        (asks_without_end, Reason.HAND_PROTOCOL, UNKNOWN),
        (bad_gateway, Reason.HAND_LOST_REPLY, UNKNOWN),
        (reset, Reason.HAND_LOST_REPLY, UNKNOWN),
        (half_a_body, Reason.HAND_LOST_REPLY, UNKNOWN),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_a_server_that_breaks_a_rule_leaves_the_step_ambiguous_and_its_session_is_over(called, reason, failure):
    server = Server(called=called)
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
        assert await refused(hand.say()) == (reason, failure)
        assert len(server.messages("tools/call")) == 1, "nothing is sent twice"
        streams = sum(method == "GET" for method, _, _ in server.asked)
        assert streams == (called is ended_stream), "a stream that was named is asked for once, and is none"
        server.called = None
        assert (await hand.say("anew")).content[0]["text"] == "anew"
        assert len(server.messages("initialize")) == 3


@pytest.mark.parametrize("status", [401, 403, 407, 429])
async def test_a_server_that_wants_to_know_who_asks_is_told_nothing_and_nothing_was_done(status):
    async def called(one, request, message):
        challenge = 'Bearer resource_metadata="https://evil.example/.well-known/oauth-protected-resource"'
        return web.Response(status=status, headers={"WWW-Authenticate": challenge})

    server = Server(called=called)
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
        with pytest.raises(HandError) as caught:
            await hand.say()
        assert (caught.value.reason, caught.value.failure) == (Reason.HAND_FAILED, NOT_EXECUTED)
        assert caught.value.detail == f"status {status}"
        assert len(server.messages("tools/call")) == 1


async def test_a_server_that_lists_nothing_to_strangers_is_named_to_the_operator():
    async def initialized(one, request, message):
        return web.Response(status=401)

    async with mcp_http.served(Server(initialized=initialized).handle) as url:
        with pytest.raises(HandError) as caught:
            async with mcp_http.hand(url):
                pass
    assert (caught.value.reason, caught.value.failure) == (Reason.HAND_FAILED, NOT_EXECUTED)
    assert "status 401" in caught.value.detail


@pytest.mark.parametrize("code", [-32601, -32602])
async def test_a_json_rpc_error_that_says_it_did_not_begin_is_believed(code):
    async def called(one, request, message):
        return answer(message, error={"code": code, "message": "no"}, status=400)

    async with mcp_http.served(Server(called=called).handle) as url, mcp_http.hand(url) as hand:
        assert await refused(hand.say()) == (Reason.HAND_FAILED, NOT_EXECUTED)


@pytest.mark.parametrize("status", [400, 404, 405, 500, 503])
async def test_an_error_status_without_a_message_is_a_failure_and_not_a_mystery(status):
    async def called(one, request, message):
        return web.Response(status=status, text="<html>")

    server = Server(called=called, session_header=None)
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
        expected = NOT_EXECUTED if status == 404 else EXECUTED
        assert await refused(hand.say()) == (Reason.HAND_FAILED, expected)


async def test_a_redirect_to_the_metadata_address_is_not_followed():
    followed = []

    async def elsewhere(request):
        followed.append(request.headers)
        return web.Response()

    async with mcp_http.served(elsewhere) as other:
        for place in (other, "http://169.254.169.254/latest/meta-data/"):

            async def called(one, request, message, place=place):
                return web.Response(status=307, headers={"Location": place})

            server = Server(called=called)
            async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
                assert await refused(hand.say()) == (Reason.HAND_PROTOCOL, UNKNOWN)
    assert followed == []


async def test_a_name_that_leads_to_this_machine_the_second_time_is_not_dialled(monkeypatch):
    """DNS rebinding: the address is judged at each connection, and not the name at the start."""
    server = Server()
    async with mcp_http.served(server.handle) as url:
        port = int(url.split(":")[2].split("/")[0])
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        async def resolve(self, host, port=0, *more, **options):
            return [
                {"hostname": host, "host": address[4][0], "port": port, "family": address[0], "proto": 6, "flags": 0}
                for address in found
            ]

        monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", resolve)
        rebound = mcp_http.hand(f"http://rebound.example:{port}/mcp", private_network=False)
        with pytest.raises(HandError) as caught:
            async with rebound:
                pass
        assert (caught.value.reason, caught.value.failure) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
        assert server.asked == []
        async with mcp_http.hand(f"http://rebound.example:{port}/mcp") as allowed:
            assert (await allowed.say("x")).content, "the control"


async def test_nobody_there_means_not_executed():
    server = Server()
    async with mcp_http.served(server.handle) as url:
        closing = mcp_http.hand(url)
        hand = await closing.__aenter__()
    assert await refused(hand.say()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    await closing.__aexit__(None, None, None)


@pytest.mark.parametrize("header", ["x" * 2000, "a b", "id\u00e9", ""])
async def test_a_session_id_that_is_none_is_not_taken(header):
    server = Server()
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
        server.session_header = header
        assert await refused(hand.say()) == (Reason.HAND_PROTOCOL, NOT_EXECUTED)
        assert server.messages("tools/call") == []


async def test_a_session_id_with_a_line_end_adds_no_header():
    """Written byte by byte, because no server's library would."""
    heads = []

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError), contextlib.closing(writer):
            await served(reader, writer)

    async def served(reader, writer):
        while True:
            heads.append(head := await reader.readuntil(b"\r\n\r\n"))
            length = int(
                next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split(b":")[1]
            )
            message = json.loads(await reader.readexactly(length))
            reply = (
                Server().welcome(message)
                if message["method"] == "initialize"
                else answer(message, error={"code": -32601, "message": "no"})
            )
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: a\rX-Injected: yes\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(reply.body), reply.body)
            )
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        with pytest.raises(HandError) as caught:
            async with mcp_http.hand(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"):
                pass
        assert caught.value.failure is NOT_EXECUTED
        assert not any(b"X-Injected" in head for head in heads)


async def test_a_later_answer_cannot_move_a_caller_into_another_session():
    async def called(one, request, message):
        return answer(message, result(message), headers={"Mcp-Session-Id": "the-session-of-somebody-else"})

    server = Server(called=called)
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
        await hand.say()
        await hand.say()
        assert {headers["Mcp-Session-Id"] for headers in server.headers("tools/call")} == {"session-1"}


@pytest.mark.parametrize("method", ["sampling/createMessage", "roots/list", "elicitation/create"])
async def test_a_server_that_asks_the_client_for_something_is_refused(method):
    async def called(one, request, message):
        stream = await streaming(request)
        await stream.write(event({"jsonrpc": "2.0", "id": "mine-1", "method": method, "params": {}}))
        await until(lambda: any(asked.get("id") == "mine-1" for _, _, asked in one.asked))
        await stream.write(event(body(message)))
        return stream

    server = Server(called=called)
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:
        await hand.say()
        (refusal,) = [asked for _, _, asked in server.asked if asked.get("id") == "mine-1"]
        assert "error" in refusal
        assert "result" not in refusal


@pytest.mark.parametrize("status", [401, 403, 404, 407, 429])
async def test_what_a_server_answers_to_a_refusal_says_nothing_of_the_call_that_it_has(status):
    """It acts, asks something, and turns the answer to that away: the call was taken all the same."""

    async def called(one, request, message):
        stream = await streaming(request)
        await stream.write(event({"jsonrpc": "2.0", "id": "mine-1", "method": "roots/list", "params": {}}))
        await asyncio.Event().wait()

    server = Server(called=called)

    async def handle(request):
        turned_away = "method" not in json.loads(await request.read() or b'{"method": ""}')
        return web.Response(status=status) if turned_away else await server.handle(request)

    async with mcp_http.served(handle) as url, mcp_http.hand(url) as hand:
        _, failure = await refused(hand.say())
        assert failure is UNKNOWN
        assert len(server.messages("tools/call")) == 1


async def test_a_slow_drip_ends_at_the_deadline():
    over = asyncio.Event()

    async def called(one, request, message):
        stream = await streaming(request)
        while not over.is_set():
            await stream.write(b":")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.01)
        return stream

    async with mcp_http.served(Server(called=called).handle) as url, mcp_http.hand(url) as hand:
        assert await refused(hand.say(deadline_seconds=0.3)) == (Reason.HAND_TIMEOUT, UNKNOWN)
        over.set()


async def test_a_server_that_never_opens_is_left(monkeypatch):
    monkeypatch.setattr("hand_adapters.mcp.session.OPEN_SECONDS", 0.2)
    over = asyncio.Event()

    async def initialized(one, request, message):
        await over.wait()
        return one.welcome(message)

    async with mcp_http.served(Server(initialized=initialized).handle) as url:
        with pytest.raises(HandError) as caught:
            async with mcp_http.hand(url):
                pass
        assert (caught.value.reason, caught.value.failure) == (Reason.HAND_TIMEOUT, NOT_EXECUTED)
        over.set()


async def test_a_caller_that_leaves_in_mid_step_ends_the_session_and_its_connection():
    gone = asyncio.Event()

    async def called(one, request, message):
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    server = Server(called=called)
    application = mcp_http.served(server.handle)
    async with application as url, mcp_http.hand(url) as hand:
        leaving = asyncio.create_task(hand.say())
        await until(lambda: server.messages("tools/call"))
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        server.called = None
        assert (await hand.say("on")).content[0]["text"] == "on"
        assert len(server.messages("initialize")) == 3


async def test_a_listing_that_breaks_leaves_the_call_unsent():
    server = Server()
    async with mcp_http.served(server.handle) as url, mcp_http.hand(url) as hand:

        async def listed(one, request, message):
            request.transport.abort()
            return said(message)

        server.listed = listed
        assert await refused(hand.say()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
        assert server.messages("tools/call") == []


# --- events -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_stream_of_events_means_the_same_however_it_is_cut(end, size):
    text = (
        b"\xef\xbb\xbf: a comment\n\nevent: message\ndata: one\ndata:two\nid: 5\nretry: 9\n\n"
        b"event: other\ndata: no\n\ndata: three\nunknown: x\n\ndata\n\ndata: unfinished"
    ).replace(b"\n", end)
    stream, found = EventStream(), []
    for start in range(0, len(text), size):
        found += stream.feed(text[start : start + size], 100)
    assert found == [b"one\ntwo", b"three", b""]


@pytest.mark.parametrize(
    "text", [b"x" * 101, b"data: " + b"x" * 101 + b"\n", b"data: " + b"x" * 60 + b"\ndata:" + b"x" * 60 + b"\n"]
)
def test_an_event_of_too_many_bytes_is_none(text):
    with pytest.raises(TooLong):
        list(EventStream().feed(text, 100))
