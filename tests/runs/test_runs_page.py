"""The page about runs, done as it says: its configuration loads, its commands run, and both say what the model said."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings, SettingsError
from tests import services
from tests.anthropic_api.blocks import message, tool_use
from tests.runs.world import ROOT, World

PAGE = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
TOML = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
(SHELL,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
(COMMAND,) = re.findall(r"^    handrail (run .*)$", PAGE, re.MULTILINE)


def test_the_declarations_load_together() -> None:
    settings = Settings(**tomllib.loads("\n".join(TOML)))
    assert set(settings.brains) == {"claude", "small", "house"}


def shell(script: str, directory: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **variables}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def script(here: World) -> None:
    here.api.decide = lambda body: (
        message("I look.", tool_use("desk__look", {"text": "x"})) if len(body["messages"]) == 1 else message("A desk.")
    )


async def test_the_requests_of_the_page(here: World, tmp_path: Path) -> None:
    services.require(shutil.which("curl"), "curl", "apt-get install curl")
    script(here)
    (tmp_path / "agent.header").write_text(f"Authorization: Bearer {here.keys['bot']}\n")
    done = await asyncio.to_thread(shell, SHELL, tmp_path, url=here.url)
    assert done.returncode == 0, done.stderr
    events, _, shown = done.stdout.rpartition("event: done\n")
    assert events.count("event: turn\n") >= 2
    view = json.loads(shown[shown.index("\n{") :])
    assert (view["status"], view["text"], view["steps"], view["tokens"]) == ("done", "A desk.", 3, 34)


async def test_the_command_of_the_page(here: World, tmp_path: Path) -> None:
    script(here)
    words = [sys.executable, "-c", "from gateway.cli.main import run; run()", *shlex.split(COMMAND)]
    variables = {"HANDRAIL_URL": here.url, "HANDRAIL_API_KEY": here.keys["bot"], "HANDRAIL_HOME": str(tmp_path / "x")}

    def call(*more: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, **variables}
        return subprocess.run([*words, *more], env=environment, capture_output=True, text=True, check=False)

    done = await asyncio.to_thread(call)
    assert (done.returncode, done.stdout) == (0, "A desk.\n"), done.stderr
    assert "desk look: succeeded" in done.stderr
    as_json = await asyncio.to_thread(call, "--json")
    assert json.loads(as_json.stdout)["text"] == "A desk."
    here.api.decide = lambda _body: message("No.", stop_reason="refusal")
    failed = await asyncio.to_thread(call)
    assert (failed.returncode, "run.stopped" in failed.stdout, "refusal" in failed.stdout) == (1, True, True)


@pytest.mark.parametrize(
    "said",
    [
        {"brains": {"a": {"model": "m"}}},
        {"brains": {"a": {"model": "m", "hand": "h", "fallback": ["b"]}}, "hands": "h"},
        {"brains": {"a": {}}},
    ],
)
def test_a_brain_without_a_hand_or_with_an_unknown_fallback_is_refused(said: dict[str, Any]) -> None:
    if said.get("hands"):
        said = {**said, "hands": {"h": {"adapter": "anthropic", "base_url": "https://x.example"}}}
    with pytest.raises((ValueError, SettingsError)):
        Settings(**said)
