"""Servers that end the stream of an answer before it, and are asked for the rest."""

import pytest

from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.mcp.streamable import RESUMED_MAX
from tests.hands.mcp_http import SESSION, Server, event, hand, result, served, streaming


async def test_a_stream_that_the_server_ends_is_taken_up_where_it_ended():
    """Servers poll so (2025-11-25, resumability): an id, a time to wait, and the answer to whoever comes back."""
    server, came = Server(), []

    async def called(server, request, message):
        response = await streaming(request)
        await response.write(b"id: e1\nretry: 1\ndata:\n\n")
        server.pending = message
        return response

    async def handle(request):
        if request.method != "GET":
            return await server.handle(request)
        came.append(dict(request.headers))
        response = await streaming(request)
        if len(came) == 1:
            await response.write(b"id: e2\nretry: 1\ndata:\n\n")
        else:
            body = {"jsonrpc": "2.0", "id": server.pending["id"], "result": result(server.pending)}
            await response.write(event(body))
        return response

    server.called = called
    async with served(handle) as url, hand(url) as one:
        assert (await one.say("hello")).content[0]["text"] == "hello"
    assert [headers["Last-Event-ID"] for headers in came] == ["e1", "e2"]
    assert {headers["Mcp-Session-Id"] for headers in came} == {SESSION}
    assert not any("DPoP" in headers for headers in came), "the step credential goes with the call alone"


@pytest.mark.parametrize("event_id", [b"", b"id: \xff\n", b"id: a b\n", b"id: " + b"x" * 2000 + b"\n"])
async def test_a_stream_without_an_id_that_can_be_sent_back_is_lost(event_id):
    server, came = Server(), []

    async def called(server, request, message):
        response = await streaming(request)
        await response.write(event_id + b"retry: 1\ndata:\n\n")
        return response

    async def handle(request):
        came.append(request.method)
        return await server.handle(request)

    server.called = called
    async with served(handle) as url, hand(url) as one:
        with pytest.raises(HandError) as lost:
            await one.say()
    assert (lost.value.reason, lost.value.failure) == (Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN)
    assert "GET" not in came


async def test_a_server_that_ends_its_stream_without_end_is_given_up():
    server, came = Server(), []

    async def handle(request):
        if request.method == "GET":
            came.append(request)
        elif b"tools/call" not in await request.read():
            return await server.handle(request)
        response = await streaming(request)
        await response.write(b"id: e\nretry: 0\ndata:\n\n")
        return response

    async with served(handle) as url, hand(url) as one:
        with pytest.raises(HandError) as lost:
            await one.say()
    assert lost.value.reason is Reason.HAND_LOST_REPLY
    assert len(came) == RESUMED_MAX
