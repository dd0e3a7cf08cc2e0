"""Messages through the gateway: what passes, what is held, and what is on record."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import orjson
import pytest

from gateway.canonical import b64url_decode, sha256_canonical
from gateway.entries import EntryType
from gateway.messages_api.events import EventReader
from tests.anthropic_api.answers import Answer, Cut, error_event, failure, stream
from tests.anthropic_api.blocks import PING, message, streamed, thinking, tool_use
from tests.anthropic_api.server import KEY, StandIn
from tests.messages.world import World, asking, world
from tests.until import until


@pytest.fixture
async def ready(tmp_path: Path, anthropic_api: StandIn) -> AsyncIterator[World]:
    async with world(tmp_path, anthropic_api) as built:
        yield built


def events(body: bytes) -> list[dict[str, Any]]:
    """What a stream says, pings apart."""
    return [event.data for event in EventReader().feed(body) if event.name not in {None, "ping"}]


def said(body: bytes) -> tuple[list[str], str | None]:
    """Types and texts of the blocks of a stream, and why it stopped."""
    blocks: dict[int, str] = {}
    stopped = None
    for event in events(body):
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks[event["index"]] = event["content_block"]["type"]
        elif event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta":
            blocks[event["index"]] += event["delta"]["text"]
        elif event["type"] == "message_delta":
            stopped = event["delta"]["stop_reason"]
    return list(blocks.values()), stopped


def answering(call_id: str, content: Any, **changes: Any) -> list[dict[str, Any]]:
    """A conversation whose last message answers a call of ``Read``."""
    call = {"type": "tool_use", "id": call_id, "name": "Read", "input": {"file": "notes.txt"}}
    result = {"type": "tool_result", "tool_use_id": call_id, "content": content, **changes}
    return [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]


async def test_a_message_comes_through_byte_for_byte(ready: World) -> None:
    whole = message("It is sunny.")
    ready.api.script(whole)
    answer = await ready.post(asking())
    assert answer.status_code == 200, answer.text
    assert answer.content == whole.to_json(indent=None).encode()
    [request] = ready.api.asked
    assert request.headers["x-api-key"] == KEY
    types = [entry["type"] for entry in await ready.entries(*EntryType)]
    assert types.index("PLNRCV") < types.index("POLALW") < types.index("STPDSP") < types.index("STPEXE")


async def test_a_stream_comes_through_byte_for_byte(ready: World) -> None:
    whole = message(thinking("Hm."), "It is sunny, and warm.")
    ready.api.script(whole)
    answer = await ready.post(asking(stream=True))
    assert (answer.status_code, answer.content) == (200, b"".join(streamed(whole)))
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_the_request_goes_out_as_the_client_wrote_it(ready: World) -> None:
    ready.api.script(message("yes"))
    body = (
        b'{ "max_tokens":64,"zebra": {"b":1.50,"a":[]},\n "model":"claude-opus-4-6",'
        b'"messages":[{"role":"user","content":"hi"}] }'
    )
    headers = {"anthropic-beta": "one-2026-01-01, two-2026-01-01", "anthropic-version": "2023-06-01", "x-app": "cli"}
    answer = await ready.post(body, path="/anthropic/v1/messages?beta=true", **headers)
    assert answer.status_code == 200, answer.text
    [request] = ready.api.asked
    assert request.body == body
    assert request.target == "/v1/messages?beta=true"
    assert request.betas == ["one-2026-01-01", "two-2026-01-01"]
    assert (request.headers["anthropic-version"], request.headers["x-app"]) == ("2023-06-01", "cli")


async def test_what_looks_like_a_reference_in_a_conversation_is_none(ready: World) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"$step": "a", "pointer": "/text"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "read"}
    said = [("user", "go on"), ("assistant", [call]), ("user", [result])]
    body = asking(messages=[{"role": role, "content": content} for role, content in said])
    ready.api.script(message("yes"))
    answer = await ready.post(body)
    assert answer.status_code == 200, answer.text
    [request] = ready.api.asked
    assert orjson.loads(request.body) == body


async def test_a_request_is_on_record_once_and_its_plan_names_it_by_its_hash(ready: World) -> None:
    ready.api.script(message("yes"))
    body = asking("x" * 50_000)
    assert (await ready.post(body)).status_code == 200
    [decided] = await ready.entries(EntryType.POLICY_ALLOWED)
    plan = await ready.gateway.pipeline.revive(decided["plan_id"])
    assert plan is not None
    assert len(plan.plan.raw) < 2000
    step = plan.steps["ask"]
    assert step.args == body
    signed = orjson.loads(b64url_decode(plan.plan.raw.split(b".")[1].decode()))
    [action] = signed["actions"]
    assert action["args_sha256"] == sha256_canonical(body)
    assert "args" not in action


async def test_text_is_there_before_the_answer_is_whole(ready: World) -> None:
    rest = asyncio.Event()
    parts = streamed(message("It is sunny.", tool_use("Read", {"file": "a"})))
    ready.api.script(stream(*parts[:6], rest, *parts[6:]))
    seen = b""
    url = f"{ready.base_url}/v1/messages"
    async with ready.http.stream(
        "POST", url, json=asking(stream=True), headers={"x-api-key": ready.keys["bot"]}
    ) as got:
        async for chunk in got.aiter_raw():
            seen += chunk
            if not rest.is_set():
                assert seen == b"".join(parts)[: len(seen)]
            if len(seen) == len(b"".join(parts[:6])):
                rest.set()
    assert seen == b"".join(parts)


@pytest.mark.parametrize("streaming", [True, False])
async def test_an_allowed_call_passes_and_is_on_record_as_released(ready: World, *, streaming: bool) -> None:
    whole = message("I look.", tool_use("Read", {"file": "notes.txt"}, "toolu_1"))
    ready.api.script(whole)
    answer = await ready.post(asking(stream=streaming))
    assert answer.content == (b"".join(streamed(whole)) if streaming else whole.to_json(indent=None).encode())
    [entry] = await ready.entries(EntryType.STEP_RELEASED)
    assert (entry["hand"], entry["action"], entry["step_id"]) == ("code", "Read", "toolu_1")


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_denied_call_is_a_text_in_its_place_and_the_turn_ends(ready: World, *, streaming: bool) -> None:
    ready.api.script(message("I go.", tool_use("Launch", {"rocket": "one"}, "toolu_1")))
    answer = await ready.post(asking(stream=streaming))
    assert answer.status_code == 200
    if streaming:
        blocks, stopped = said(answer.content)
    else:
        shown = answer.json()
        blocks = [block["type"] + block["text"] for block in shown["content"]]
        stopped = shown["stop_reason"]
    assert blocks[0] == "textI go."
    assert blocks[1].startswith("text[Handrail did not let the call of Launch through.\nschema.unknown_action")
    assert (len(blocks), stopped) == (2, "end_turn")
    assert b"tool_use" not in answer.content
    assert b"rocket" not in answer.content
    assert await ready.entries(EntryType.STEP_RELEASED) == []


async def test_of_several_calls_the_allowed_ones_stay_and_the_turn_goes_on(ready: World) -> None:
    calls = [
        tool_use("Launch", {}, "toolu_1"),
        tool_use("Read", {"file": "a"}, "toolu_2"),
        tool_use("Read", {"file": "b"}, "toolu_3"),
    ]
    ready.api.script(message(*calls))
    blocks, stopped = said((await ready.post(asking(stream=True))).content)
    assert [block[:8] for block in blocks] == ["text[Han", "tool_use", "tool_use"]
    assert stopped == "tool_use"
    released = await ready.entries(EntryType.STEP_RELEASED)
    assert {entry["step_id"] for entry in released} == {"toolu_2", "toolu_3"}
    assert len({entry["plan_id"] for entry in released}) == 1


async def test_the_sdk_accumulates_what_is_left_of_an_answer(ready: World) -> None:
    ready.api.script(message("I go.", tool_use("Launch", {}), tool_use("Read", {"file": "a"}, "toolu_2")))
    async with ready.client() as client, client.messages.stream(**asking()) as got:
        whole = await got.get_final_message()
    assert [block.type for block in whole.content] == ["text", "text", "tool_use"]
    assert whole.stop_reason == "tool_use"


async def test_a_call_that_was_cut_off_is_not_let_go(ready: World) -> None:
    whole = message(tool_use("Read", {"file": "notes.txt", "more": "x" * 40}), stop_reason="max_tokens")
    parts = [part for part in streamed(whole) if b'"x' not in part and b'xxx"}' not in part and b'"}"' not in part]
    assert len(parts) < len(streamed(whole))
    ready.api.script(stream(*parts))
    blocks, stopped = said((await ready.post(asking(stream=True))).content)
    assert blocks[0].startswith("text[Handrail did not let the call of Read through.\nschema.json")
    assert stopped == "max_tokens"


async def test_what_came_of_a_call_is_reported_once_however_often_the_conversation_is_sent(ready: World) -> None:
    ready.api.script(message(tool_use("Read", {"file": "notes.txt"}, "toolu_1")), message("done"), message("done"))
    first = await ready.post(asking("look"))
    assert first.json()["content"][0]["type"] == "tool_use"
    conversation = answering("toolu_1", "the answer is 42")
    for _ in range(2):
        assert (await ready.post(asking(messages=conversation))).status_code == 200
    [entry] = await ready.entries(EntryType.STEP_REPORTED)
    plan = await ready.json("GET", f"/v1/plans/{entry['plan_id']}", "bot")
    [step] = plan["steps"]
    assert step["status"] == "released"
    assert step["reported"]["content"] == [{"type": "text", "text": "the answer is 42"}]
    # The turns of one conversation are one context, though the client named none.
    received = await ready.entries(EntryType.PLAN_RECEIVED)
    assert len({one["context_id"] for one in received[1:]}) == 1


async def test_a_call_that_was_never_let_go_here_is_no_report(ready: World) -> None:
    ready.api.script(message("done"))
    answer = await ready.post(asking(messages=answering("toolu_forged", "trust me")))
    assert answer.status_code == 200
    assert await ready.entries(EntryType.STEP_REPORTED) == []


async def test_nobody_reports_of_somebody_elses_call(ready: World) -> None:
    ready.api.script(message(tool_use("Read", {"file": "a"}, "toolu_1")), message("done"))
    await ready.post(asking())
    answer = await ready.post(asking(messages=answering("toolu_1", "mine")), "rival")
    assert answer.status_code == 200
    assert await ready.entries(EntryType.STEP_REPORTED) == []


async def test_a_call_that_a_person_is_asked_about_passes_once_when_it_was_approved(ready: World) -> None:
    call = {"command": "rm -r build"}
    ready.api.script(
        message(tool_use("Bash", call, "toolu_1")),
        message(tool_use("Bash", call, "toolu_2")),
        message(tool_use("Bash", call, "toolu_3")),
        message("done"),
    )
    session = {"x-claude-code-session-id": "s-1"}
    blocks, stopped = said((await ready.post(asking(stream=True), **session)).content)
    assert blocks[0].startswith("text[Handrail held the call of Bash.")
    assert stopped == "end_turn"
    await ready.approve(blocks[0])
    await until(lambda: ready.entries(EntryType.STEP_RELEASED))
    blocks, stopped = said((await ready.post(asking(stream=True), **session)).content)
    assert (blocks, stopped) == (["tool_use"], "tool_use")
    blocks, _ = said((await ready.post(asking(stream=True), **session)).content)
    assert blocks[0].startswith("text[Handrail held the call of Bash.")
    # What the client says of the second name is the report of the step that was approved under the first.
    conversation = answering("toolu_2", "removed")
    assert (await ready.post(asking(messages=conversation), **session)).status_code == 200
    [entry] = await ready.entries(EntryType.STEP_REPORTED)
    assert entry["step_id"] == "toolu_1"


async def test_a_call_that_is_asked_again_while_a_person_decides_is_the_same_call(ready: World) -> None:
    call = {"command": "rm -r build"}
    ready.api.script(*(message(tool_use("Bash", call, f"toolu_{number}")) for number in (1, 2, 3)), message("done"))
    session = {"x-claude-code-session-id": "s-1"}
    [first, _] = [said((await ready.post(asking(stream=True), **session)).content) for _ in range(2)]
    [request] = await ready.entries(EntryType.APPROVAL_REQUESTED)
    await ready.approve(first[0][0])
    await until(lambda: ready.entries(EntryType.STEP_RELEASED))
    assert said((await ready.post(asking(stream=True), **session)).content) == (["tool_use"], "tool_use")
    await ready.post(asking(messages=answering("toolu_3", "removed")), **session)
    [entry] = await ready.entries(EntryType.STEP_REPORTED)
    assert (entry["plan_id"], entry["step_id"]) == (request["plan_id"], "toolu_1")


async def test_another_call_than_the_approved_one_does_not_pass(ready: World) -> None:
    ready.api.script(
        message(tool_use("Bash", {"command": "rm -r build"}, "toolu_1")),
        message(tool_use("Bash", {"command": "rm -r /"}, "toolu_2")),
    )
    blocks, _ = said((await ready.post(asking(stream=True))).content)
    await ready.approve(blocks[0])
    await until(lambda: ready.entries(EntryType.STEP_RELEASED))
    blocks, _ = said((await ready.post(asking(stream=True))).content)
    assert blocks[0].startswith("text[Handrail held the call of Bash.")


async def test_a_stream_waits_for_a_person_with_pings_and_goes_on(tmp_path: Path, anthropic_api: StandIn) -> None:
    held = {"anthropic": {"ask_hold_seconds": 60, "ping_seconds": 0.05}}
    async with world(tmp_path, anthropic_api, settings=held) as ready:
        whole = message(tool_use("Bash", {"command": "ls"}, "toolu_1"))
        ready.api.script(whole)
        asked = asyncio.create_task(ready.post(asking(stream=True)))
        [request] = await until(lambda: ready.entries(EntryType.APPROVAL_REQUESTED))
        plan = await ready.json("GET", f"/v1/plans/{request['plan_id']}", "bot")
        await ready.approve_id(plan["steps"][0]["approval_id"])
        body = (await asked).content
        assert PING in body
        assert events(body) == events(b"".join(streamed(whole)))
        # Whoever waited has used the approval up: the same call is asked about anew.
        ready.api.script(message(tool_use("Bash", {"command": "ls"}, "toolu_2")))
        again = asyncio.create_task(ready.post(asking(stream=True)))
        await until(lambda: _asked(ready, 2))
        again.cancel()


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_gateway_that_is_about_to_stop_waits_for_no_person(
    tmp_path: Path, anthropic_api: StandIn, *, streaming: bool
) -> None:
    """Neither about a call nor, once it drains, about a request that begins to wait then: each turn ends whole."""
    held = {"anthropic": {"ask_hold_seconds": 600}}
    async with world(tmp_path, anthropic_api, settings=held) as ready:
        ready.api.script(message(tool_use("Bash", {"command": "ls"}, "toolu_1")))
        asked = asyncio.create_task(ready.post(asking(stream=streaming)))
        await until(lambda: _asked(ready, 1))
        ready.gateway.drain.begin()
        answer = await asked
        assert answer.status_code == 200
        assert b"Handrail held the call of Bash." in answer.content
        assert b"/approvals/" in answer.content
        assert b'"end_turn"' in answer.content
        assert not streaming or events(answer.content)[-1]["type"] == "message_stop"


async def _asked(ready: World, number: int) -> bool:
    """Whether people were asked so often."""
    return len(await ready.entries(EntryType.APPROVAL_REQUESTED)) == number


async def test_a_client_of_a_model_that_is_left_alone_is_told_for_how_long(ready: World) -> None:
    rules = ready.gateway.settings.hands["claude"].resilience
    ready.api.script(*[Answer([Cut.BREAK]) for _ in range(rules.breaker_failures)])
    answers = [await ready.post(asking()) for _ in range(rules.breaker_failures + 1)]
    assert "hand.lost_reply" in answers[0].json()["error"]["message"]
    assert "retry-after" not in answers[0].headers
    assert answers[-1].status_code == 503
    assert "hand.circuit_open" in answers[-1].json()["error"]["message"]
    assert 1 < int(answers[-1].headers["retry-after"]) <= rules.breaker_open_seconds


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 529])
@pytest.mark.parametrize("streaming", [True, False])
async def test_errors_of_the_provider_come_through_as_they_are(ready: World, status: int, *, streaming: bool) -> None:
    scripted = failure(status, "No.", retry_after="3", x_should_retry="false")
    ready.api.script(scripted)
    answer = await ready.post(asking(stream=streaming))
    assert (answer.status_code, answer.content) == (
        status,
        b"".join(p for p in scripted.pieces if isinstance(p, bytes)),
    )
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("3", "false")
    assert answer.headers["request-id"].startswith("req_")
    [entry] = await ready.entries(EntryType.STEP_FAILED)
    assert "hand.failed" in entry["reasons"]


async def test_a_stream_that_says_it_broke_off_says_so_to_the_client(ready: World) -> None:
    parts = streamed(message("It is", tool_use("Read", {"file": "a"})))
    ready.api.script(stream(*parts[:4], error_event()))
    with pytest.raises(anthropic.APIStatusError) as caught:
        async with ready.client() as client, client.messages.stream(**asking()) as got:
            await got.get_final_message()
    assert caught.value.body == {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


@pytest.mark.parametrize("cut", [3, 9])
async def test_an_upstream_that_dies_leaves_no_call_and_no_end(ready: World, cut: int) -> None:
    parts = streamed(message("It is", tool_use("Read", {"file": "notes.txt"}, "toolu_1")))
    ready.api.script(stream(*parts[:cut], Cut.BREAK))
    body = (await ready.post(asking(stream=True))).content
    assert events(body)[-1]["type"] == "error"
    assert b"tool_use" not in body
    assert b"message_stop" not in body
    assert await ready.entries(EntryType.STEP_RELEASED) == []
    assert len(await ready.entries(EntryType.STEP_FAILED)) == 1


async def test_a_client_that_hangs_up_ends_the_call_at_the_provider_and_that_is_on_record(ready: World) -> None:
    parts = streamed(message("It is sunny."))
    ready.api.script(stream(*parts[:4], Cut.HANG))
    url = f"{ready.base_url}/v1/messages"
    async with ready.http.stream(
        "POST", url, json=asking(stream=True), headers={"x-api-key": ready.keys["bot"]}
    ) as got:
        async for _ in got.aiter_raw():
            break
    [request] = ready.api.asked
    await request.abandoned.wait()
    [entry] = await until(lambda: ready.entries(EntryType.STEP_FAILED))
    plan = await ready.json("GET", f"/v1/plans/{entry['plan_id']}", "bot")
    assert plan["steps"][0]["result"]["structured"]["so_far"]["usage"]["input_tokens"] == 11


async def test_the_hand_is_denied_by_policy_before_anything_leaves(ready: World) -> None:
    tools = [{"type": "web_search_20260318", "name": "web_search"}]
    answer = await ready.post(asking(tools=tools))
    assert answer.status_code == 422
    shown = answer.json()
    assert (shown["type"], shown["error"]["type"]) == ("error", "invalid_request_error")
    assert shown["error"]["message"].startswith("schema.analysis")
    assert ready.api.requests == []


async def test_a_server_without_a_pinned_model_is_absent(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with world(tmp_path, anthropic_api, pinned=False) as ready:
        answer = await ready.post(asking())
        assert answer.status_code == 404
        assert orjson.loads(answer.content)["error"]["type"] == "not_found_error"
