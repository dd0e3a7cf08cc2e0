"""What Claude Code asks of the Messages API and does with its answers, at the stand-in, with nothing between.

A gateway relies on it; when a new version behaves otherwise, this says where.
"""

from pathlib import Path

import pytest

from tests.anthropic_api.answers import Scripted, error_event, failure, of_message, stream
from tests.anthropic_api.blocks import PING, message, streamed, tool_use
from tests.anthropic_api.server import StandIn
from tests.messages.programs import Turn, agent_sdk_turn, claude_code_turn
from tests.messages.scripts import LAST, first_then, one_tool, results

ECHO = {"command": "echo handrail-$((6*7))", "description": "Say a number"}
CALL = message("I will look.", tool_use("Bash", ECHO))
PIECES = streamed(CALL)


async def turn(api: StandIn, folder: Path, **environment: str) -> Turn:
    return await claude_code_turn(
        api.url, api.key, "Run echo.", folder, "--allowedTools", "Bash", environment=environment
    )


async def test_a_turn_with_a_tool(anthropic_api: StandIn, tmp_path: Path) -> None:
    anthropic_api.decide = one_tool("Bash", ECHO)
    done = await turn(anthropic_api, tmp_path)
    assert (done.code, done.text) == (0, LAST), done.errors
    first, second = anthropic_api.requests
    assert {first.target, second.target} == {"/v1/messages?beta=true"}
    assert len(first.body) > 40_000
    assert len(first.betas) > 4
    assert first.headers["x-api-key"] == anthropic_api.key
    assert first.json["stream"] is True
    assert {one["role"] for one in first.json["messages"]} == {"user", "system"}
    (result,) = results(second.json)
    assert (result["content"], result["is_error"]) == ("handrail-42", False)


async def test_a_turn_of_the_agent_sdk(anthropic_api: StandIn, tmp_path: Path) -> None:
    anthropic_api.decide = one_tool("Bash", ECHO)
    done = await agent_sdk_turn(anthropic_api.url, anthropic_api.key, "Run echo.", tmp_path, "Bash")
    assert (done.code, done.text) == (0, LAST), done.errors
    assert [what for _, what in done.ran] == ["handrail-42"]
    assert {one.target for one in anthropic_api.requests} == {"/v1/messages?beta=true"}


async def test_it_begins_with_a_greeting_unless_it_is_told_not_to(anthropic_api: StandIn, tmp_path: Path) -> None:
    anthropic_api.decide = one_tool("Bash", ECHO)
    done = await turn(anthropic_api, tmp_path, CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="")
    assert (done.code, done.text) == (0, LAST), done.errors
    greetings = [(one.method, one.target) for one in anthropic_api.requests if one.path != "/v1/messages"]
    assert greetings in ([], [("HEAD", "/api/hello")])


async def test_a_bearer_token(anthropic_api: StandIn, tmp_path: Path) -> None:
    anthropic_api.decide = one_tool("Bash", ECHO)
    done = await turn(anthropic_api, tmp_path, ANTHROPIC_API_KEY="", ANTHROPIC_AUTH_TOKEN=anthropic_api.key)
    assert done.text == LAST
    assert anthropic_api.requests[0].headers["authorization"] == f"Bearer {anthropic_api.key}"


async def test_a_header_of_ones_own(anthropic_api: StandIn, tmp_path: Path) -> None:
    anthropic_api.decide = one_tool("Bash", ECHO)
    await turn(anthropic_api, tmp_path, ANTHROPIC_CUSTOM_HEADERS="x-handrail-key: abc")
    assert {one.headers["x-handrail-key"] for one in anthropic_api.asked} == {"abc"}


async def test_tools_that_are_searched_for(anthropic_api: StandIn, tmp_path: Path) -> None:
    anthropic_api.decide = first_then(message("Search.", tool_use("ToolSearch", {"query": "select:WebFetch"})))
    await turn(anthropic_api, tmp_path)
    first, second = anthropic_api.asked
    assert [tool["name"] for tool in first.json["tools"] if tool.get("defer_loading")] == ["DeferredToolPlaceholder"]
    assert "WebFetch" not in first.tools
    assert "WebFetch" in second.tools
    (result,) = results(second.json)
    assert result["content"] == [{"type": "tool_reference", "tool_name": "WebFetch"}]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(stream(*PIECES[:-1]), id="no-end-of-the-message"),
        pytest.param(stream(*PIECES[:-2]), id="no-stop-reason"),
        pytest.param(stream(*PIECES[:-2], error_event()), id="an-error-after-the-block"),
        pytest.param(message(tool_use("Bash", ECHO), stop_reason="end_turn"), id="end_turn"),
        pytest.param(message(tool_use("Bash", ECHO), stop_reason="max_tokens"), id="max_tokens"),
        pytest.param(message(tool_use("Bash", ECHO), stop_reason="pause_turn"), id="pause_turn"),
        pytest.param(message(tool_use("Bash", ECHO), "The other call is denied."), id="a-text-after-it"),
    ],
)
async def test_a_whole_block_is_run_whatever_follows(anthropic_api: StandIn, tmp_path: Path, answer: Scripted) -> None:
    anthropic_api.decide = first_then(answer)
    done = await turn(anthropic_api, tmp_path)
    assert [what for _, what in done.ran] == ["handrail-42"]
    assert done.text == "Fine."


@pytest.mark.parametrize(
    ("answer", "streams"),
    [
        pytest.param(stream(*PIECES[:5], error_event()), [True, False], id="an-error-after-text"),
        pytest.param(stream(PIECES[0], error_event()), [True, True], id="an-error-at-the-beginning"),
        pytest.param(of_message(CALL, as_stream=False), [True, False], id="no-stream-where-one-was-asked-for"),
        pytest.param(failure(404, "no"), [True, False], id="404"),
        pytest.param(failure(400, "no"), [True, True], id="400"),
        pytest.param(failure(429, "slowly", retry_after="0"), [True, True], id="429"),
        pytest.param(failure(529, "busy", retry_after="0"), [True, True], id="529"),
    ],
)
async def test_the_same_is_asked_again(
    anthropic_api: StandIn, tmp_path: Path, answer: Scripted, streams: list[bool]
) -> None:
    anthropic_api.decide = first_then(answer)
    done = await turn(anthropic_api, tmp_path)
    assert (done.ran, done.text) == ([], "Fine.")
    asked = [one.json for one in anthropic_api.asked]
    assert [bool(one.pop("stream", False)) for one in asked] == streams
    assert asked[0]["messages"] == asked[1]["messages"]


async def test_what_had_come_of_a_broken_turn_is_kept(anthropic_api: StandIn, tmp_path: Path) -> None:
    anthropic_api.decide = first_then(stream(*PIECES[:-3], error_event()))
    done = await turn(anthropic_api, tmp_path)
    assert (done.ran, done.text) == ([], "Fine.")
    *_, kept, reminder = anthropic_api.asked[1].json["messages"]
    assert (kept["role"], kept["content"][0]["text"]) == ("assistant", "I will look.")
    assert reminder["role"] == "user"


@pytest.mark.parametrize("status", [403, 413])
async def test_an_error_ends_the_turn(anthropic_api: StandIn, tmp_path: Path, status: int) -> None:
    anthropic_api.decide = first_then(failure(status, "The policy says no."))
    done = await turn(anthropic_api, tmp_path)
    assert done.code == 1
    assert len(anthropic_api.asked) == 1
    assert ("The policy says no." in done.text) == (status == 403)


async def test_a_text_in_the_place_of_a_call_ends_the_turn(anthropic_api: StandIn, tmp_path: Path) -> None:
    anthropic_api.decide = first_then(message("I will look.", "The call is denied.", stop_reason="end_turn"))
    done = await turn(anthropic_api, tmp_path)
    assert done.text.endswith("The call is denied.")
    assert len(anthropic_api.asked) == 1


async def test_a_stop_for_tools_without_one_makes_it_ask_for_the_call(anthropic_api: StandIn, tmp_path: Path) -> None:
    anthropic_api.decide = first_then(message("The call is denied.", stop_reason="tool_use"))
    done = await turn(anthropic_api, tmp_path)
    assert done.text == "Fine."
    assert len(anthropic_api.asked) == 2


async def test_pings_disturb_nothing(anthropic_api: StandIn, tmp_path: Path) -> None:
    anthropic_api.decide = first_then(stream(*PIECES[:4], *[PING] * 1000, *PIECES[4:]))
    done = await turn(anthropic_api, tmp_path)
    assert [what for _, what in done.ran] == ["handrail-42"]
