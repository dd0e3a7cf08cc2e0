"""The runbook for changes of trust: every command that the page shows, given in its order against a real gateway."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.model import TRUSTED
from tests.cli import real
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]
ALONE = {"doctor", "keys api", "init"}
"""They ask no gateway, and nobody gives them in a name."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("page")
    with real.gateway(directory, real.CONFIG, {"ada": "agent"}, signer="ada", issuer="agent") as home:
        yield home


def give(home: Path, command: str, *more: str) -> Any:
    words = shlex.split(command)
    assert words[0] == "handrail"
    local = any(command.startswith(f"handrail {start}") for start in ALONE)
    who = () if local else ("--as", "ben" if " sign " in command else "admin")
    return real.invoke(home, *words[1:], *who, *more)


def proposals(home: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(give(home, "handrail proposals list", "--json").stdout)["proposals"]
    return found


def known(home: Path, name: str, token: str) -> None:
    stored = json.loads((home / "cli.json").read_text())
    stored["principals"][name] = {"api_key": token}
    (home / "cli.json").write_text(json.dumps(stored))


def test_the_runbook_is_done_in_order(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("desk", "stranger"):
        assert real.invoke(home, "keys", "new", "--out", f"{name}.jwk").exit_code == 0
    own_key = ""
    for command in COMMANDS:
        opened = proposals(home)
        given = command.replace("KEY", own_key).replace("ID", opened[0]["id"] if opened else "ID")
        more = ["--json"] if "keys api" in command or "security_admin" in command or "init" in command else []
        more += ["--yes"] if " sign " in command else []
        done = give(home, given, *more)
        proposes = bool(own_key and "--own-key" in command) or "issuers add" in command
        waits = proposes or "proposals show" in command
        assert done.exit_code == (4 if waits else 0), f"{given}\n{done.output}"
        if "keys api" in command:
            own_key = json.loads(done.stdout)["own_key"]
        if "--role security_admin" in command:
            known(home, "ben", json.loads(done.stdout)["api_key"]["token"])
        if "handrail doctor" in command:
            assert re.search(r"dual control\s+ok", done.stdout)
        if proposes:
            assert f"handrail proposals sign {proposals(home)[0]['id']}" in done.stdout
            assert "needs 1 more" in done.stdout
        if " sign " in command:
            assert "2 of 2 signed" in done.stdout
        if "init --admin" in command:
            known(home, "dan", json.loads(done.stdout)["token"])
    people = {
        one["id"]: one for one in json.loads(give(home, "handrail principals list", "--json").stdout)["principals"]
    }
    assert people["cat"]["revoked_at"] is not None
    assert people["dan"]["roles"] == ["security_admin"]
    [issuer] = [
        one
        for one in json.loads(give(home, "handrail issuers list", "--json").stdout)["issuers"]
        if one["id"] == "desk"
    ]
    assert issuer["revoked_at"] is not None
    assert proposals(home) == []
    # The key that cat made let her in, until she was revoked.
    token = (tmp_path / "cat.key").read_text().strip()
    known(home, "cat", token)
    refused = real.invoke(home, "proposals", "list", "--as", "cat", "--json")
    assert json.loads(refused.stdout)["error"]["code"] == "auth.invalid"
    # Who was lost is revoked by one, once the console added a third.
    assert real.invoke(home, "principals", "revoke", "ben", "--as", "dan").exit_code == 0


def test_the_page_names_every_role_that_decides() -> None:
    assert all(f"`{role}`" in PAGE for role in TRUSTED)


def test_whoever_asks_for_the_wrong_verb_is_told(home: Path) -> None:
    made = give(home, "handrail freeze all --cause drill", "--json")
    assert made.exit_code == 0, made.output
    lift = give(home, f"handrail unfreeze {json.loads(made.stdout)['id']}", "--json")
    proposal = json.loads(lift.stdout)["id"]
    refused = real.invoke(home, "proposals", "sign", proposal, "--yes", "--as", "admin")
    assert refused.exit_code == 2
    assert "proposals activate" in refused.output
