"""An endpoint that speaks the Messages API, and means ill or does not know better."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.entries import EntryType
from gateway.errors import Refused
from gateway.ingress.anthropic.holding import Holder
from gateway.messages_api.events import read_event
from tests.anthropic_api.answers import Answer, Cut, stream
from tests.anthropic_api.blocks import message, streamed, tool_use
from tests.anthropic_api.server import KEY, StandIn
from tests.messages.parts import block, end, ev, part, start, stop
from tests.messages.world import World, asking, world
from tests.until import until

BATCHES = "/anthropic/v1/messages/batches"
LAUNCH = message(tool_use("Launch", {}, "toolu_1"))


@pytest.fixture
async def ready(tmp_path: Path, anthropic_api: StandIn) -> AsyncIterator[World]:
    async with world(tmp_path, anthropic_api) as built:
        yield built


@pytest.mark.parametrize("status", [201, 202, 203, 206, 226, 299, 600, 999])
async def test_a_call_does_not_pass_by_under_another_status_of_success(ready: World, status: int) -> None:
    whole = Answer([orjson.dumps(LAUNCH.to_dict(mode="json"))], status)
    events = Answer(streamed(LAUNCH), status, content_type="text/event-stream")
    ready.api.script(whole, events)
    for streaming in (False, True):
        answer = await ready.post(asking(stream=streaming))
        assert answer.status_code == 502
        assert b"Launch" not in answer.content
    assert await ready.entries(EntryType.STEP_RELEASED) == []


async def test_nor_does_one_in_the_answers_of_a_batch(ready: World) -> None:
    ready.api.script(LAUNCH)
    answer = await ready.post({"requests": [{"custom_id": "a", "params": asking()}]}, path=BATCHES)
    batch_id = answer.json()["id"]
    line = orjson.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": LAUNCH.to_dict(mode="json")}})
    path = f"/v1/messages/batches/{batch_id}/results"
    for result in ([], ["succeeded"], "succeeded"):
        odd = orjson.dumps({"custom_id": "a", "result": result, "message": LAUNCH.to_dict(mode="json")})
        ready.api.script_other("GET", path, Answer([odd], content_type="application/x-jsonl"))
    ready.api.script_other("GET", path, Answer([line], 206, content_type="application/x-jsonl"))
    for _ in range(4):
        answer = await ready.http.get(f"/anthropic{path}", headers={"x-api-key": ready.keys["bot"]})
        assert answer.status_code == 502, answer.text
        assert b"Launch" not in answer.content


async def test_the_gateways_own_key_is_not_told_to_the_client(ready: World) -> None:
    said = {"type": "error", "error": {"type": "authentication_error", "message": f"no such key: {KEY}"}}
    echoing = {"anthropic-debug": KEY}
    text = [start(), block(0, type="text", text=""), part(0, type="text_delta", text=f"It is {KEY}."), stop(0)]
    ready.api.script(
        Answer([orjson.dumps(said)], 401),
        Answer([orjson.dumps(message(f"It is {KEY}.").to_dict(mode="json"))], headers=echoing),
        stream(*text, *end("end_turn"), ev("message_stop")),
        stream(start(), ev("error", error={"type": "api_error", "message": KEY})),
    )
    for streaming in (False, False, True, True):
        answer = await ready.post(asking(stream=streaming))
        assert KEY not in answer.text
        assert KEY not in str(answer.headers)
    echoed = [entry["plan_id"] for entry in await ready.entries(EntryType.SECRET_ECHOED)]
    assert len(echoed) == len(set(echoed)) == 4


async def test_the_record_is_not_made_to_say_something_else_than_what_passed(ready: World) -> None:
    begun = start(model="m", stop_reason=None, usage={"input_tokens": 1, "output_tokens": 1})
    text = [begun, block(0, type="text", text=""), part(0, type="text_delta", text="poison"), stop(0)]
    forged = ev("message_delta", delta={"stop_reason": "end_turn", "content": []}, usage={})
    beside = ev("message_delta", delta={"stop_reason": "end_turn"}, content=[], usage={})
    whole = [*text, *end("end_turn"), ev("message_stop")]
    for pieces in ([*text, forged, ev("message_stop")], [*text, beside, ev("message_stop")], [*whole, *text]):
        ready.api.script(stream(*pieces))
        answer = await ready.post(asking(stream=True))
        assert b"event: error" in answer.content
        assert b"message_stop" not in answer.content
    assert await ready.entries(EntryType.STEP_EXECUTED) == []


@pytest.mark.parametrize("index", ["x", None, [0], 0])
async def test_an_unknown_event_among_what_waits_is_no_block_whatever_its_index(ready: World, index: Any) -> None:
    parts = list(streamed(message(tool_use("Read", {"file": "a"}, "toolu_1"))))
    parts.insert(3, ev("weather", index=index))
    ready.api.script(stream(*parts))
    answer = await ready.post(asking(stream=True))
    assert b"event: weather" in answer.content
    assert b"message_stop" in answer.content


@pytest.mark.parametrize("kind", ["application/json; charset=utf-7", "application/json; charset=utf-16"])
async def test_an_answer_is_not_read_by_another_character_set_than_it_was_judged_by(ready: World, kind: str) -> None:
    ready.api.script(Answer([orjson.dumps(message("fine").to_dict(mode="json"))], content_type=kind))
    answer = await ready.post(asking())
    assert answer.status_code == 200
    assert answer.headers["content-type"] in {"application/json", "application/json; charset=utf-8"}


async def test_more_calls_than_anybody_reads_are_no_message(ready: World) -> None:
    many = message(*(tool_use("Read", {"file": "a"}, f"toolu_{number}") for number in range(101)))
    ready.api.script(many)
    assert (await ready.post(asking())).status_code == 502


async def test_a_client_that_leaves_ends_what_it_asked_of_a_batch(ready: World) -> None:
    ready.api.script(LAUNCH)
    answer = await ready.post({"requests": [{"custom_id": "a", "params": asking()}]}, path=BATCHES)
    path = f"/v1/messages/batches/{answer.json()['id']}/results"
    ready.api.script_other("GET", path, Answer([b" ", Cut.HANG], content_type="application/x-jsonl"))
    asked = len(ready.api.requests)
    leaving = asyncio.create_task(
        ready.http.get(f"/anthropic{path}", headers={"x-api-key": ready.keys["bot"]}, timeout=30)
    )
    await until(lambda: len(ready.api.requests) > asked)
    leaving.cancel()
    await ready.api.requests[-1].abandoned.wait()
    await until(lambda: ready.entries(EntryType.STEP_FAILED))


@pytest.mark.parametrize(
    "name",
    [" content_block_start", "Content_Block_Start", "\u200bcontent_block_start", "x.message_delta", "Error ", " ping"],
)
def test_an_event_that_is_known_to_a_careless_client_is_not_an_unknown_one(name: str) -> None:
    for event, kind in ((name, "weather"), ("weather", name), (name, name)):
        raw = f"event: {event}\ndata: ".encode() + orjson.dumps({"type": kind}) + b"\n\n"
        with pytest.raises(Refused):
            Holder().take(read_event(raw))


async def test_where_a_batch_is_fetched_is_told_by_the_gateway_from_its_making_on(ready: World) -> None:
    made = {
        "id": "msgbatch_1",
        "type": "message_batch",
        "results_url": f"{ready.api.url}/v1/messages/batches/x/results",
    }
    ready.api.script_other("POST", "/v1/messages/batches", Answer([orjson.dumps(made)]))
    answer = await ready.post({"requests": [{"custom_id": "a", "params": asking()}]}, path=BATCHES)
    assert answer.json()["results_url"] == f"{ready.url}{BATCHES}/msgbatch_1/results"


async def test_a_batch_that_is_called_as_an_earlier_one_is_a_fault_of_the_provider(ready: World) -> None:
    made = Answer([orjson.dumps({"id": "msgbatch_1", "type": "message_batch"})])
    ready.api.script_other("POST", "/v1/messages/batches", made, made)
    batch = {"requests": [{"custom_id": "a", "params": asking()}]}
    assert (await ready.post(batch, path=BATCHES)).status_code == 200
    again = await ready.post(batch, path=BATCHES)
    assert (again.status_code, again.json()["error"]["type"]) == (502, "api_error")
    assert again.json()["error"]["message"].startswith("hand.protocol: ")
