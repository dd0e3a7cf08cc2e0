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
LOOK_UP, SEND = ("look_up", {"name": "Ann"}), ("send", {"to": "Ann", "text": "Hello"})
ONE_BY_ONE = json.dumps([[LOOK_UP], [SEND]])
AT_ONCE = json.dumps([[LOOK_UP, ("look_up", {"name": "Bob"}), SEND]])
LOOPS = [
    pytest.param(["anthropic_runner"], id="anthropic_runner"),
    pytest.param(["langchain_agent", "decorator"], id="langchain_agent"),
    pytest.param(["langchain_agent", "middleware"], id="langchain_middleware"),
    pytest.param(["openai_agents"], id="openai_agents"),
]
"""Frameworks that own the loop, and stream."""
FRAMEWORKS = [*LOOPS, pytest.param(["langchain_tools"], id="langchain_tools")]
KNOWN = 'return f"{name} lives at 4 Elm Street."'
NOBODY = "http://127.0.0.1:9"


async def run(
    script: str | Path, house: World, api: StandIn, folder: Path, ticket: str, *words: str, url: str = ""
) -> Any:
    """What a program printed, of an agent whose tools are those of the page, but that nobody knows Bob."""
    require(PYTHON.exists(), "the agent frameworks", "Run .ci/agent-frameworks.")
    (folder / "home").mkdir(exist_ok=True)
    program = block("python")
    assert program.count(KNOWN) == 1
    unknown = f'if name == "Bob":\n        raise LookupError("nobody")\n    {KNOWN}'
    (folder / "office.py").write_text(program.replace(KNOWN, unknown))
    path = script if isinstance(script, Path) else SCRIPTS / f"{script}.py"
    ours = isinstance(script, Path) or script == "anthropic_runner"  # what it needs is here already
    process = await asyncio.create_subprocess_exec(
        sys.executable if ours else str(PYTHON),
        str(path),
        *words,
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


def at_once(asked: Mapping[str, Any]) -> Any:
    """A model that asks for three calls in one answer, and ends."""
    if results(asked):
        return message("Done.")
    [answer] = json.loads(AT_ONCE)
    return message("At once.", *[tool_use(name, args, f"call-{number}") for number, (name, args) in enumerate(answer)])


def words_of(framework: list[str], calls: str) -> list[str]:
    """A program and what it is told; one that has no model at the stand-in is told its answers."""
    return [*framework, calls] if framework == ["openai_agents"] else framework


def told(output: str, api: StandIn) -> list[str]:
    """What the model was told of each call: the program prints it, or the stand-in was sent it."""
    if output:
        return list(json.loads(output))
    contents = [block["content"] for block in results(api.asked[-1].json)]
    return [one if isinstance(one, str) else one[0]["text"] for one in contents]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_tools_of_a_framework_are_judged_and_reported(
    anthropic_api: StandIn, house: World, tmp_path: Path, framework: list[str]
) -> None:
    anthropic_api.decide = letters
    ticket = "ticket-" + "-".join(framework)
    script, *words = words_of(framework, ONE_BY_ONE)
    output = await run(script, house, anthropic_api, tmp_path, ticket, *words)
    first, second = told(output, anthropic_api)
    assert first == "Ann lives at 4 Elm Street."
    assert "Waiting for a person: approval" in second
    assert "This call was not made." in second
    looked, held = house.steps(ticket)
    assert (looked["action"], looked["status"]) == ("look_up", "released")
    assert looked["reported"]["content"] == [{"type": "text", "text": "Ann lives at 4 Elm Street."}]
    assert (held["action"], held["status"]) == ("send", "held")
    house.approve()
    _, second = told(await run(script, house, anthropic_api, tmp_path, ticket, *words), anthropic_api)
    assert second == "Sent to Ann: Hello"


@pytest.mark.parametrize("framework", LOOPS)
async def test_calls_of_one_answer_are_each_judged_and_what_fails_is_reported_as_failed(
    anthropic_api: StandIn, house: World, tmp_path: Path, framework: list[str]
) -> None:
    """In parallel, where the framework does so. What a tool raises reaches its framework, which tells the model."""
    anthropic_api.decide = at_once
    ticket = "ticket-at-once-" + "-".join(framework)
    script, *words = words_of(framework, AT_ONCE)
    known, failed, held = told(await run(script, house, anthropic_api, tmp_path, ticket, *words), anthropic_api)
    assert known == "Ann lives at 4 Elm Street."
    assert failed
    assert "lives at" not in failed
    assert "Waiting for a person: approval" in held
    steps = house.steps(ticket)
    said = sorted(
        (one["action"], one["status"], one.get("reported", {}).get("is_error"))
        for one in steps
        if one["status"] != "held"
    )
    assert said == [("look_up", "released", False), ("look_up", "released", True)]
    assert [one["action"] for one in steps if one["status"] == "held"] == ["send"]
    [raised] = [one["reported"]["content"] for one in steps if one.get("reported", {}).get("is_error")]
    assert "LookupError" in raised[0]["text"]
    assert "nobody" not in raised[0]["text"], "the words of an exception may hold anything"


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_without_a_gateway_nothing_is_called(
    anthropic_api: StandIn, house: World, tmp_path: Path, framework: list[str]
) -> None:
    anthropic_api.decide = letters
    script, *words = words_of(framework, ONE_BY_ONE)
    output = await run(script, house, anthropic_api, tmp_path, "ticket-nobody", *words, url=NOBODY)
    for text in (texts := told(output, anthropic_api)):
        assert "Handrail gave no answer" in text
        assert "This call was not made." in text
    assert len(texts) == 2


async def test_the_tool_that_runs_is_judged_and_what_it_gets(
    anthropic_api: StandIn, house: World, tmp_path: Path
) -> None:
    """Whatever the model called it: its name is another, and its schema changes what the model said."""
    anthropic_api.decide = one_tool("look_up", {"name": "Ann"})
    words = ("langchain_agent", house, anthropic_api, tmp_path, "ticket-another", "another")
    await run(*words)
    assert "Waiting for a person: approval" in told("", anthropic_api)[0]
    [held] = house.steps("ticket-another")
    assert (held["action"], held["status"]) == ("send", "held")
    request, *_ = house.get("/v1/approvals?status=open", "bob")["approvals"]
    shown = json.dumps(house.get(f"/v1/approvals/{request['id']}", "bob"))
    assert "Ann Smith" in shown, "whoever approves sees what the tool gets"
    assert "Hello" in shown
    house.approve()
    await run(*words)
    assert told("", anthropic_api) == ["Sent to Ann Smith: Hello (tool)"]
    anthropic_api.decide = one_tool("look_up", {"name": 4})
    await run(*words)
    assert told("", anthropic_api) == [
        "send does not take these arguments: name: Input should be a valid string. This call was not made."
    ]
    assert len(house.steps("ticket-another")) == 1


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


async def test_hooks_of_the_agent_sdk_judge_each_call_of_one_answer(
    anthropic_api: StandIn, house: World, tmp_path: Path
) -> None:
    (tmp_path / "notes.md").write_text("Forty-two.")
    reads = [tool_use("Read", {"file_path": str(tmp_path / name)}, name) for name in ("notes.md", "nothing.md")]
    fetch = tool_use("WebFetch", {"url": "https://example.org/", "prompt": "What is it?"}, "fetch")

    def decide(asked: Mapping[str, Any]) -> Any:
        return message("At once.", *reads, fetch) if asked.get("tools") and not results(asked) else message("Done.")

    anthropic_api.decide = decide
    said = json.loads(await run("claude_agent", house, anthropic_api, tmp_path, "ticket-sdk-at-once"))
    assert len(said) == 3
    assert len([text for text in said if "Forty-two." in text]) == 1
    assert len([text for text in said if "policy.denied" in text]) == 1
    steps = house.steps("ticket-sdk-at-once")
    read = sorted(one["reported"]["is_error"] for one in steps if one["action"] == "Read")
    assert read == [False, True]
    assert [one["status"] for one in steps if one["action"] == "WebFetch"] == ["denied"]


async def test_the_program_of_the_page(anthropic_api: StandIn, house: World, tmp_path: Path) -> None:
    said = await run(tmp_path / "office.py", house, anthropic_api, tmp_path, "ticket-page")
    first, second = said.split("\n", 1)
    assert first == "Ann lives at 4 Elm Street."
    assert second.startswith("Waiting for a person: approval")
