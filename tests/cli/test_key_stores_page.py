"""The commands of the page on key stores, and its tables of settings, as they stand there."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from gateway.settings import Settings
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "key-stores.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
HANDRAIL = 'handrail() { "$PYTHON" -m gateway.cli "$@"; }\nset -eu\n'


def run(script: str, directory: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"}
    command = ["sh", "-c", HANDRAIL + script]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_master_key_is_changed_by_the_page_s_commands(tmp_path: Path) -> None:
    run("handrail init", tmp_path)
    old = (tmp_path / ".handrail" / "master.key").read_text()
    [commands] = [text for language, text in BLOCKS if language == "sh"]
    assert "new master key" in run(commands, tmp_path)
    assert (tmp_path / ".handrail" / "master.key").read_text() != old
    assert not (tmp_path / ".handrail" / "master.key.old").exists()
    run("handrail init; handrail audit fsck", tmp_path)


def test_the_page_s_settings_are_settings() -> None:
    [table] = [text for language, text in BLOCKS if language == "toml"]
    token = Settings(**tomllib.loads(table)).keys.pkcs11
    assert token is not None
    assert token.purposes == ("checkpoint", "approval")
