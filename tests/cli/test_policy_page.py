"""The page for policy authors, done as it says: the rule that it writes, the commands that it gives, with real OPA and
Regal, and tried on what a real gateway recorded."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import services
from tests.cli import real
from tests.cli.test_cli_replay import CONFIG
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RULE = SECTIONS["Write a rule"]
BLOCKS = FENCED.findall(RULE)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout's policies with the page's rule in them."""
    work = tmp_path_factory.mktemp("author")
    shutil.copytree(ROOT / "policies", work / "policies")
    for _, text in BLOCKS:
        named = re.match(r"# (policies/\S+\.rego)\n", text)
        if named is not None:
            file = work / named[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(text.partition("\n")[2], encoding="utf-8")
    [(path, data)] = re.findall(r"with `(policies/\S+/data\.json)` `(\{.*?\})`", RULE)
    (work / path).write_text(json.dumps(json.loads(data)), encoding="utf-8")
    [line] = [text for _, text in BLOCKS if text.startswith("decisions contains decision if some decision in")]
    root = work / "policies" / "handrail" / "decisions.rego"
    root.write_text(f"{root.read_text(encoding='utf-8')}\n{line}", encoding="utf-8")
    return work


def commands() -> list[str]:
    [text] = [text for _, text in BLOCKS if text.startswith("opa test")]
    return [command for line in text.splitlines() for command in line.split(" && ")]


def shell(work: Path, command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), str(ROOT / ".tools" / "bin"), os.environ["PATH"]))
    environment = {"PATH": path, "HOME": str(work), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    return subprocess.run(
        ["sh", "-c", command], cwd=work, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_page_gives_a_rule_a_test_and_the_commands_that_check_them(work: Path) -> None:
    assert sorted(path.name for path in (work / "policies" / "handrail" / "freeze").iterdir()) == [
        "data.json",
        "freeze.rego",
        "freeze_test.rego",
    ]
    assert [command.split()[0] for command in commands()] == ["opa", "opa", "opa", "regal", "handrail"]


@pytest.mark.opa
@pytest.mark.parametrize("number", range(5))
def test_every_command_of_the_page_passes_on_its_own_rule(work: Path, number: int, opa_program: Path) -> None:
    command = commands()[number]
    services.require(shutil.which(command.split()[0], path=str(ROOT / ".tools" / "bin")) or "handrail" in command,
                     command.split()[0], "'make tools' builds it into .tools/bin.")  # fmt: skip
    done = shell(work, command)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, _clean_session: None) -> Iterator[Path]:
    people = {"ada": "agent", "wil": "author"}
    with real.gateway(tmp_path_factory.mktemp("gateway"), CONFIG, people, signer="ada", issuer="brain") as home:
        plan = {"context_id": "c", "actions": [{"id": "s", "hand": "git", "action": "git_commit", "args": {}}]}
        (home / "plan.json").write_text(json.dumps(plan))
        token = real.invoke(home, "plan", "sign", "--as", "ada", str(home / "plan.json")).stdout
        assert real.invoke(home, "plan", "submit", "-", "--wait", "20", "--as", "ada", stdin=token).exit_code == 4
        yield home


def test_the_rule_is_tried_on_what_was_recorded_as_the_page_says(work: Path, home: Path) -> None:
    [(_, text)] = FENCED.findall(SECTIONS["Try a change on what was recorded"])
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    assert [line[:3] for line in lines] == [["handrail", "policy", "replay"]] * 2
    for line in lines:
        asked = [str(work / word) if word == "policies" else word for word in line[1:]]
        result = real.invoke(home, *asked, "--as", "wil")
        assert result.exit_code == 1, result.output
        assert "freeze.frozen" in result.stdout
