"""Claude Code and claude-agent-sdk as processes that take one turn each; both are installed by ``.ci/run``."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.services import require

ROOT: Final = Path(__file__).parents[2]
AGENT_SDK: Final = ROOT / ".tools/claude-agent-sdk/bin/python"
TURN: Final = Path(__file__).with_name("agent_sdk") / "turn.py"
_CLAUDE_CODE: Final = ROOT / ".tools/claude-code/node_modules/@anthropic-ai"
_SECONDS_MAX: Final = 120
"""A bound against hanging, no measure of speed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a program said: a JSON object a line, and its exit code."""

    code: int
    said: Sequence[Mapping[str, Any]]
    errors: str

    @property
    def text(self) -> str:
        """The last words of the turn."""
        return next((str(one["result"]) for one in reversed(self.said) if one["type"] == "result"), "")

    @property
    def ran(self) -> Sequence[tuple[str, str]]:
        """The tools that the program ran or tried to, as the ids of their calls and what came of them."""
        return [
            (str(block["tool_use_id"]), str(block["content"]))
            for one in self.said
            if one["type"] == "user" and isinstance(one["message"]["content"], list)
            for block in one["message"]["content"]
            if block["type"] == "tool_result"
        ]


def claude_code() -> Path:
    """The program, as npm's package for this machine has it.

    Skips or fails a test where it is not installed.
    """
    found = sorted(_CLAUDE_CODE.glob("claude-code-*/claude"))
    require(found, "Claude Code", "Run make tools.")
    return found[0]


async def claude_code_turn(
    url: str, key: str, prompt: str, folder: Path, *options: str, environment: Mapping[str, str] = {}
) -> Turn:
    """``claude -p PROMPT`` in a home of its own.

    Args:
        folder: the home and the working folder are in it; they are made where they are not there.
        options: further ones of the command.
        environment: variables beside those that make it quiet.
    """
    command = [str(claude_code()), "-p", prompt, "--output-format", "stream-json", "--verbose", *options]
    return await _run(command, folder, {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key, **environment})


async def agent_sdk_turn(url: str, key: str, prompt: str, folder: Path, *allowed: str) -> Turn:
    """One ``query(…)`` of claude-agent-sdk, with the Claude Code that it carries.

    Args:
        folder: as above.
        allowed: the tools that it may use without asking its user.
    """
    require(AGENT_SDK.exists(), "claude-agent-sdk", "Run .ci/claude-agent-sdk.")
    command = [str(AGENT_SDK), str(TURN), prompt, *allowed]
    return await _run(command, folder, {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key})


async def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Turn:
    home, work = folder / "home", folder / "work"
    home.mkdir(parents=True, exist_ok=True)
    work.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=work,
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / "claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **environment,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_SECONDS_MAX):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    said = [json.loads(line) for line in output.decode().splitlines() if line]
    return Turn(process.returncode or 0, said, errors.decode())
