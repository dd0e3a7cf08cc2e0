"""Guards in agents' own loops, each with its framework as it is installed: a denied call is not made and the model
reads why, an allowed one is reported, and without a gateway nothing is called."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import StandIn
from tests.client_tools.world import World, block
from tests.messages.scripts import one_tool, results
from tests.meta.tree import ROOT
from tests.services import require

PYTHON = ROOT / ".tools" / "agent-frameworks" / "bin" / "python"
SCRIPTS = Path(__file__).parent / "frameworks"
FRAMEWORKS = ("anthropic_runner", "langchain_tools", "openai_agents")
NOBODY = "http://127.0.0.1:9"


async def run(script: str | Path, house: World, api: StandIn, folder: Path, ticket: str, *, url: str = "") -> Any:
    """What a program printed, of an agent whose tools are those of the page."""
    require(PYTHON.exists(), "the agent frameworks", "Run .ci/agent-frameworks.")
    (folder / "home").mkdir(exist_ok=True)
    (folder / "office.py").write_text(block("python"))
    path = script if isinstance(script, Path) else SCRIPTS / f"{script}.py"
    ours = isinstance(script, Path) or script == "anthropic_runner"  # what it needs is here already
    process = await asyncio.create_subprocess_exec(
        sys.executable if ours else str(PYTHON),
        str(path),
        cwd=folder,
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder / "home"),
            "PYTHONPATH": f"{ROOT / 'client'}:{folder}",
            "HANDRAIL_URL": url or house.url,
            "HANDRAIL_API_KEY": house.keys["ada"],
            "TICKET": ticket,
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": api.key,
            "CLAUDE_CONFIG_DIR": str(folder / "home" / "claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def letters(asked: Mapping[str, Any]) -> Any:
    """A model that looks Ann up, writes to her, and ends."""
    calls = [tool_use("look_up", {"name": "Ann"}), tool_use("send", {"to": "Ann", "text": "Hello"})]
    done = len(results(asked))
    return message("One moment.", calls[done]) if done < len(calls) else message("Done.")


def told(output: str, api: StandIn) -> list[str]:
    """What the model was told of each call: the program prints it, or the stand-in was sent it."""
    if output:
        return list(json.loads(output))
    contents = [block["content"] for block in results(api.asked[-1].json)]
    return [one if isinstance(one, str) else one[0]["text"] for one in contents]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_tools_of_a_framework_are_judged_and_reported(
    anthropic_api: StandIn, house: World, tmp_path: Path, framework: str
) -> None:
    anthropic_api.decide = letters
    ticket = f"ticket-{framework}"
    first, second = told(await run(framework, house, anthropic_api, tmp_path, ticket), anthropic_api)
    assert first == "Ann lives at 4 Elm Street."
    assert "Waiting for a person: approval" in second
    assert "This call was not made." in second
    looked, held = house.steps(ticket)
    assert (looked["action"], looked["status"]) == ("look_up", "released")
    assert looked["reported"]["content"] == [{"type": "text", "text": "Ann lives at 4 Elm Street."}]
    assert (held["action"], held["status"]) == ("send", "held")
    house.approve()
    _, second = told(await run(framework, house, anthropic_api, tmp_path, ticket), anthropic_api)
    assert second == "Sent to Ann: Hello"


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_without_a_gateway_nothing_is_called(
    anthropic_api: StandIn, house: World, tmp_path: Path, framework: str
) -> None:
    anthropic_api.decide = letters
    output = await run(framework, house, anthropic_api, tmp_path, "ticket-nobody", url=NOBODY)
    for text in (texts := told(output, anthropic_api)):
        assert "Handrail gave no answer" in text
        assert "This call was not made." in text
    assert len(texts) == 2


async def test_hooks_of_the_agent_sdk(anthropic_api: StandIn, house: World, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("Forty-two.")
    anthropic_api.decide = one_tool("Read", {"file_path": str(tmp_path / "notes.md")})
    [said] = json.loads(await run("claude_agent", house, anthropic_api, tmp_path, "ticket-sdk"))
    assert "Forty-two." in said
    [step] = house.steps("ticket-sdk")
    assert (step["action"], step["status"]) == ("Read", "released")
    assert "Forty-two." in step["reported"]["content"][0]["text"]
    anthropic_api.decide = one_tool("WebFetch", {"url": "https://example.org/", "prompt": "What is it?"})
    [said] = json.loads(await run("claude_agent", house, anthropic_api, tmp_path, "ticket-sdk"))
    assert "policy.denied" in said
    for url in (NOBODY, house.url):
        anthropic_api.decide = one_tool("Bash", {"command": "echo handrail-$((6*7))", "description": "Say it"})
        [said] = json.loads(await run("claude_agent", house, anthropic_api, tmp_path, "ticket-sdk", url=url))
        assert "handrail-42" not in said
        assert "This call was not made." in said


async def test_the_program_of_the_page(anthropic_api: StandIn, house: World, tmp_path: Path) -> None:
    said = await run(tmp_path / "office.py", house, anthropic_api, tmp_path, "ticket-page")
    first, second = said.split("\n", 1)
    assert first == "Ann lives at 4 Elm Street."
    assert second.startswith("Waiting for a person: approval")
