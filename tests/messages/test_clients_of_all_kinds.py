"""Clients and endpoints that are not as Claude Code and Anthropic are: many at once, and ids that come again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message

from gateway.entries import EntryType
from tests.anthropic_api.blocks import MODEL, message, text, tool_use
from tests.anthropic_api.server import StandIn
from tests.messages.pair import TOOLS
from tests.messages.world import World, world

HELLO: Any = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
async def ready(tmp_path: Path, anthropic_api: StandIn) -> AsyncIterator[World]:
    async with world(tmp_path, anthropic_api, tools=TOOLS) as built:
        yield built


async def ask(client: AsyncAnthropic, messages: Any = HELLO, context: str | None = None) -> Message:
    headers = {} if context is None else {"x-handrail-context": context}
    async with client.messages.stream(
        model=MODEL, max_tokens=99, messages=messages, extra_headers=headers
    ) as streaming:
        return await streaming.get_final_message()


def answering(call_id: str, said: str, name: str = "Read") -> Any:
    use = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    result = {"type": "tool_result", "tool_use_id": call_id, "content": said}
    return [*HELLO, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]


async def test_many_at_once_each_get_their_own_answer(ready: World) -> None:
    ready.api.decide = lambda asked: message(f"Hello, {asked['messages'][0]['content']}.")
    async with ready.client() as client:
        names = [f"client {number}" for number in range(12)]
        found = await asyncio.gather(*(ask(client, [{"role": "user", "content": name}]) for name in names))
    assert [one.content[0].to_dict() for one in found] == [text(f"Hello, {name}.").to_dict() for name in names]


async def test_an_endpoint_that_gives_each_call_the_same_id(ready: World) -> None:
    """Compatible endpoints count the calls of each answer from nought."""
    ready.api.decide = lambda _asked: message(tool_use("Read", {"file_path": "a"}, "call_0"))
    async with ready.client() as client:
        first = await ask(client, context="one")
        second = await ask(client, context="two")
    assert [one.stop_reason for one in (first, second)] == ["tool_use", "tool_use"]
    released = await ready.entries(EntryType.STEP_RELEASED)
    assert [one["context_id"] for one in released] == ["one", "two"]

    ready.api.decide = lambda _asked: message("Thanks.")
    async with ready.client() as client:
        await ask(client, answering("call_0", "of two"), context="two")
        await ask(client, answering("call_0", "of one"), context="one")
    reported = await ready.entries(EntryType.STEP_REPORTED)
    assert [(one["context_id"], one["plan_id"]) for one in reported] == [
        (one["context_id"], one["plan_id"]) for one in reversed(released)
    ]
