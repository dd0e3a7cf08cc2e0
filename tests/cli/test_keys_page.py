"""docs/keys.md: its runbook, done in its order against a real gateway; and what a theft leaves standing."""

import json
import re
import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli import real
from tests.meta.tree import ROOT
from tests.until import until

PAGE = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8")
COMMANDS = [
    line.strip()
    for block in re.findall(r"^ *```\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with real.gateway(tmp_path, real.CONFIG, {"ada": "agent", "dee": "auditor"}, signer="ada", issuer="brain") as found:
        yield found


def give(home: Path, *words: str, who: str = "admin", code: int = 0, stdin: str | None = None) -> Any:
    result = real.invoke(home, *words, "--as", who, "--json", stdin=stdin)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def verdict(receipt: Path, trust: Path) -> Any:
    """What ``handrail verify`` says of one receipt."""
    result = real.invoke(receipt.parent, "verify", str(receipt), "--trust", str(trust), "--json")
    [found] = json.loads(result.stdout)["receipts"]
    assert result.exit_code == (0 if found["verified"] else 1)
    return found


def act(home: Path, out: Path) -> tuple[Path, float]:
    """Have a step run; its receipt's file, and when its entry was written."""
    plan = {"context_id": "c1", "actions": [{"id": "a", "hand": "git", "action": "git_status", "args": {}}]}
    (home / "plan.json").write_text(json.dumps(plan))
    signed = real.invoke(home, "plan", "sign", "--as", "ada", str(home / "plan.json")).stdout
    plan_id = give(home, "plan", "submit", "-", "--wait", "30", who="ada", stdin=signed)["plan_id"]
    give(home, "plan", "receipts", plan_id, "--out", str(out), who="ada")
    [file] = out.glob("*.json")
    entry = json.loads(json.loads(file.read_text())["entry"])
    return file, datetime.fromisoformat(entry["time"]).timestamp()


def active(home: Path, purpose: str = "receipt") -> str:
    listed = give(home, "keys", "list")["keys"]
    return next(key["kid"] for key in listed if (key["purpose"], key["state"]) == (purpose, "active"))


def test_every_command_of_the_runbook_does_what_it_says(home: Path, tmp_path: Path) -> None:
    assert len(COMMANDS) == 12
    receipt, _ = act(home, tmp_path / "receipts")
    before = active(home)
    for command in COMMANDS:
        words = shlex.split(command.replace("KID", before))
        assert words.pop(0) == "handrail", command
        asks = words[1] not in {"new", "ceremony"}
        result = real.invoke(home, *words, *(["--as", "admin"] if asks else []))
        assert result.exit_code == 0, f"{command}\n{result.output}"
        if words[1] == "create":
            assert verdict(receipt, home / "trust.json")["verified"]
        if words[:3] == ["keys", "rotate", "receipt"]:
            assert active(home) != before
            assert verdict(receipt, home / "trust.json")["verified"], "what was signed before goes on verifying"
        if words[1] == "revoke":
            assert "nothing (stolen " in result.output, "three hours ago this log did not exist"
        if words[1] == "history":
            assert before in result.output
            assert Path("history.jws").read_text().count(".") == 2
    old = verdict(receipt, home / "trust.json")
    assert old["verified"], "who has not heard of the theft believes the key: hence step 3"
    assert "in wrong hands by then" in verdict(receipt, Path("trust-after.json"))["failed_step"]["reason"]
    states = [key["state"] for key in give(home, "keys", "list")["epochs"]]
    assert states.count("active") == 1


async def test_what_a_checkpoint_covered_before_the_theft_stands_and_what_came_later_does_not(
    home: Path, tmp_path: Path
) -> None:
    early, at = act(home, tmp_path / "early")
    between, last = act(home, tmp_path / "between")
    await until(lambda: int(time.time()) > int(last))
    stolen_at = datetime.fromtimestamp(int(time.time()), UTC).isoformat()
    await until(lambda: time.time() > datetime.fromisoformat(stolen_at).timestamp())
    late, later = act(home, tmp_path / "late")
    assert at <= last < later
    kid = active(home)
    revoked = give(home, "keys", "revoke", kid, "--compromised-at", stolen_at)
    [known] = [key for key in revoked["keys"] if key["kid"] == kid]
    assert known["covered_size"] > 0
    give(home, "keys", "trust", "--out", "now.json", who="dee")
    assert verdict(early, Path("now.json"))["compromised"] is True
    assert "stolen" in str(verdict(late, Path("now.json"))["failed_step"]["reason"]) or "wrong hands" in str(
        verdict(late, Path("now.json"))["failed_step"]["reason"]
    )
    # What lies between is judged by the index alone, whichever side of it the entry fell on.
    index = json.loads(between.read_text())["log_index"]
    assert verdict(between, Path("now.json"))["verified"] is (index < known["covered_size"])
    give(home, "keys", "history", "--trust", "now.json", who="ada")


@pytest.mark.parametrize("start", ["-", "--", "-h", "-V-"])
def test_the_id_of_a_key_may_begin_like_an_option(home: Path, start: str) -> None:
    kid = start + "A" * (43 - len(start))
    for words in ([kid], ["--compromised-at", "3h", kid], [kid, "--compromised-at", "3h"], ["--", kid]):
        result = real.invoke(home, "keys", "revoke", "--as", "admin", "--json", *words)
        assert json.loads(result.stdout)["error"]["code"] == "request.not_found", result.output


def test_a_key_of_the_gateway_is_not_changed_by_who_may_not(home: Path) -> None:
    kid = active(home)
    for words in (["create", "step"], ["rotate", "step"], ["rotate", "epoch"], ["revoke", kid]):
        for who in ("ada", "dee"):
            assert give(home, "keys", *words, who=who, code=1)["error"]["code"] == "auth.forbidden"
    wrong = give(home, "keys", "revoke", kid, "--compromised-at", "2999-01-01", code=2)
    assert wrong["error"]["pointer"] == "/compromised_at"
    assert give(home, "keys", "rotate", "data", code=2)["error"]["code"]
    assert active(home) == kid
