"""The command line and the offline verifier against the real gateway: real log, keys, policy and process."""

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from handrail import Client, SigningKey, Trust, VerificationError, verify_receipt
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from tests.cli import real
from tests.client.stand_in import HOSTILE

Handrail = Callable[..., Result]

CONFIG = real.CONFIG.replace("handrail.test/replay", "handrail.test/end-to-end")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, _clean_session: None) -> Iterator[Path]:
    people = {"ada": "agent", "bob": "approver", "dee": "auditor"}
    with real.gateway(tmp_path_factory.mktemp("gateway"), CONFIG, people, signer="ada", issuer="brain") as home:
        yield home


@pytest.fixture
def handrail(home: Path) -> Handrail:
    return lambda *args, stdin=None: real.invoke(home, *map(str, args), stdin=stdin)


def submit(handrail: Handrail, *calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    actions = [{"hand": "git", "action": action, "args": args} for action, args in calls]
    signed = handrail("plan", "sign", "-", stdin=json.dumps({"actions": actions}))
    assert signed.exit_code == 0, signed.output
    view: dict[str, Any] = json.loads(
        handrail("plan", "submit", "-", "--wait", 20, "--json", stdin=signed.stdout).stdout
    )
    return view


def test_a_governed_plan_from_signature_to_offline_proof(handrail: Handrail, home: Path, tmp_path: Path) -> None:
    view = submit(handrail, ("git_status", {"q": "x"}), ("git_status", {"wrong": 1}), ("git_push", {}))
    assert [step["status"] for step in view["steps"]] == ["succeeded", "denied", "denied"], view
    assert handrail("plan", "show", view["plan_id"]).exit_code == 1
    assert handrail("plan", "receipts", view["plan_id"], "--out", tmp_path).exit_code == 0
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == 3
    result = handrail("verify", *files, "--trust", home / "trust.json")
    assert result.exit_code == 0, result.output
    trust = Trust.load(home / "trust.json")
    reports = [verify_receipt(file.read_bytes(), trust) for file in files]
    assert {report.status for report in reports} == {"succeeded", "denied"}
    [done] = [report for report in reports if report.status == "succeeded"]
    assert json.loads(done.opened["args"]) == {"q": "x"}
    assert b"/status" in done.opened["result"]


def test_every_part_of_a_real_receipt_is_bound(handrail: Handrail, home: Path, tmp_path: Path) -> None:
    """Flip bytes all over a genuine receipt file: each is refused, or did not change what the file says."""
    view = submit(handrail, ("git_status", {}))
    handrail("plan", "receipts", view["plan_id"], "--out", tmp_path)
    [file] = tmp_path.glob("*.json")
    genuine, trust = file.read_bytes(), Trust.load(home / "trust.json")
    verify_receipt(genuine, trust)
    refused = 0
    for position in range(0, len(genuine), 5):
        bent = bytearray(genuine)
        bent[position] ^= 0x01
        try:
            verify_receipt(bytes(bent), trust)
        except VerificationError:
            refused += 1
        else:
            assert json.loads(bytes(bent)) == json.loads(genuine), position
    assert refused > len(genuine) // 5 * 0.9


def test_a_real_receipt_does_not_verify_under_another_gateways_keys(
    handrail: Handrail, home: Path, tmp_path: Path
) -> None:
    view = submit(handrail, ("git_status", {}))
    handrail("plan", "receipts", view["plan_id"], "--out", tmp_path)
    trust = json.loads((home / "trust.json").read_bytes())
    for key in trust["jwks"]["keys"]:
        if key["purpose"] == "receipt":
            stranger = SigningKey.generate().public.public_jwk()
            key.update(kid=stranger["kid"], x=stranger["x"])
    (tmp_path / "trust.json").write_text(json.dumps(trust))
    [file] = [item for item in tmp_path.glob("*.json") if item.name != "trust.json"]
    result = handrail("verify", file, "--trust", tmp_path / "trust.json", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["receipts"][0]["failed_step"]["number"] == 2


def test_a_held_call_runs_after_a_signed_approval_and_says_who(handrail: Handrail, home: Path, tmp_path: Path) -> None:
    view = submit(handrail, ("git_commit", {"message": HOSTILE}))
    [step] = view["steps"]
    assert (view["status"], step["status"]) == ("waiting", "held")
    assert handrail("plan", "show", view["plan_id"]).exit_code == 4
    listed = handrail("approvals", "list", "--as", "bob")
    assert step["approval_id"] in listed.output
    assert handrail("approvals", "approve", step["approval_id"], "--yes").exit_code in {1, 2}, "ada asked for it"
    answered = handrail("approvals", "approve", step["approval_id"], "--yes", "--as", "bob")
    assert answered.exit_code == 0, answered.output
    assert "\x1b" not in answered.output
    shown = _until_done(handrail, home, view["plan_id"])
    assert shown["steps"][0]["status"] == "succeeded"
    handrail("plan", "receipts", view["plan_id"], "--out", tmp_path)
    [file] = tmp_path.glob("*.json")
    assert handrail("verify", file, "--trust", home / "trust.json").exit_code == 0
    body = json.loads(file.read_bytes())["receipt"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert [answer["attested_by"] for answer in claims["approvals"]] == ["approver"]


def _until_done(handrail: Handrail, home: Path, plan_id: str) -> dict[str, Any]:
    """Follow the plan to its end, then show it."""
    stored = json.loads((home / "cli.json").read_bytes())
    with Client(stored["url"], stored["principals"]["ada"]["api_key"]) as client:
        assert [event["event"] for event in client.follow(plan_id)][-1] == "done"
    shown: dict[str, Any] = json.loads(handrail("plan", "show", plan_id, "--json").stdout)
    return shown


def test_why_names_the_rule_with_file_and_line(handrail: Handrail) -> None:
    view = submit(handrail, ("git_push", {}))
    document = json.loads(handrail("why", f"{view['plan_id']}/s1", "--as", "dee", "--json").stdout)
    spoken = {reason["code"]: reason for reason in document["reasons"]}
    assert spoken["grants.missing"]["file"].endswith("grants.rego")
    assert spoken["grants.missing"]["line"] > 1
    assert document["input"]["steps"][0]["action"] == "git_push"


def test_what_why_saved_can_be_decided_again_offline(handrail: Handrail, tmp_path: Path) -> None:
    view = submit(handrail, ("git_push", {}))
    saved = tmp_path / "why.json"
    saved.write_text(handrail("why", f"{view['plan_id']}/s1", "--as", "dee", "--json").stdout)
    result = handrail("policy", "eval", "--input", saved, "--json")
    assert result.exit_code == 1, result.output
    [decision] = json.loads(result.stdout)["decisions"]
    assert decision["effect"] == "deny"


@pytest.mark.parametrize(
    "arguments", [["principals", "list"], ["issuers", "list"], ["keys", "list"], ["hands", "list"]]
)
def test_what_the_real_gateway_lists_is_shown(handrail: Handrail, arguments: list[str]) -> None:
    result = handrail(*arguments, "--as", "admin")
    assert result.exit_code == 0
    assert "active" in result.output or "pinned" in result.output
    json.loads(handrail(*arguments, "--as", "admin", "--json").stdout)


def test_rotating_the_receipt_key_leaves_old_receipts_good(handrail: Handrail, home: Path, tmp_path: Path) -> None:
    old = submit(handrail, ("git_status", {}))
    assert handrail("keys", "rotate", "receipt", "--as", "admin").exit_code == 0
    new = submit(handrail, ("git_status", {}))
    for view in (old, new):
        handrail("plan", "receipts", view["plan_id"], "--out", tmp_path)
    assert handrail("keys", "trust", "--out", tmp_path / "trust").exit_code == 0
    assert handrail("verify", *tmp_path.glob("*.json"), "--trust", tmp_path / "trust").exit_code == 0


def test_roles_are_held(handrail: Handrail) -> None:
    for arguments in (["keys", "list"], ["principals", "list"], ["audit", "query"]):
        result = handrail(*arguments, "--as", "ada")
        assert result.exit_code == 1
        assert "auth.forbidden" in result.output


def test_the_log_of_all_this_is_sound_and_a_flipped_byte_is_named(
    handrail: Handrail, home: Path, tmp_path: Path
) -> None:
    submit(handrail, ("git_status", {}))
    page = json.loads(handrail("audit", "query", "--as", "dee", "--type", "STPEXE", "--json").stdout)
    index = page["entries"][-1]["index"]
    checked = handrail("audit", "fsck", "--payloads", "--trust", home / "trust.json", "--json")
    said = json.loads(checked.stdout)
    assert (said["sound"], said["findings"]) == (True, []), checked.output
    recorded = json.loads(handrail("audit", "query", "--as", "dee", "--type", "LOGVER", "--json").stdout)["entries"][-1]
    assert recorded["index"] == said["recorded"]
    facts = {"size": said["size"], "findings": 0, "signatures": 1, "kept": 0, "payloads": 1}
    assert recorded["entry"]["facts"] == facts
    copy = tmp_path / "copy"
    copy.mkdir()
    with (
        closing(sqlite3.connect(home / "handrail.db")) as source,
        closing(sqlite3.connect(copy / "handrail.db")) as bent,
    ):
        source.backup(bent)
        for (name,) in bent.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            bent.execute(f"DROP TRIGGER {name}")
        body = bytearray(bent.execute("SELECT body FROM entries WHERE idx = ?", (index,)).fetchone()[0])
        body[body.index(b"git_status")] ^= 0x01
        bent.execute("UPDATE entries SET body = ? WHERE idx = ?", (bytes(body), index))
        bent.commit()
    result = CliRunner().invoke(app, ["audit", "fsck", "--json"], env={"HANDRAIL_HOME": str(copy)})
    assert result.exit_code == 1, result.output
    assert index in {finding["first"] for finding in json.loads(result.stdout)["findings"]}
    for_people = CliRunner().invoke(app, ["audit", "fsck"], env={"HANDRAIL_HOME": str(copy), "COLUMNS": "200"})
    assert str(index) in for_people.output
