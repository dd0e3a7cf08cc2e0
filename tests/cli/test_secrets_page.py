"""The page on secrets: its commands given in their order to a real gateway, and its tables of settings."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.settings import Settings
from tests.canaries import Canaries, files_of
from tests.cli.real import CONFIG, gateway
from tests.meta.tree import ROOT
from tests.secrets.backends import POLICY

PAGE = (ROOT / "docs" / "secrets.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```(\w+)\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
[COMMANDS] = [text for language, text in BLOCKS if language == "sh"]
HANDRAIL = 'handrail() { "$PYTHON" -m gateway.cli "$@"; }\nset -eu\n'
SECRET = '[hands.git.secrets.crm-token]\nplace = "bearer"\n'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    config = CONFIG.replace("[hands.git.actions.git_status]", f"{SECRET}[hands.git.actions.git_status]")
    people = {"agent": "agent", "audit": "auditor"}
    with gateway(tmp_path, config, people, signer="agent", issuer="agent") as running:
        yield running


def run(script: str, home: Path, *, good: bool = True, stdin: str | None = None) -> str:
    stored = json.loads((home / "cli.json").read_text())
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}",
        "HANDRAIL_URL": stored["url"],
        "HANDRAIL_API_KEY": stored["principals"]["admin"]["api_key"],
        "COLUMNS": "200",
    }
    command = ["sh", "-c", HANDRAIL + script]
    done = subprocess.run(
        command, cwd=home.parent, env=environment, input=stdin, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == good, done.stderr + done.stdout
    return done.stdout + done.stderr


def test_a_secret_is_kept_by_the_page_s_commands(home: Path, canaries: Canaries, tmp_path: Path) -> None:
    files = {name: canaries.plant() for name in ("crm-token.txt", "crm-token-new.txt")}
    for name, value in files.items():
        (home.parent / name).write_text(value + "\n")
    said = run(COMMANDS, home)
    canaries.must_not_be_in("what the commands print", said.encode())
    for words in ("is kept, version 1", "is rotated, version 2", "sealed", "git", "is removed"):
        assert words in said
    assert "secret.missing" in run("handrail secrets show crm-token || handrail secrets check --json", home, good=False)
    for name in files:
        (home.parent / name).unlink()
    canaries.must_not_be_in("the home", files_of(home))


def test_a_value_is_taken_from_the_standard_input_and_never_from_the_command_line(
    home: Path, canaries: Canaries
) -> None:
    value = canaries.plant()
    assert "version 1" in run("handrail secrets set crm-token", home, stdin=value + "\n")
    said = run(f"handrail secrets rotate crm-token {value}", home, good=False)
    assert "rotate" in said
    assert "to be 8 to 8192" in run("handrail secrets rotate crm-token", home, good=False, stdin="two\nlines of it")
    listed = json.loads(run("handrail secrets list --json", home))["secrets"]
    assert [(one["name"], one["version"], one["hands"]) for one in listed] == [("crm-token", "1", ["git"])]
    canaries.values.clear()
    assert "secret.exists" in run("handrail secrets set crm-token --json", home, good=False, stdin="the-second-value")


def test_the_page_s_settings_are_settings() -> None:
    named, stores = (tomllib.loads(text) for language, text in BLOCKS if language == "toml")
    action = {"method": "GET", "path": "/", "args_schema": {"type": "object"}}
    named["hands"]["crm"]["actions"] = {"look": action}
    for store in ("sealed", *stores["secrets"]["stores"]):
        named["hands"]["crm"]["secrets"]["crm-token"]["store"] = store
        assert Settings(**named, **stores).hands["crm"].secrets["crm-token"].store == store
    named["hands"]["crm"]["secrets"]["crm-token"]["store"] = "another"
    with pytest.raises(ValueError, match=r"there is no \[secrets.stores.another\]"):
        Settings(**named, **stores)


def test_the_page_s_policy_of_vault_is_the_one_that_the_contract_runs_under() -> None:
    [policy] = [text.strip() for language, text in BLOCKS if language == "hcl"]
    assert policy == POLICY
