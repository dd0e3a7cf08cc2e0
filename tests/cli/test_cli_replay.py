"""A candidate bundle tried on what a real gateway recorded: over the API, and from a file without a gateway."""

import json
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli import real
from tests.cli.real import CONFIG
from tests.policy.support import SHIPPED

Handrail = Callable[..., Result]

SECRET_WORD = "heliotrope"
FREEZE = """package handrail.freeze

decisions contains decision if {
	some id, kind in data.handrail.manifest.side_effects
	kind != "none"
	decision := {"step": id, "effect": "deny", "reasons": [{"code": "freeze.frozen", "message": "Not now."}]}
}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, _clean_session: None) -> Iterator[Path]:
    people = {"ada": "agent", "bob": "approver", "dee": "auditor", "wil": "author"}
    with real.gateway(tmp_path_factory.mktemp("gateway"), CONFIG, people, signer="ada", issuer="brain") as home:
        for number in range(3):
            plan = {
                "context_id": f"replay-{number}",
                "actions": [
                    {"id": "look", "hand": "git", "action": "git_status", "args": {"q": SECRET_WORD}},
                    {"id": "change", "hand": "git", "action": "git_commit", "args": {"message": SECRET_WORD}},
                    {"id": "send", "hand": "git", "action": "git_push", "args": {}},
                ],
            }
            file = home.parent / "plan.json"
            file.write_text(json.dumps(plan))
            token = real.invoke(home, "plan", "sign", "--as", "ada", str(file))
            assert token.exit_code == 0, token.output
            sent = real.invoke(home, "plan", "submit", "-", "--wait", "20", "--as", "ada", stdin=token.stdout)
            assert sent.exit_code in {1, 4}, sent.output
        yield home


@pytest.fixture
def handrail(home: Path) -> Handrail:
    return lambda *args: real.invoke(home, *map(str, args))


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    """The shipped bundle with one more rule."""
    bundle = tmp_path / "candidate"
    shutil.copytree(SHIPPED, bundle)
    (bundle / "handrail" / "freeze").mkdir()
    (bundle / "handrail" / "freeze" / "freeze.rego").write_text(FREEZE)
    root = bundle / "handrail" / "decisions.rego"
    line = "decisions contains decision if some decision in data.handrail.freeze.decisions"
    root.write_text(f"{root.read_text()}\n{line}\n")
    return bundle


def test_the_active_bundle_would_decide_as_it_did(handrail: Handrail) -> None:
    result = handrail("policy", "replay", "--bundle", SHIPPED, "--since", "1h", "--as", "wil", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["evaluations"], report["decisions"], report["unchanged"]) == (3, 9, 9)
    assert list(report["recorded"].values()) == [9]


@pytest.mark.parametrize("engine", ["embedded", pytest.param("opa", marks=pytest.mark.opa)])
def test_a_new_rule_is_seen_before_it_does_anything(
    handrail: Handrail, frozen: Path, engine: str, opa_program: Path
) -> None:
    result = handrail("policy", "replay", "--bundle", frozen, "--engine", engine, "--as", "wil", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["kinds"] == {"newly_denied": 3, "newly_allowed": 0, "newly_asked": 0, "obligations_changed": 0,
                               "reasons_changed": 3}  # fmt: skip
    denied, moved = report["groups"]
    assert (denied["action"], denied["now"]["reasons"], denied["count"]) == ("git_commit", ["freeze.frozen"], 3)
    assert {one["step_id"] for one in denied["examples"]} == {"change"}
    assert moved["action"] == "git_push"


def test_people_see_the_rule_and_an_example_but_no_value(handrail: Handrail, frozen: Path) -> None:
    for form in ([], ["--markdown"], ["--json"]):
        result = handrail("policy", "replay", "--bundle", frozen, "--as", "dee", *form)
        assert result.exit_code == 1
        assert "freeze.frozen" in result.stdout
        assert "change" in result.stdout
        assert SECRET_WORD not in result.output


def test_a_comment_for_a_pull_request_names_the_rule(handrail: Handrail, frozen: Path) -> None:
    text = handrail("policy", "replay", "--bundle", frozen, "--as", "wil", "--markdown").stdout
    assert text.startswith("### Policy replay: 3 decisions would change")
    assert "| newly denied | 3 | `freeze.frozen` 3 |" in text


def test_the_exit_code_says_what_the_pipeline_asked_for(handrail: Handrail, frozen: Path) -> None:
    def code(*options: str) -> int:
        return handrail("policy", "replay", "--bundle", frozen, "--as", "wil", *options).exit_code

    assert code("--fail-on", "newly_allowed") == 0
    assert code("--fail-on", "newly_allowed", "--fail-on", "newly_denied") == 1
    assert code("--fail-on", "none") == 0
    assert code("--fail-on", "surprises") == 2


def test_a_replay_of_nothing_proves_nothing(handrail: Handrail) -> None:
    asked = ("policy", "replay", "--bundle", SHIPPED, "--since", "2020-01-01", "--until", "2020-01-02", "--as", "wil")
    empty = handrail(*asked)
    assert empty.exit_code == 1
    assert "--at-least" in empty.stderr
    assert handrail(*asked, "--at-least", "0").exit_code == 0


@pytest.mark.parametrize("as_name", ["ada", "bob"])
def test_who_asks_and_who_approves_read_no_recorded_inputs(handrail: Handrail, as_name: str, tmp_path: Path) -> None:
    for asked in (["replay", "--bundle", str(SHIPPED)], ["inputs", "--out", str(tmp_path / "x")]):
        result = handrail("policy", *asked, "--as", as_name)
        assert result.exit_code == 1
        assert "auth.forbidden" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_recording_is_replayed_without_a_gateway(handrail: Handrail, frozen: Path, tmp_path: Path) -> None:
    file = tmp_path / "inputs.ndjson"
    saved = handrail("policy", "inputs", "--out", file, "--as", "dee", "--json")
    assert json.loads(saved.stdout) == {"file": str(file), "evaluations": 3, "erased": 0, "unreadable": 0}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert handrail("policy", "inputs", "--out", file, "--as", "dee").exit_code == 2, "it is never written over"
    offline = ("--url", "http://127.0.0.1:9", "--api-key", "hr_x")
    result = handrail("policy", "replay", "--bundle", frozen, "--inputs", file, *offline, "--json")
    assert (result.exit_code, json.loads(result.stdout)["kinds"]["newly_denied"]) == (1, 3)
    later = handrail("policy", "replay", "--bundle", frozen, "--inputs", file, "--since", "2999-01-01", "--until",
                     "2999-01-02", *offline, "--json")  # fmt: skip
    assert json.loads(later.stdout)["evaluations"] == 0


def test_a_file_that_is_no_recording_is_refused_and_broken_lines_are_counted(
    handrail: Handrail, tmp_path: Path
) -> None:
    file = tmp_path / "inputs.ndjson"
    file.write_text('{"some": "json"}\n')
    assert handrail("policy", "replay", "--bundle", SHIPPED, "--inputs", file).exit_code == 2
    file.write_text('{"handrail": "evaluations", "v": 1}\nnot json\n[]\n{"commitment": "1"}\n')
    result = handrail("policy", "replay", "--bundle", SHIPPED, "--inputs", file, "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["unreadable"], report["decisions"]) == (1, 3, 0)


def test_a_candidate_that_cannot_be_used_is_no_difference_but_an_error(handrail: Handrail, tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text("package handrail\n\ndecisions := time.now_ns()\n")
    result = handrail("policy", "replay", "--bundle", tmp_path, "--as", "wil")
    assert result.exit_code == 2
    assert "a.rego:3" in result.output


@pytest.fixture(scope="module")
def erased(home: Path) -> None:
    """One evaluation is gone: what asks for this comes last in this file."""
    with closing(sqlite3.connect(home / "handrail.db")) as database, database:
        (fields,) = database.execute("SELECT fields FROM entries WHERE type = 'POLALW' ORDER BY idx LIMIT 1").fetchone()
        gone = database.execute("DELETE FROM payloads WHERE commitment = ?", (json.loads(fields)["evaluation"],))
        assert gone.rowcount == 1


@pytest.mark.usefixtures("erased")
def test_what_was_erased_meanwhile_is_counted(handrail: Handrail) -> None:
    result = handrail("policy", "replay", "--bundle", SHIPPED, "--as", "wil", "--json")
    report = json.loads(result.stdout)
    assert (report["evaluations"], report["erased"]) == (2, 1)
    markdown = handrail("policy", "replay", "--bundle", SHIPPED, "--as", "wil", "--markdown")
    assert "1 evaluation erased" in markdown.stdout


@pytest.mark.usefixtures("erased")
def test_a_draft_of_grants_is_a_bundle_that_lets_go_what_was_seen_and_nothing_else(
    handrail: Handrail, home: Path, tmp_path: Path
) -> None:
    """Last in this file: it acts."""
    plan = {"context_id": "suggest", "actions": [{"id": "tag", "hand": "git", "action": "git_tag", "args": {}}]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    token = handrail("plan", "sign", "--as", "ada", tmp_path / "plan.json").stdout
    assert real.invoke(home, "plan", "submit", "-", "--wait", "20", "--as", "ada", stdin=token).exit_code == 1
    out = tmp_path / "grants.json"
    lists = tmp_path / "lists"
    asked = ("policy", "suggest", "--bundle", SHIPPED, "--as", "wil")
    result = handrail(*asked, "--out", out, "--allowlists-out", lists, "--json")
    assert result.exit_code == 0, result.output
    draft = json.loads(result.stdout)
    assert draft["erased"] == 1
    assert sorted(str(file.relative_to(lists)) for file in lists.rglob("*.json")) == [
        "handrail/arguments/data.json",
        "handrail/hosts/data.json",
    ]
    assert "Not looked at: 1 erased" in handrail(*asked).stdout
    assert handrail(*asked, "--allowlists-out", lists).exit_code == 2, "it is never written over"
    forced = handrail(*asked, "--out", out, "--allowlists-out", lists, "--force").stdout.splitlines()
    written = [out, lists / "handrail" / "hosts" / "data.json", lists / "handrail" / "arguments" / "data.json"]
    assert sorted(line for line in forced if line.startswith("Written: ")) == sorted(
        f"Written: {one}" for one in written
    )
    assert draft["table"] == [
        {"principals": ["ada"], "hand": "git", "actions": ["git_tag"], "only": {"environments": ["production"]}}
    ]
    assert {one["action"] for one in draft["left_out"]} == {"git_push"}, "it acts outside of the organisation"
    candidate = tmp_path / "candidate"
    shutil.copytree(SHIPPED, candidate)
    shutil.copy(out, candidate / "handrail" / "grants" / "data.json")
    replayed = handrail("policy", "replay", "--bundle", candidate, "--as", "wil", "--json")
    (changed,) = json.loads(replayed.stdout)["groups"]
    assert (changed["kind"], changed["action"], changed["now"]["reasons"]) == (
        "newly_asked",
        "git_tag",
        ["side_effects.approval"],
    )
    assert handrail("policy", "suggest", "--as", "ada").exit_code == 1, "who asks reads no recorded inputs"
