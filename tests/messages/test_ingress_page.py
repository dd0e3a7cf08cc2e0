"""The programs of docs/ingress.md whose model is asked through a gateway, run as they stand there."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from gateway.entries import EntryType
from tests.anthropic_api.blocks import message
from tests.anthropic_api.server import StandIn
from tests.messages.scripts import one_tool, results
from tests.messages.world import World, world
from tests.meta.tree import ROOT
from tests.services import require

PAGE = (ROOT / "docs" / "ingress.md").read_text(encoding="utf-8")
FRAMEWORKS = ROOT / ".tools" / "agent-frameworks" / "bin" / "python"
URL = "http://127.0.0.1:8080"
NOTES = "Forty-two."
TOOLS = {"read_notes": {"side_effects": "none"}}


@pytest.fixture
async def ready(tmp_path: Path, anthropic_api: StandIn) -> AsyncIterator[World]:
    async with world(tmp_path / "gateway", anthropic_api, tools=TOOLS) as ready:
        yield ready


async def run(ready: World, folder: Path, python: Path, name: str) -> str:
    """What a program of the page prints, in a folder with notes.txt in it."""
    [text] = re.findall(rf"^```python\n(# {re.escape(name)}\n.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert URL in text
    (folder / "notes.txt").write_text(NOTES)
    (folder / name).write_text(text.replace(URL, ready.url))
    process = await asyncio.create_subprocess_exec(
        *(str(python), name),
        cwd=folder,
        env={"HOME": str(folder), "HANDRAIL_API_KEY": ready.keys["bot"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode().strip()


def told(ready: World) -> Sequence[str]:
    """What the model was told of its calls."""
    return [str(one["content"]) for one in results(ready.api.asked[-1].json)]


async def test_langchain(ready: World, tmp_path: Path) -> None:
    require(FRAMEWORKS.exists(), "the agent frameworks", "Run .ci/agent-frameworks.")
    ready.api.decide = one_tool("read_notes", {}, last=f"They say: {NOTES}")
    assert await run(ready, tmp_path, FRAMEWORKS, "chain.py") == f"They say: {NOTES}"
    assert NOTES in told(ready)[0]
    [released] = await ready.entries(EntryType.STEP_RELEASED)
    [reported] = await ready.entries(EntryType.STEP_REPORTED)
    assert released["action"] == "read_notes"
    assert (reported["plan_id"], reported["step_id"]) == (released["plan_id"], released["step_id"])


async def test_langchain_is_told_of_a_call_that_is_denied(ready: World, tmp_path: Path) -> None:
    require(FRAMEWORKS.exists(), "the agent frameworks", "Run .ci/agent-frameworks.")
    ready.api.decide = one_tool("delete_notes", {})
    said = await run(ready, tmp_path, FRAMEWORKS, "chain.py")
    assert "schema.unknown_action" in said
    assert len(ready.api.asked) == 1


async def test_the_sdk(ready: World, tmp_path: Path) -> None:
    ready.api.script(message("Hello, reader."))
    assert await run(ready, tmp_path, Path(sys.executable), "ask_model.py") == "Hello, reader."
