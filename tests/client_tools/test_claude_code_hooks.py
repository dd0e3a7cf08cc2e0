"""Claude Code as npm has it, with the settings of docs/client-tools.md, at a gateway and a stand-in of the Messages
API."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import StandIn
from tests.client_tools.world import World, block
from tests.messages.programs import Turn, claude_code_turn
from tests.messages.scripts import one_tool, results

LS: Mapping[str, Any] = {"command": "echo handrail-$((6*7))", "description": "Say a number"}


async def turn(api: StandIn, house: World, folder: Path, *options: str, url: str = "", key: str = "") -> Turn:
    folder.mkdir()
    settings = folder / "settings.json"
    settings.write_text(block("json", 1).replace("http://127.0.0.1:8080", url or house.url))
    return await claude_code_turn(
        api.url, api.key, "Go on.", folder / "turn", "--settings", str(settings), *options,
        environment={"HANDRAIL_API_KEY": key or house.keys["ada"]},
    )  # fmt: skip


def session(done: Turn) -> str:
    return f"claude-code.{next(one['session_id'] for one in done.said if 'session_id' in one)}"


async def test_an_allowed_tool_runs_and_is_reported(anthropic_api: StandIn, house: World, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("Forty-two.")
    anthropic_api.decide = one_tool("Read", {"file_path": str(tmp_path / "notes.md")})
    done = await turn(anthropic_api, house, tmp_path / "a", "--allowedTools", "Read")
    assert done.code == 0, done.errors
    [step] = house.steps(session(done))
    assert (step["hand"], step["action"], step["status"]) == ("claude-code", "Read", "released"), step
    assert step["reported"]["is_error"] is False
    [(_, said)] = done.ran
    assert "Forty-two." in said
    assert "Forty-two." in step["reported"]["content"][0]["text"]


async def test_a_denied_tool_does_not_run_and_the_model_reads_why(
    anthropic_api: StandIn, house: World, tmp_path: Path
) -> None:
    anthropic_api.decide = one_tool("WebFetch", {"url": "https://example.org/", "prompt": "What is it?"})
    done = await turn(anthropic_api, house, tmp_path / "a", "--allowedTools", "WebFetch")
    [step] = house.steps(session(done))
    assert step["status"] == "denied"
    [(_, said)] = done.ran
    assert "policy.denied: Policy denies this step." in said
    assert "This call was not made." in said


async def test_a_call_that_asks_passes_once_after_a_person_approved_it(
    anthropic_api: StandIn, house: World, tmp_path: Path
) -> None:
    def decide(asked: Mapping[str, Any]) -> Any:
        found = results(asked)
        if not asked.get("tools") or len(found) > 2:
            return message("Enough.")
        if len(found) == 1:
            house.approve()
        return message("Again.", tool_use("Bash", LS))

    anthropic_api.decide = decide
    done = await turn(anthropic_api, house, tmp_path / "a", "--allowedTools", "Bash")
    said = [text for _, text in done.ran]
    assert "Waiting for a person: approval" in said[0]
    assert said[1] == "handrail-42"
    assert "Waiting for a person: approval" in said[2]
    first, second = house.steps(session(done))
    assert (first["status"], first["reported"]["is_error"]) == ("released", False)
    assert "handrail-42" in first["reported"]["content"][0]["text"]
    assert second["status"] == "held"


async def test_a_tool_that_failed_is_reported_as_failed(anthropic_api: StandIn, house: World, tmp_path: Path) -> None:
    anthropic_api.decide = one_tool("Read", {"file_path": str(tmp_path / "nothing.md")})
    done = await turn(anthropic_api, house, tmp_path / "a")
    [step] = house.steps(session(done))
    assert step["status"] == "released", step
    assert step["reported"]["is_error"] is True


async def test_where_no_gateway_answers_nothing_runs(anthropic_api: StandIn, house: World, tmp_path: Path) -> None:
    anthropic_api.decide = one_tool("Bash", LS)
    nobody = "http://127.0.0.1:9"
    done = await turn(anthropic_api, house, tmp_path / "a", "--allowedTools", "Bash", url=nobody)
    assert "handrail-42" not in str(done.ran)


async def test_with_a_key_that_is_none_nothing_runs(anthropic_api: StandIn, house: World, tmp_path: Path) -> None:
    anthropic_api.decide = one_tool("Bash", LS)
    done = await turn(anthropic_api, house, tmp_path / "a", "--allowedTools", "Bash", key="hr_nobody")
    [(_, said)] = done.ran
    assert "auth.invalid" in said


async def test_a_body_too_large_to_be_judged_does_not_run(anthropic_api: StandIn, house: World, tmp_path: Path) -> None:
    anthropic_api.decide = one_tool("Bash", {"command": f"echo ran # {'a' * 2_000_000}"})
    done = await turn(anthropic_api, house, tmp_path / "a", "--allowedTools", "Bash")
    [(_, said)] = done.ran
    assert "request.too_large" in said
