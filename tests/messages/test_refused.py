"""What a person refused is not asked again, whichever way an agent takes to a model and its tools."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.entries import EntryType
from tests.anthropic_api.answers import stream
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import StandIn
from tests.messages.parts import END, call, start
from tests.messages.world import World, asking, world

ASKED = EntryType.APPROVAL_REQUESTED
HOOK = "/v1/hooks/claude-code?hand=code"


@pytest.fixture
async def ready(tmp_path: Path, anthropic_api: StandIn) -> AsyncIterator[World]:
    async with world(tmp_path, anthropic_api) as built:
        yield built


async def refuse(ready: World, text: str) -> str:
    """Refuse what a text asks to approve; the id of the request."""
    approval = text.split("/approvals/", 1)[1].split(maxsplit=1)[0].rstrip(".,]")
    await ready.json("POST", f"/v1/approvals/{approval}", "pat", {"answer": "refuse"})
    return approval


def bash(name: str) -> dict[str, Any]:
    return message(tool_use("Bash", {"command": "make", "in": "src"}, name))


@pytest.mark.parametrize("named", [{}, {"x_handrail_context": "ticket-7"}], ids=["no context", "a context"])
async def test_a_model_that_makes_a_refused_call_again_is_told_the_same_and_nobody_is_asked(
    ready: World, named: dict[str, str]
) -> None:
    ready.api.script(bash("toolu_0"))
    approval = await refuse(ready, (await ready.post(asking(), **named)).text)
    said = set()
    for number in range(1, 6):
        ready.api.script(bash(f"toolu_{number}"))
        answer = (await ready.post(asking(f"again {number}"), **named)).json()
        assert answer["stop_reason"] == "end_turn"
        said.add(answer["content"][0]["text"])
    [told] = said
    assert told.startswith(
        "[Handrail did not let the call of Bash through.\napproval.refused: A person refused this call."
    )
    assert len(await ready.entries(ASKED)) == 1
    denials = [one.get("facts", {}).get("approval") for one in await ready.entries(EntryType.POLICY_DENIED)]
    assert denials == [None, *[approval] * 5], "the first is the refusal itself"


async def test_a_streamed_call_in_another_spelling_is_the_same_call(ready: World) -> None:
    ready.api.script(bash("toolu_0"))
    await refuse(ready, (await ready.post(asking())).text)
    written = '{ "in" : "s\\u0072c",\n "command":"make"}'
    ready.api.script(stream(start(), *call(0, written, name="Bash", id="toolu_1"), *END))
    assert "approval.refused" in (await ready.post(asking(stream=True))).text
    assert len(await ready.entries(ASKED)) == 1


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_refused_request_is_not_asked_about_again(
    tmp_path: Path, anthropic_api: StandIn, *, streaming: bool
) -> None:
    word = {"actions": {"model.messages": {"side_effects": "reversible"}}}
    async with world(tmp_path, anthropic_api, model=word, granted={"claude": ["model.messages"]}) as ready:
        body = asking(stream=streaming)
        await refuse(ready, (await ready.post(body)).text)
        for _ in range(3):
            answer = await ready.post(body)
            assert "permission_error" in answer.text
            assert "approval.refused" in answer.text
        assert "/approvals/" in (await ready.post(asking("something else", stream=streaming))).text
        assert ready.api.requests == []
        assert len(await ready.entries(ASKED)) == 2


async def test_a_hook_for_a_refused_call_is_denied_in_its_session_and_asked_in_another(ready: World) -> None:
    before = {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": "make"}}

    async def asked(session: str) -> str:
        decided = (await ready.json("POST", HOOK, "bot", {"session_id": session, **before}))["hookSpecificOutput"]
        assert decided["permissionDecision"] == "deny"
        return str(decided["permissionDecisionReason"])

    await refuse(ready, await asked("s-1"))
    for _ in range(3):
        told = await asked("s-1")
        assert told.startswith("approval.refused: A person refused this call.\n")
        assert told.endswith("\nThis call was not made.")
    assert "/approvals/" in await asked("s-2")
    assert len(await ready.entries(ASKED)) == 2
