"""A call whose client does not want it any more, and questions that nobody may ask: what becomes of the step."""

import asyncio
from typing import Any

import pytest

from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.mcp.talk import NOTES_MAX, QUESTIONS_MAX, clean
from tests.hands.hands_support import Talk, refused
from tests.hands.mcp_http import Server, event, hand, said, served, streaming
from tests.until import until

FORM = {"mode": "form", "message": "?", "requestedSchema": {"type": "object", "properties": {}}}
MAY = {
    "actions": {"elicitation/create": {"side_effects": "none"}},
    "mcp": {"progress": True, "logging": True, "elicitation_hosts": []},
}


async def test_what_was_sent_is_in_doubt_and_the_server_is_told_and_what_waited_was_never_sent():
    server, talk, second = Server(), Talk(), Talk()
    release = asyncio.Event()

    async def called(server, request, message):
        await release.wait()
        return said(message)

    server.called = called
    async with served(server.handle) as url, hand(url) as one:
        running = asyncio.create_task(one.say(conversation=talk))
        await until(lambda: server.messages("tools/call"))
        waiting = asyncio.create_task(one.say(conversation=second))
        second.cancelled.set()
        assert await refused(waiting) == (Reason.HAND_CANCELLED, HandFailure.NOT_EXECUTED)
        talk.cancelled.set()
        assert await refused(running) == (Reason.HAND_CANCELLED, HandFailure.UNKNOWN)
        [call] = server.messages("tools/call")
        [told] = server.messages("notifications/cancelled")
        assert told["params"]["requestId"] == call["id"]
        release.set()
        server.called = None
        assert (await one.say("anew")).content[0]["text"] == "anew"


async def test_a_question_that_no_call_asks_is_no_step_that_succeeds():
    async with served(Server().handle) as url, hand(url, **MAY) as one:
        asked = one.say(action="elicitation/create", conversation=Talk("elicitation.form"))
        assert await refused(asked) == (Reason.HAND_FAILED, HandFailure.NOT_EXECUTED)


def asking(server: Server, times: int) -> None:
    """Have the server ask on the stream of a call, and answer then."""
    answers = asyncio.Queue()

    async def called(server, request, message):
        response = await streaming(request)
        for number in range(times):
            body = {"jsonrpc": "2.0", "id": f"q{number}", "method": "elicitation/create", "params": FORM}
            await response.write(event(body))
            await answers.get()
        body = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": "done"}]}}
        await response.write(event(body))
        return response

    handle = server.handle

    async def handled(request):
        answer = await handle(request)
        if server.asked[-1][2].get("id") in {f"q{number}" for number in range(times)}:
            answers.put_nowait(server.asked[-1][2])
        return answer

    server.called, server.handle = called, handled


async def test_a_question_of_a_server_with_a_handshake_goes_to_the_client_of_the_call():
    server, talk = Server(), Talk("elicitation.form")
    asking(server, 1)
    async with served(server.handle) as url, hand(url, **MAY) as one:
        assert (await one.say(conversation=talk)).content[0]["text"] == "done"
    assert talk.asked == [FORM]
    [welcomed] = [one for one in server.messages("initialize") if one["params"]["capabilities"]]
    assert list(welcomed["params"]["capabilities"]) == ["elicitation"]


@pytest.mark.parametrize("reply", [None, {"action": "maybe"}, {}])
async def test_no_answer_or_none_that_the_protocol_knows_is_declined(reply):
    server, talk = Server(), Talk("elicitation.form")
    talk.answer = reply
    asking(server, 1)
    async with served(server.handle) as url, hand(url, **MAY) as one:
        assert (await one.say(conversation=talk)).content[0]["text"] == "done"
    [given] = [message for _, _, message in server.asked if message.get("id") == "q0"]
    assert given.get("result", {}).get("action") == "decline" or "error" in given


@pytest.mark.parametrize("talk", [None, Talk])
async def test_a_client_that_is_not_there_or_cannot_be_asked_is_asked_nothing(talk):
    server, one_talk = Server(), talk and talk()
    asking(server, 1)
    async with served(server.handle) as url, hand(url, **MAY) as one:
        await one.say(conversation=one_talk)
    [given] = [message for _, _, message in server.asked if message.get("id") == "q0"]
    assert "error" in given
    assert talk is None or one_talk.asked == []
    assert not any(one["params"]["capabilities"] for one in server.messages("initialize"))


async def test_a_flood_of_questions_ends_the_session():
    server, talk = Server(), Talk("elicitation.form")
    asking(server, QUESTIONS_MAX + 8)
    async with served(server.handle) as url, hand(url, **MAY) as one:
        assert await refused(one.say(conversation=talk)) == (Reason.HAND_PROTOCOL, HandFailure.UNKNOWN)
    assert len(talk.asked) <= QUESTIONS_MAX


async def test_a_flood_of_log_messages_is_cut_off():
    server, talk = Server(), Talk()

    async def called(server, request, message):
        response = await streaming(request)
        for number in range(NOTES_MAX + 100):
            params = {"level": "info", "data": number}
            await response.write(event({"jsonrpc": "2.0", "method": "notifications/message", "params": params}))
        body = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}
        await response.write(event(body))
        return response

    server.called = called
    async with served(server.handle) as url, hand(url, **MAY) as one:
        await one.say(conversation=talk)
    assert len(talk.told) == NOTES_MAX


@pytest.mark.parametrize("value", [{"a": 1} | {str(n): n for n in range(2000)}, [0] * 2000])
def test_what_has_too_many_values_is_no_message(value):
    with pytest.raises(ValueError, match="too many"):
        clean(value)


def test_what_is_nested_too_deep_is_no_message():
    value: Any = 1
    for _ in range(100):
        value = [value]
    with pytest.raises(ValueError, match="too deep"):
        clean(value)
