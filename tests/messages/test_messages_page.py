"""What docs/messages.md tells users of clients to do, done: its configuration, and every program of it."""

import asyncio
import os
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.anthropic_api.blocks import message
from tests.anthropic_api.server import StandIn
from tests.messages.programs import AGENT_SDK, claude_code
from tests.messages.scripts import one_tool, results
from tests.messages.world import World, world
from tests.meta.tree import ROOT
from tests.services import require

PAGE = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
URL = "http://127.0.0.1:8080"
NOTES = "Forty-two."


def block(language: str, holding: str) -> str:
    """The block of the page with these words in it."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    [found] = [one for one in blocks if holding in one]
    return str(found)


@pytest.fixture
async def ready(tmp_path: Path, anthropic_api: StandIn) -> AsyncIterator[World]:
    """The page's configuration, but for the address of the API."""
    hands: dict[str, Any] = tomllib.loads(block("toml", "[hands.claude]"))["hands"]
    model = {name: value for name, value in hands["claude"].items() if name not in {"adapter", "base_url"}}
    [secret] = model["secrets"]
    async with world(tmp_path / "gateway", anthropic_api, tools=hands["code"]["actions"], model=model) as ready:
        named = {"name": secret, "value": anthropic_api.key}
        await ready.json("POST", "/v1/secrets", "admin", named, 201)
        yield ready


async def run(ready: World, folder: Path, *command: str) -> str:
    """What a program prints, in a folder with notes.txt in it and a home of its own."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={
            "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(folder),
            "HANDRAIL_API_KEY": ready.keys["bot"],
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def prepared(tmp_path: Path, name: str, text: str, ready: World) -> tuple[Path, Path]:
    """A folder with notes, and in it the page's block as a file that goes to this gateway."""
    folder = tmp_path / "client"
    folder.mkdir()
    (folder / "notes.txt").write_text(NOTES)
    assert URL in text
    (folder / name).write_text(text.replace(URL, ready.url))
    return folder, folder / name


def reading(ready: World, folder: Path) -> Sequence[str]:
    """Have the model read the notes, and give back what it is told of them."""
    told: list[str] = []
    call = one_tool("Read", {"file_path": str(folder / "notes.txt")}, last=f"They say: {NOTES}")

    def decide(asked: Any) -> Any:
        told.extend(str(one["content"]) for one in results(asked))
        return call(asked)

    ready.api.decide = decide
    return told


async def test_claude_code(ready: World, tmp_path: Path) -> None:
    folder, script = prepared(tmp_path, "ask.sh", block("sh", "claude -p"), ready)
    (folder / "claude").symlink_to(claude_code())
    told = reading(ready, folder)
    assert NOTES in await run(ready, folder, "sh", str(script))
    assert NOTES in told[0]


async def test_claude_agent_sdk(ready: World, tmp_path: Path) -> None:
    require(AGENT_SDK.exists(), "claude-agent-sdk", "Run .ci/claude-agent-sdk.")
    folder, program = prepared(tmp_path, "ask_agent.py", block("python", "claude_agent_sdk"), ready)
    told = reading(ready, folder)
    assert NOTES in await run(ready, folder, str(AGENT_SDK), str(program))
    assert NOTES in told[0]


async def test_the_sdk(ready: World, tmp_path: Path) -> None:
    folder, program = prepared(tmp_path, "ask_model.py", block("python", "from anthropic import"), ready)
    ready.api.script(message("Hello, reader."))
    assert await run(ready, folder, sys.executable, str(program)) == "Hello, reader."
