"""Messages through the gateway: what passes, what is held, and what is on record."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.entries import EntryType
from tests.anthropic_api.blocks import message, streamed, tool_use
from tests.anthropic_api.server import KEY, StandIn
from tests.messages.world import World, asking, world


@pytest.fixture
async def ready(tmp_path: Path, anthropic_api: StandIn) -> AsyncIterator[World]:
    async with world(tmp_path, anthropic_api) as built:
        yield built


async def test_a_message_comes_through_byte_for_byte(ready: World) -> None:
    said = message("It is sunny.")
    ready.api.script(said)
    answer = await ready.post(asking())
    assert answer.status_code == 200, answer.text
    assert answer.content == said.to_json(indent=None).encode()
    [request] = ready.api.asked
    assert request.headers["x-api-key"] == KEY
    assert "STPEXE" in [entry["type"] for entry in await ready.entries(*EntryType)]


async def test_a_stream_comes_through_byte_for_byte(ready: World) -> None:
    said = message("It is sunny, and warm.")
    ready.api.script(said)
    answer = await ready.post(asking(stream=True))
    assert answer.status_code == 200
    assert answer.content == b"".join(streamed(said))


async def test_an_allowed_call_passes_and_is_on_record_as_released(ready: World) -> None:
    said = message("I look.", tool_use("Read", {"file": "notes.txt"}, "toolu_1"))
    ready.api.script(said)
    answer = await ready.post(asking(stream=True))
    assert answer.content == b"".join(streamed(said))
    [entry] = await ready.entries(EntryType.STEP_RELEASED)
    assert (entry["hand"], entry["action"], entry["step_id"]) == ("code", "Read", "toolu_1")
