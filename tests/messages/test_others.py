"""Counting tokens, models and batches through the gateway."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.entries import EntryType
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import StandIn
from tests.messages.world import World, asking, world
from tests.until import until

BATCHES = "/anthropic/v1/messages/batches"


@pytest.fixture
async def ready(tmp_path: Path, anthropic_api: StandIn) -> AsyncIterator[World]:
    async with world(tmp_path, anthropic_api) as built:
        yield built


async def get(ready: World, path: str, who: str = "bot", method: str = "GET") -> Any:
    return await ready.http.request(method, path, headers={"x-api-key": ready.keys[who]})


async def made(ready: World, *texts: str) -> str:
    requests = [{"custom_id": f"r{number}", "params": asking(text)} for number, text in enumerate(texts)]
    answer = await ready.post({"requests": requests}, path=BATCHES)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def test_tokens_are_counted_and_that_is_on_record(ready: World) -> None:
    body = {name: value for name, value in asking().items() if name != "max_tokens"}
    answer = await ready.post(body, path="/anthropic/v1/messages/count_tokens")
    assert (answer.status_code, answer.json()["input_tokens"] > 1) == (200, True)
    [entry] = await ready.entries(EntryType.STEP_EXECUTED)
    assert (entry["hand"], entry["action"]) == ("claude", "model.count_tokens")


async def test_models_are_listed_and_seen(ready: World) -> None:
    listed = await get(ready, "/anthropic/v1/models?limit=1")
    assert [one["id"] for one in listed.json()["data"]] == ["claude-opus-4-6"]
    assert ready.api.requests[-1].target == "/v1/models?limit=1"
    assert (await get(ready, "/anthropic/v1/models/claude-haiku-4-5")).json()["id"] == "claude-haiku-4-5"
    assert (await get(ready, "/anthropic/v1/models/absent")).json()["error"]["type"] == "not_found_error"


async def test_a_batchs_answers_are_judged_when_they_are_fetched(ready: World) -> None:
    ready.api.script(
        message("fine"), message(tool_use("Launch", {}, "toolu_1")), message(tool_use("Read", {"file": "a"}, "toolu_2"))
    )
    batch_id = await made(ready, "a", "b", "c")
    await ready.api.end_batches()
    assert await ready.entries(EntryType.STEP_RELEASED) == []
    answer = await get(ready, f"{BATCHES}/{batch_id}/results")
    assert answer.status_code == 200, answer.text
    lines = [orjson.loads(line) for line in answer.content.split(b"\n") if line]
    found = {line["custom_id"]: line["result"]["message"] for line in lines}
    assert sorted(message["stop_reason"] for message in found.values()) == ["end_turn", "end_turn", "tool_use"]
    assert b"Launch" in answer.content
    assert b'"name":"Launch"' not in answer.content
    [entry] = await ready.entries(EntryType.STEP_RELEASED)
    assert entry["step_id"] == "toolu_2"


async def test_a_batch_is_its_makers_alone(ready: World) -> None:
    ready.api.script(message("secret"))
    batch_id = await made(ready, "a")
    await ready.api.end_batches()
    before = len(ready.api.requests)
    for method, path in (("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("DELETE", "")):
        answer = await get(ready, f"{BATCHES}/{batch_id}{path}", "rival", method)
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
    assert len(ready.api.requests) == before
    theirs = (await get(ready, BATCHES, "rival")).json()
    assert theirs == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert [one["id"] for one in (await get(ready, BATCHES)).json()["data"]] == [batch_id]


async def test_what_ends_a_batch_needs_a_grant(ready: World) -> None:
    ready.api.script(message("a"))
    batch_id = await made(ready, "a")
    answer = await get(ready, f"{BATCHES}/{batch_id}/cancel", "bot", "POST")
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")
    assert "grants.missing" in answer.json()["error"]["message"]


async def test_a_batch_is_denied_for_one_of_its_requests(ready: World) -> None:
    tools = [{"type": "code_execution_20260120", "name": "code_execution"}]
    requests = [{"custom_id": "a", "params": asking()}, {"custom_id": "b", "params": asking(tools=tools)}]
    answer = await ready.post({"requests": requests}, path=BATCHES)
    assert answer.status_code == 422
    assert ready.api.requests == []


async def test_a_batch_that_a_person_approved_ends_when_it_is_asked_for_again(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    async with world(tmp_path, anthropic_api, granted={"claude": ["batches.cancel"]}) as ready:
        ready.api.script(message("a"))
        batch_id = await made(ready, "a")
        path = f"{BATCHES}/{batch_id}/cancel"
        answer = await get(ready, path, "bot", "POST")
        assert answer.status_code == 403
        asked = len(ready.api.requests)
        await ready.approve(answer.json()["error"]["message"])
        await until(lambda: len(ready.api.requests) > asked)
        await until(lambda: canceled(ready))
        again = await get(ready, path, "bot", "POST")
        assert (again.status_code, again.json()["id"]) == (200, batch_id)
        assert len(ready.api.requests) == asked + 1


async def canceled(ready: World) -> bool:
    return any(entry["action"] == "batches.cancel" for entry in await ready.entries(EntryType.STEP_EXECUTED))
