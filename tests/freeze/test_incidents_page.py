"""The runbook for incidents: every command that it shows, given in its order against a real gateway."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli import real
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "incidents.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]
WHO = {"audit query": "ann", "proposals activate": "oli"}
"""Who gives a command that the admin does not give."""
PEOPLE = {"ada": "agent", "eve": "approver", "ann": "auditor", "oli": "operator"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with real.gateway(tmp_path_factory.mktemp("page"), real.CONFIG, PEOPLE, signer="ada", issuer="agent") as home:
        yield home


def give(home: Path, command: str, *more: str) -> str:
    words = shlex.split(command)
    assert words[0] == "handrail"
    who = next((name for start, name in WHO.items() if command.startswith(f"handrail {start}")), "admin")
    named = () if "fsck" in command else ("--as", who)
    done = real.invoke(home, *words[1:], *named, *more)
    assert done.exit_code == (4 if words[1] == "unfreeze" else 0), f"{command}\n{done.output}"
    return done.stdout


def freezes(home: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(give(home, "handrail freeze list", "--json"))["freezes"]
    return found


def sent(home: Path) -> str:
    """What becomes of a plan of the agent in its journey: a reason code, or the status of its step."""
    plan = {"context_id": "journey-7", "actions": [{"id": "s", "hand": "git", "action": "git_status", "args": {}}]}
    (home / "plan.json").write_text(json.dumps(plan))
    token = real.invoke(home, "plan", "sign", "--as", "ada", str(home / "plan.json")).stdout
    done = real.invoke(home, "plan", "submit", "-", "--wait", "20", "--as", "ada", "--json", stdin=token)
    answer = json.loads(done.stdout)
    return str(answer["error"]["code"] if "error" in answer else answer["steps"][0]["status"])


def test_the_runbook_is_done_in_order(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trust.json").write_bytes((home / "trust.json").read_bytes())
    (tmp_path / "kept.checkpoint").write_text(give(home, "handrail log checkpoint"))
    before = sent(home)
    assert before != "freeze.active"
    pseudonym = ""
    given = []
    for command in COMMANDS:
        given.append(command)
        if "unfreeze" in command:
            continue
        if "proposals activate" in command:
            lift_everything(home, given[-2], command)
            continue
        shown = give(home, command.replace("PSEUDONYM", pseudonym))
        if " freeze principal " in command:
            pseudonym = str(freezes(home)[-1]["pseudonym"])
        if " freeze context " in command or " freeze all " in command:
            assert sent(home) == "freeze.active"
        if command.endswith("freeze list"):
            assert "journey-7" in shown
        if command.endswith("freeze list --all"):
            assert "in force" not in shown
            assert shown.count("lifted") == 5
    assert given == COMMANDS
    assert freezes(home) == []
    assert sent(home) == "verify.unknown_issuer", "the issuer that was revoked stays so"
    assert not json.loads((home / "freezes.json").read_text())


def lift_everything(home: Path, propose: str, activate: str) -> None:
    assert len(freezes(home)) == 5
    looked = json.loads(real.invoke(home, "doctor", "--json").stdout)["findings"]
    [finding] = [one for one in looked if one["name"] == "freezes"]
    assert finding["state"] == "frozen"
    assert "hand_poisoned" in finding["detail"]
    refused = real.invoke(home, "unfreeze", freezes(home)[0]["id"], "--as", "ann", "--json")
    assert json.loads(refused.stdout)["error"]["code"] == "auth.forbidden"
    for one in freezes(home):
        give(home, propose.replace("FREEZE", one["id"]))
        listed = json.loads(real.invoke(home, "proposals", "list", "--as", "oli", "--json").stdout)["proposals"]
        alone = real.invoke(home, "proposals", "activate", listed[0]["id"], "--as", "admin", "--yes", "--json")
        assert json.loads(alone.stdout)["error"]["code"] == "proposal.self"
        give(home, activate.replace("ID", listed[0]["id"]), "--yes")
