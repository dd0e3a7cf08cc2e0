"""The commands of the page on key stores, and its tables of settings, as they stand there."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from gateway.settings import Settings
from tests.keys.stores.openbao import SHOWN_POLICY, openbao
from tests.meta.tree import ROOT
from tests.openbao import OpenBao

__all__ = ["openbao"]

PAGE = (ROOT / "docs" / "key-stores.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
HANDRAIL = 'handrail() { "$PYTHON" -m gateway.cli "$@"; }\nset -eu\n'


def run(script: str, directory: Path, **variables: str) -> str:
    environment = {
        **variables,
        "HOME": str(directory),
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}",
    }
    command = ["sh", "-c", HANDRAIL + script]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_master_key_is_changed_by_the_page_s_commands(tmp_path: Path) -> None:
    run("handrail init", tmp_path)
    old = (tmp_path / ".handrail" / "master.key").read_text()
    [commands] = [text for language, text in BLOCKS if language == "sh" and "rewrap" in text]
    assert "new master key" in run(commands, tmp_path)
    assert (tmp_path / ".handrail" / "master.key").read_text() != old
    assert not (tmp_path / ".handrail" / "master.key.old").exists()
    run("handrail init; handrail audit fsck", tmp_path)


def test_the_page_s_commands_lose_no_master_key_where_one_of_them_fails(tmp_path: Path) -> None:
    """Pasted into a shell that goes on after a failure; and once more, after a stop that left a new master key."""
    run("handrail init", tmp_path)
    home = tmp_path / ".handrail"
    old = (home / "master.key").read_text()
    [commands] = [text for language, text in BLOCKS if language == "sh" and "rewrap" in text]
    run(f"set +e\nhandrail() {{ return 2; }}\n{commands}\ntrue", tmp_path)
    assert (home / "master.key.old").read_text() == old
    (home / "master.key").write_text("33" * 32)
    (home / "master.key").chmod(0o600)
    assert "new master key" in run(commands, tmp_path)
    run("handrail init", tmp_path)


def test_the_page_s_settings_are_settings() -> None:
    tables = [tomllib.loads(text)["keys"] for language, text in BLOCKS if language == "toml"]
    token, transit, kubernetes, kms = (Settings(keys=table).keys for table in tables)
    assert token.pkcs11 is not None
    assert token.pkcs11.purposes == ("checkpoint", "approval")
    assert transit.transit is not None
    assert (transit.transit.root_key, transit.transit.purposes) == ("data-root", ("checkpoint", "approval", "policy"))
    assert kubernetes.transit is not None
    assert (kubernetes.transit.auth, kubernetes.transit.auth_mount) == ("jwt", "kubernetes")
    assert kms.aws_kms is not None
    assert kms.aws_kms.root_key == "alias/handrail-root"


def test_transit_is_set_up_by_the_page_s_commands_and_its_policy(openbao: OpenBao, tmp_path: Path) -> None:
    [commands] = [text for language, text in BLOCKS if language == "sh" and "bao " in text]
    [table, *_] = [text for language, text in BLOCKS if language == "toml" and "transit" in text]
    (tmp_path / "handrail.hcl").write_text(SHOWN_POLICY)
    variables = {"BAO_ADDR": openbao.url, "BAO_CACERT": str(openbao.ca_file), "BAO_TOKEN": openbao.root}
    run(commands, tmp_path, **variables)
    for shown, real in {
        "https://openbao.example:8200": openbao.url,
        "/etc/handrail/openbao-ca.pem": str(openbao.ca_file),
        "/run/handrail/openbao-token": str(tmp_path / "openbao-token"),
    }.items():
        assert shown in table
        table = table.replace(shown, real)
    (tmp_path / "handrail.toml").write_text(table)
    run("handrail doctor; handrail init; handrail doctor; handrail audit fsck", tmp_path)
    assert not (tmp_path / ".handrail" / "master.key").exists()
    made = openbao.call("LIST", "transit/keys")["data"]["keys"]
    assert len([name for name in made if name.startswith("handrail-")]) == 6
