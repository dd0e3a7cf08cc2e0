"""Claude Code and claude-agent-sdk with nothing changed but URL and key: a turn with a tool through a real gateway."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from gateway.entries import EntryType
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import StandIn
from tests.messages.pair import TOOLS
from tests.messages.programs import Turn, agent_sdk_turn, claude_code_turn
from tests.messages.scripts import LAST, first_then, one_tool, results
from tests.messages.world import World, world

Program: TypeAlias = Callable[[World, Path], Awaitable[Turn]]
ECHO = {"command": "echo handrail-$((6*7))", "description": "Say a number"}
SAID = "handrail-42"


@pytest.fixture
async def open_world(tmp_path: Path, anthropic_api: StandIn) -> AsyncIterator[World]:
    """Its policy allows the client's tools."""
    async with world(tmp_path / "gateway", anthropic_api, tools=TOOLS) as ready:
        yield ready


@pytest.fixture
async def shipped_world(tmp_path: Path, anthropic_api: StandIn) -> AsyncIterator[World]:
    """A person is asked about ``Bash``."""
    async with world(tmp_path / "gateway", anthropic_api) as ready:
        yield ready


async def claude(ready: World, folder: Path, *options: str) -> Turn:
    return await claude_code_turn(
        ready.base_url, ready.keys["bot"], "Run echo.", folder, "--allowedTools", "Bash", *options
    )


async def sdk(ready: World, folder: Path) -> Turn:
    return await agent_sdk_turn(ready.base_url, ready.keys["bot"], "Run echo.", folder, "Bash")


PROGRAMS = pytest.mark.parametrize("program", [claude, sdk], ids=["claude-code", "claude-agent-sdk"])


@PROGRAMS
async def test_a_turn_with_a_tool(open_world: World, tmp_path: Path, program: Program) -> None:
    ready = open_world
    ready.api.decide = one_tool("Bash", ECHO)
    done = await program(ready, tmp_path / "client")
    assert (done.code, done.text) == (0, LAST), (done.errors, done.said[-1:])
    [(call, what)] = done.ran
    assert what == SAID

    first, second = ready.api.asked
    assert [one["content"] for one in results(second.json)] == [SAID]
    assert {one.target for one in (first, second)} == {"/v1/messages?beta=true"}
    assert len(first.betas) > 4
    # The gateway's key goes out in place of the client's.
    key = ready.keys["bot"].encode()
    assert {one.headers["x-api-key"] for one in (first, second)} == {ready.api.key}
    assert not any(key in f"{one.headers} {one.target}".encode() + one.body for one in (first, second))

    [released] = await ready.entries(EntryType.STEP_RELEASED)
    [reported] = await ready.entries(EntryType.STEP_REPORTED)
    assert (released["hand"], released["action"], released["step_id"]) == ("code", "Bash", call)
    assert (reported["plan_id"], reported["step_id"]) == (released["plan_id"], call)
    asked = [one for one in await ready.entries(EntryType.STEP_EXECUTED) if one["action"] == "model.messages"]
    assert len(asked) == 2
    assert {one["context_id"] for one in [*asked, released, reported]} == {released["context_id"]}


@PROGRAMS
async def test_a_call_that_is_denied_is_a_text_and_ends_the_turn(
    open_world: World, tmp_path: Path, program: Program
) -> None:
    ready = open_world
    ready.api.decide = first_then(message("I will look.", tool_use("WebFetch", {"url": "http://127.0.0.1:9/"})))
    done = await program(ready, tmp_path / "client")
    assert (done.code, done.ran) == (0, [])
    assert "Handrail did not let the call of WebFetch through" in done.text
    assert len(ready.api.asked) == 1
    assert await ready.entries(EntryType.STEP_RELEASED) == []


async def test_one_of_two_calls_is_let_go(open_world: World, tmp_path: Path) -> None:
    ready = open_world
    two = message(tool_use("Write", {"file_path": "x", "content": "x"}), tool_use("Bash", ECHO))
    ready.api.decide = first_then(two)
    done = await claude(ready, tmp_path / "client")
    assert [what for _, what in done.ran] == [SAID]
    assert not (tmp_path / "client" / "work" / "x").exists()


async def test_a_person_approves_and_the_same_call_passes_once(shipped_world: World, tmp_path: Path) -> None:
    ready, folder = shipped_world, tmp_path / "client"
    ready.api.decide = one_tool("Bash", ECHO)
    held = await claude(ready, folder)
    assert (held.code, held.ran) == (0, [])
    assert "/approvals/" in held.text
    await ready.approve(held.text)
    again = await claude(ready, folder, "--continue")
    assert [what for _, what in again.ran] == [SAID], again.text
    assert again.text == LAST
    third = await claude(ready, folder, "--continue")
    assert third.ran == []
    assert "/approvals/" in third.text
    assert len(await ready.entries(EntryType.STEP_RELEASED)) == 1
