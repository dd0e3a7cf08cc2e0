"""docs/controls.md, done as it says and in its order, against a real gateway; and what its answers say of it."""

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from audit.checkpoint import VerifierKey, verify_tlog_proof
from audit.merkle import leaf_hash
from gateway.posture.scan import CHECKS
from gateway.times import parse_time
from tests.cli import real
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "controls.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]
DECLARED = re.search(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
CODES = {"report": {1}, "scan": {1}}
"""Something is missing in a log of a minute, and a demonstration's posture is not a production's."""
PEOPLE = {"ada": "agent", "dee": "auditor", "bob": "approver", "oli": "operator"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    assert DECLARED is not None
    declared = DECLARED[1].replace("hands.mail", "hands.git").replace("{", "{{").replace("}", "}}")
    directory = tmp_path_factory.mktemp("controls")
    with real.gateway(directory, real.CONFIG + declared, PEOPLE, signer="ada", issuer="brain") as found:
        yield found


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def give(home: Path, *words: str, code: int = 0) -> Any:
    result = real.invoke(home, *words, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_every_command_of_the_page_does_what_it_says(home: Path, work: Path) -> None:
    assert len(COMMANDS) >= 12
    for command in COMMANDS:
        words = shlex.split(command)
        assert words.pop(0) == "handrail", command
        asks = words[1] not in {"scan", "responsibilities", "fsck"}
        result = real.invoke(home, *words, *(["--as", "dee"] if asks else []))
        assert result.exit_code in CODES.get(words[1], {0}), f"{command}\n{result.output}"
        if "--out" in words:
            file = work / words[words.index("--out") + 1]
            assert words[1] == "responsibilities" or file.stat().st_mode & 0o777 == 0o600
            assert file.stat().st_size > 50
    assert (work / "gdpr.html").read_bytes().startswith(b"<!doctype html>")
    results = json.loads((work / "soc2.oscal.json").read_text())["assessment-results"]
    assert results["metadata"]["oscal-version"] == "1.2.1"
    assert (work / "access.csv").read_text().startswith('"what","name"')


def test_the_page_lists_the_checks_with_their_severities() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \| (low|medium|high) \|", PAGE, re.MULTILINE)
    assert listed == [(check.id, str(check.severity)) for check in CHECKS]


def test_a_reports_samples_hold_against_the_trust_document(home: Path) -> None:
    found = give(home, "controls", "report", "--framework", "soc2", "--samples", "3", "--as", "dee", code=1)
    keys = [VerifierKey.parse(vkey) for vkey in json.loads((home / "trust.json").read_text())["log"]]
    assert len(found["samples"]) > 5
    for one in found["samples"]:
        index, _ = verify_tlog_proof(one["proof"], leaf_hash(one["entry"].encode()), keys, "handrail.test/replay")
        assert index == one["index"]
    asked = give(home, "audit", "query", "--type", "AUDQRY", "--as", "dee")["entries"]
    assert any(one["entry"]["facts"].get("framework") == "soc2" for one in asked)


def test_an_access_review_tells_then_from_now(home: Path) -> None:
    give(home, "principals", "add", "cy", "--role", "agent", "--hand", "git", "--as", "admin")
    between = datetime.now(UTC).isoformat()
    give(home, "principals", "revoke", "cy", "--as", "admin")
    now = give(home, "controls", "access-review", "--as", "dee")
    names = {one["id"]: one for one in now["principals"]}
    assert set(names) == {"admin", *PEOPLE}
    assert names["bob"]["approval_keys"]
    assert parse_time(names["bob"]["keys"][0]["expires_at"]) > datetime.now(UTC).timestamp()
    assert names["ada"]["hands"] is None
    assert [one["id"] for one in now["issuers"]] == ["brain"]
    assert now["policy"]["grants"]["table"]
    assert [one["hand"] for one in now["hands"]] == ["git"]
    listed = give(home, "audit", "query", "--type", "PRNCHG", "--as", "dee", "--limit", "1000")["entries"]
    [gone] = [one for one in listed if one["entry"]["facts"]["change"] == "revoked"]
    [came] = [one for one in listed if one["entry"]["facts"].get("hands") == "git" and one is not gone]
    assert came["entry"]["time"] < gone["entry"]["time"]
    # Whole seconds are what the command line asks for; the gateway is asked for the very moment.
    from handrail import Client

    stored = json.loads((home / "cli.json").read_text())
    with Client(stored["url"], stored["principals"]["dee"]["api_key"]) as client:
        then = client.access_review(between.replace("+00:00", "Z"))
    assert next(one for one in then["principals"] if one["id"] == "cy")["hands"] == ["git"]
    reviews = give(home, "audit", "query", "--type", "ACCREV", "--as", "dee")["entries"]
    assert reviews[-1]["entry"]["principal"] == names["dee"]["pseudonym"]


def test_the_record_of_processing_has_what_was_declared(home: Path) -> None:
    found = give(home, "controls", "processing-record", "--as", "dee")
    [git] = found["activities"]
    assert found["controller"]["name"] == "Example Ltd"
    assert git["purposes"] == ["answering customers"]
    effects = {one["action"]: one["side_effects"] for one in git["actions"]}
    assert (effects["git_status"], effects["git_push"]) == ("none", "external")
    assert git["missing"] == ["its region, or [policy] data_region"]
    assert found["missing"] == ["git: its region, or [policy] data_region"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "--framework", "gdpr", "--format", "table", "--out", "x"], "--out takes no table"),
        (["report", "--framework", "gdpr", "--from", "2026-02-01", "--to", "2026-01-01"], "--from is not before --to"),
        (["report", "--framework", "hipaa"], "hipaa"),
        (["report"], "--framework"),
        (["access-review", "--at", "then"], "not a time"),
        (["access-review", "--format", "oscal"], "oscal"),
        (["report", "--framework", "gdpr", "--format", "csv", "--out", "there"], "exists already"),
    ],
)
def test_wrong_use_asks_nobody_and_is_not_on_record(home: Path, work: Path, words: list[str], said: str) -> None:
    (work / "there").touch()
    before = give(home, "audit", "query", "--as", "dee", "--limit", "1")["tree_size"]
    result = real.invoke(home, "controls", *words, "--as", "dee")
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert give(home, "audit", "query", "--as", "dee", "--limit", "1")["tree_size"] == before + 1
    assert list(work.iterdir()) == [work / "there"]


def test_only_an_auditor_is_answered(home: Path) -> None:
    result = real.invoke(home, "controls", "report", "--framework", "gdpr", "--as", "oli")
    assert result.exit_code == 1
    assert "auth.forbidden" in result.output
