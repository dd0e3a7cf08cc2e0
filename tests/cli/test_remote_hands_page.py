"""The page about remote hands, done as it says: its declaration, its commands, and its program as a process."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli import real
from tests.cli.real import CONFIG
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "remote-hands.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
[PROGRAM] = [text for language, text in BLOCKS if language == "python"]
[DECLARATION] = [text for language, text in BLOCKS if language == "toml"]
[COMMANDS] = [text for language, text in BLOCKS if language == "console"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    work = tmp_path_factory.mktemp("notes")
    config = CONFIG + DECLARATION.replace("{", "{{").replace("}", "}}")
    with real.gateway(work, config, {"ada": "agent"}, signer="ada", issuer="ada-laptop") as home:
        for line in COMMANDS.splitlines():
            words = line.removeprefix("$ handrail ").split()
            done = real.invoke(home, *words, "--as", "admin", "--json")
            assert done.exit_code == 0, done.output
        key = json.loads(done.stdout)["api_key"]["token"]
        url = json.loads((home / "cli.json").read_text())["url"]
        program = PROGRAM.replace("http://127.0.0.1:8080", url).replace("handrail.local/log", "handrail.test/replay")
        (work / "notes_hand.py").write_text(program, encoding="utf-8")
        environment = {**os.environ, "HAND_KEY": key}
        with subprocess.Popen([sys.executable, "notes_hand.py"], cwd=work, env=environment) as process:
            try:
                yield home
            finally:
                process.kill()


def find(home: Path, text: str) -> Any:
    """The one step of a plan that asks the hand."""
    action = {"id": "s", "hand": "notes", "action": "find", "args": {"text": text}}
    (home / "plan.json").write_text(json.dumps({"context_id": "c", "actions": [action]}))
    token = real.invoke(home, "plan", "sign", "--as", "ada", str(home / "plan.json")).stdout
    sent = real.invoke(home, "plan", "submit", "-", "--wait", "30", "--as", "ada", "--json", stdin=token)
    [step] = json.loads(sent.stdout)["steps"]
    return step


def test_the_program_of_the_page_does_what_it_is_asked(home: Path) -> None:
    step = find(home, "chairs")
    assert (step["status"], step["result"]["structured"]) == ("succeeded", {"found": ["chairs: 3"], "for": "ada"})


def test_a_tool_that_fails_says_so_in_its_own_words(home: Path) -> None:
    step = find(home, "sofas")
    assert (step["status"], step["error"]["code"]) == ("failed", "hand.failed")
    assert step["result"]["content"] == [{"type": "text", "text": "There is no such note."}]
