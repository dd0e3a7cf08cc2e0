"""Claude Code and claude-agent-sdk as docs/ingress.md connects them: they find the gateway's tools and call one."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.tool_names import tool_name
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import StandIn
from tests.mcp_conformance.legs import SERVER, everything, governed
from tests.messages.programs import AGENT_SDK, claude_code, claude_code_turn
from tests.messages.scripts import results
from tests.meta.tree import ROOT
from tests.services import require

PAGE = (ROOT / "docs" / "ingress.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ claude (mcp add .*)$", PAGE, re.MULTILINE)
[PROGRAM] = re.findall(r"^```python\n(# agent\.py\n.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
ADDRESS = "http://127.0.0.1:8080"
HAND = "everything-of-a-long-named-hand"
TOOL = f"mcp__handrail__{tool_name(HAND, 'test_simple_text')}"
"""As Claude Code calls it: with its own prefix as long as a name may be."""
SAID = "This is a simple text response for testing."


@dataclass
class Connected:
    """A gateway with a hand, and a model that calls a tool of it.

    Attributes:
        told: what the model was told of its calls.
    """

    url: str
    key: str
    api: StandIn
    told: Sequence[str]


@pytest.fixture
async def connected(anthropic_api: StandIn, tmp_path: Path) -> AsyncIterator[Connected]:
    require(SERVER.is_dir(), "the everything-server", "Run make tools.")
    told: list[str] = []

    def decide(asked: Mapping[str, Any]) -> Any:
        told.extend(str(one["content"]) for one in results(asked))
        if not asked.get("tools") or results(asked):
            return message("Done.")
        return message("I ask.", tool_use(TOOL, {}))

    anthropic_api.decide = decide
    async with everything(tmp_path / "server.log") as server:
        hand = {"adapter": "mcp", "private_network": True, "url": server}
        async with governed({HAND: hand}, tmp_path) as (url, key):
            yield Connected(url, key, anthropic_api, told)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A ``PATH`` on which ``handrail`` is this checkout's."""
    program = tmp_path / "bin" / "handrail"
    program.parent.mkdir()
    run = f'exec {shlex.quote(sys.executable)} -c "from gateway.cli.main import run; run()" "$@"'
    program.write_text(f"#!/bin/sh\nPYTHONPATH={shlex.quote(os.pathsep.join(sys.path))} {run}\n")
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


async def printed(folder: Path, environment: Mapping[str, str], *command: str) -> str:
    """What a program prints that ends well, in a home and a folder of its own."""
    home, work = folder / "home", folder / "work"
    home.mkdir(parents=True, exist_ok=True)
    work.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=work,
        env={"PATH": os.defpath, "HOME": str(home), "CLAUDE_CONFIG_DIR": str(home / "claude"), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.parametrize("command", COMMANDS, ids=["http", "stdio"])
async def test_claude_code(connected: Connected, tmp_path: Path, path: str, command: str) -> None:
    folder = tmp_path / "client"
    words = shlex.split(command.replace(ADDRESS, connected.url))
    await printed(folder, {}, str(claude_code()), *words)  # it is not told the key
    done = await claude_code_turn(
        connected.api.url,
        connected.api.key,
        "Ask.",
        folder,
        *("--allowedTools", TOOL),
        environment={"HANDRAIL_API_KEY": connected.key, "PATH": path},
    )
    assert done.code == 0, done.errors
    assert len(TOOL) == 64
    [(_, what)] = done.ran
    assert SAID in what


async def test_claude_agent_sdk(connected: Connected, tmp_path: Path) -> None:
    require(AGENT_SDK.exists(), "claude-agent-sdk", "Run .ci/claude-agent-sdk.")
    program = tmp_path / "agent.py"
    program.write_text(PROGRAM.replace(ADDRESS, connected.url))
    variables = {
        "HANDRAIL_API_KEY": connected.key,
        "ANTHROPIC_BASE_URL": connected.api.url,
        "ANTHROPIC_API_KEY": connected.api.key,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    assert "Done." in await printed(tmp_path / "client", variables, str(AGENT_SDK), str(program))
    [told] = connected.told
    assert SAID in told
