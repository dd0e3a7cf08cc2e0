"""What a command says where something is wrong, beyond the one table of errors."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from starlette.responses import JSONResponse, Response
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from gateway.cli.output import Output
from tests import services
from tests.cli.conftest import Run, actions, jws
from tests.client.stand_in import DIGEST, StandIn, problem
from tests.policy.support import OPEN

COMMAND = [sys.executable, "-c", "from gateway.cli.main import run; run()"]


def at_home(tmp_path: Path, *args: str) -> Result:
    return CliRunner().invoke(app, list(args), env={"HANDRAIL_HOME": str(tmp_path / "home"), "COLUMNS": "200"})


def test_init_says_where_commands_look_for_the_keys_of_a_home_that_the_configuration_names(tmp_path: Path) -> None:
    file = tmp_path / "handrail.toml"
    file.write_text(f'home = "{tmp_path / "named"}"')
    done = CliRunner().invoke(app, ["init", "--config", str(file)], env={"HANDRAIL_HOME": None, "COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert f"export HANDRAIL_HOME={tmp_path / 'named'}" in done.stdout
    assert "export" not in at_home(tmp_path, "init").stdout


def test_init_on_a_home_made_with_another_configuration_names_that_configuration(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    own = home / "handrail.toml"
    own.write_text('[log]\norigin = "demo.test/log"\n')
    assert at_home(tmp_path, "init", "--config", str(own)).exit_code == 0
    result = at_home(tmp_path, "init")
    assert result.exit_code == 2
    assert "the database holds the log demo.test/log" in result.stderr
    assert f"--config {own}" in result.stderr
    own.rename(tmp_path / "elsewhere.toml")
    result = at_home(tmp_path, "init", "--json")
    assert result.exit_code == 2
    assert "--config" in json.loads(result.stdout)["error"]["hint"]


def test_pinning_an_unknown_hand_lists_the_known_ones(run: Run, gateway: StandIn) -> None:
    gateway.next("GET", "/v1/hands/gti", lambda _: problem("request.not_found", 404))
    result = run("hands", "pin", "gti", "--yes")
    assert result.exit_code == 1
    assert "gti: no such hand" in result.stderr
    assert "There are: git." in result.stderr


def test_a_plan_that_was_sent_before_is_answered_with_where_it_is(run: Run, gateway: StandIn, key_file: Path) -> None:
    token = jws(run, key_file, actions("git_status"))
    plan_id = hashlib.sha256(token.strip().encode()).hexdigest()
    gateway.next("POST", "/v1/plans", lambda _: problem("verify.replayed", 409))
    result = run("plan", "submit", "-", stdin=token)
    assert result.exit_code == 1
    assert f"handrail plan show {plan_id}" in result.stderr
    gateway.next("POST", "/v1/plans", lambda _: problem("verify.replayed", 409))
    error = json.loads(run("plan", "submit", "-", "--json", stdin=token).stdout)["error"]
    assert (error["code"], error["plan_id"]) == ("verify.replayed", plan_id)


def test_a_plan_signed_by_the_key_of_another_is_told_whose_key_signs(
    run: Run, gateway: StandIn, key_file: Path
) -> None:
    token = jws(run, key_file, actions("git_status"))
    gateway.next("POST", "/v1/plans", lambda _: problem("verify.subject", 403))
    error = json.loads(run("plan", "submit", "-", "--json", stdin=token).stdout)["error"]
    assert error["hint"].startswith("Sign with the key of the principal that submits")


def test_receipts_need_a_directory_that_can_be_made(run: Run, key_file: Path, tmp_path: Path) -> None:
    run("plan", "submit", "-", stdin=jws(run, key_file, actions("git_status")))
    (tmp_path / "file").touch()
    result = run("plan", "receipts", "aa" * 32, "--out", tmp_path / "file" / "receipts")
    assert result.exit_code == 2
    assert "Choose another directory" in result.stderr


def test_observing_an_unknown_hand_lists_the_known_ones(run: Run, gateway: StandIn) -> None:
    gateway.next("POST", "/v1/proposals", lambda _: problem("request.not_found", 404))
    result = run("policy", "observe", "propose", "gti")
    assert result.exit_code == 1
    assert "There are: git." in result.stderr


def test_who_may_see_no_hands_is_told_of_none(run: Run, gateway: StandIn) -> None:
    gateway.next("GET", "/v1/hands/gti", lambda _: problem("request.not_found", 404))
    gateway.next("GET", "/v1/hands", lambda _: problem("auth.forbidden", 403))
    result = run("hands", "pin", "gti", "--yes")
    assert result.exit_code == 1
    assert "request.not_found" in result.stderr
    assert "There are" not in result.stderr


HANDS = [{"id": "sql", "state": "pinned"}, {"id": "git", "state": "drifted"}, {"id": "files", "state": "pinned"}]
TOOLLESS = [
    {"id": "claude", "state": "pinned", "adapter": "anthropic"},
    {"id": "code", "state": "pinned", "adapter": "client"},
]
INSTEAD = [
    ("gti", "There are these hands: files, sql.", "drifted"),
    ("git", "files, sql. git is drifted: an operator looks at it with 'handrail hands show git'.", "git, "),
]


@pytest.mark.parametrize(("hand", "told", "never"), INSTEAD, ids=["unknown", "drifted"])
def test_a_step_on_a_hand_that_cannot_be_used_is_shown_with_those_that_can(
    run: Run, gateway: StandIn, hand: str, told: str, never: str
) -> None:
    gateway.next("GET", "/v1/hands", lambda _: JSONResponse({"hands": HANDS}))
    step = {"id": "s1", "hand": hand, "action": "x", "status": "denied", "decision": None,
            "error": {"code": "schema.unknown_hand", "text": "No such hand is available to you."}}  # fmt: skip
    view = {"plan_id": "aa" * 32, "context_id": "c1", "status": "done", "steps": [step]}
    gateway.next("GET", f"/v1/plans/{'aa' * 32}", lambda _: JSONResponse(view))
    result = run("plan", "show", "aa" * 32)
    assert result.exit_code == 1
    assert told in result.stderr
    assert never not in result.stderr


@pytest.mark.parametrize(("hand", "told", "never"), INSTEAD, ids=["unknown", "drifted"])
def test_a_run_with_a_hand_that_cannot_be_used_is_told_of_those_that_can(
    run: Run, gateway: StandIn, hand: str, told: str, never: str
) -> None:
    gateway.next("GET", "/v1/hands", lambda _: JSONResponse({"hands": [*HANDS, *TOOLLESS]}))
    why = f"There is no hand {hand} that you may see."
    gateway.next("POST", "/v1/runs", lambda _: problem("request.not_found", 404, kind="hand", id=hand, why=why))
    result = run("run", "Look.", "--hand", hand, "--json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert (error["code"], error["detail"]) == ("request.not_found", why)
    assert told in error["hint"]
    assert never not in error["hint"]


def test_a_run_whose_brain_has_no_key_says_so_and_of_nobody_that_it_was_asked(run: Run, gateway: StandIn) -> None:
    begun = {"run_id": f"run_{'0' * 32}", "status": "running", "brain": "claude"}
    error = {"code": "secret.missing", "text": "Missing.", "why": "Keep the hand's key"}
    ended = {**begun, "status": "failed", "error": error, "steps": 1, "tokens": 0}
    gateway.next("POST", "/v1/runs", lambda _: JSONResponse(begun))
    stream = f"id: 1\nevent: done\ndata: {json.dumps(ended)}\n\n"
    gateway.next(
        "GET", f"/v1/runs/{begun['run_id']}/events", lambda _: Response(stream, media_type="text/event-stream")
    )
    result = run("run", "Look.")
    assert result.exit_code == 1
    assert f"{begun['run_id']}: begun; its brain is claude. To end it:" in result.stderr
    assert "Keep the hand's key" in result.stdout
    assert "asked" not in result.output


def test_a_run_with_an_unknown_hand_of_who_may_see_none_says_what_the_gateway_says(run: Run, gateway: StandIn) -> None:
    gateway.next("GET", "/v1/hands", lambda _: problem("auth.forbidden", 403))
    gateway.next("POST", "/v1/runs", lambda _: problem("request.not_found", 404, kind="hand", id="gti"))
    error = json.loads(run("run", "Look.", "--hand", "gti", "--json").stdout)["error"]
    assert (error["code"], error["request_id"]) == ("request.not_found", "req-1")


ASKING = [["approvals", "approve", "ap-1"], ["approvals", "refuse", "ap-1"], ["hands", "pin", "git"],
          ["proposals", "activate", "0" * 32], ["policy", "activate", "0" * 32], ["policy", "rollback"]]  # fmt: skip


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_a_program_is_never_asked_and_a_person_may_say_no(
    run: Run, gateway: StandIn, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(Output, "interactive", True)
    result = run(*command, "--json")
    assert result.exit_code == 2
    assert "--yes" in json.loads(result.stdout)["error"]["hint"]
    result = run(*command, stdin="no\n")
    assert result.exit_code == 1
    assert "nothing was done" in result.stderr
    assert not [method for method, *_ in gateway.seen if method == "POST"]


def test_a_plan_is_no_policy_input(run: Run, plan_file: Path, key_file: Path) -> None:
    for file in (plan_file, plan_file.with_name("plan.jws")):
        if not file.exists():
            file.write_text(jws(run, key_file, actions("git_status")))
        result = run("policy", "eval", "--input", file)
        assert result.exit_code == 2
        assert "handrail why" in result.stderr
    assert "a plan, not a policy input" in run("policy", "eval", "--input", plan_file).stderr


def test_nothing_to_suggest_is_said_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "data.json"
    result = run("policy", "suggest", "--out", out)
    assert result.exit_code == 1, result.output
    assert "nothing to add" in result.stderr
    assert not out.exists()
    document = json.loads(run("policy", "suggest", "--out", out, "--json").stdout)
    assert (document["table"], "file" in document) == ([], False)
    out.write_text("mine")
    assert json.loads(run("policy", "suggest", "--out", out, "--json").stdout)["error"]["code"] == "cli.exists"


def test_a_bundle_is_saved_once(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "kept.bundle"
    assert run("policy", "show", DIGEST, "--out", out).exit_code == 0
    assert run("policy", "show", DIGEST, "--out", out).exit_code == 2
    assert run("policy", "show", DIGEST, "--out", out, "--force").exit_code == 0
    assert out.read_text() == "a.b.c"


def test_a_file_that_cannot_be_written_is_named(run: Run, tmp_path: Path) -> None:
    result = run("keys", "trust", "--out", tmp_path / "no" / "trust.json")
    assert result.exit_code == 2
    assert "No such file" in result.stderr


@pytest.mark.parametrize("word", ["", "pl", "plan s"])
def test_a_shell_completes_commands(word: str) -> None:
    words = f"handrail {word}"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "COMP_WORDS": words,
                   "COMP_CWORD": str(words.count(" ")), "_HANDRAIL_COMPLETE": "complete_bash"}  # fmt: skip
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=True, timeout=60)
    expected = {"": "serve", "pl": "plan", "plan s": "submit"}[word]
    assert expected in done.stdout.split()


def test_completion_installs_itself_for_bash(tmp_path: Path) -> None:
    services.require(shutil.which("bash"), "bash", "Install bash.")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path),
                   "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # fmt: skip
    done = subprocess.run(
        [*COMMAND, "--install-completion", "bash"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [script] = tmp_path.rglob("handrail.sh")
    assert "_HANDRAIL_COMPLETE" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_version_is_shown(run: Run) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.strip()


ID, OTHER = "ab" * 32, "cd" * 32


def _lines(rows: list[list[str]], *, terminal: bool, width: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    out = Output()
    out._console = Console(force_terminal=terminal, width=width, highlight=False, markup=False, color_system=None)
    out.table(["id", "commit", "why"], rows)
    return capsys.readouterr().out.splitlines()


def test_a_row_in_a_pipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _lines([[ID, OTHER, "long " * 60 + "\nend"]], terminal=False, width=80, capsys=capsys)
    assert len(shown) == 2
    assert shown[1].startswith(f"{ID}  {OTHER}  long long")
    assert shown[1].endswith("; end")


@pytest.mark.parametrize("width", [20, 66, 80, 100, 140, 200])
def test_no_id_is_folded_at_a_terminal(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    shown = "\n".join(_lines([[ID, OTHER, "word " * 40]], terminal=True, width=width, capsys=capsys))
    assert ID in shown
    assert OTHER in shown
    assert shown.count("word") == 40


def test_facts_fold_words_and_no_id(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out._console = Console(force_terminal=True, width=60, highlight=False, markup=False, color_system=None)
    out.facts([("document sha256", ID), ("why", "word " * 40), ("empty", "")])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"document sha256  {ID}"
    assert max(map(len, shown[1:])) <= 60
    assert len(shown) > 3


def test_who_may_not_activate_is_told_before_anything_is_shown(run: Run, gateway: StandIn) -> None:
    me = {"id": "ann", "tenant": "default", "hands": None, "approval_kid": None}
    for roles, proposer, code in ((["author"], "bob", "auth.forbidden"), (["operator"], "ann", "proposal.self")):
        gateway.next("GET", "/v1/me", lambda _, roles=roles: JSONResponse({**me, "roles": roles}))
        proposal = {"id": "0" * 32, "kind": "policy.activate", "proposed_by": proposer, "document": {"digest": ID}}
        gateway.next("GET", f"/v1/proposals/{'0' * 32}", lambda _, shown=proposal: JSONResponse(shown))
        result = run("policy", "activate", "0" * 32)
        assert (result.exit_code, result.stdout) == (1, "")
        gateway.next("GET", "/v1/me", lambda _, roles=roles: JSONResponse({**me, "roles": roles}))
        gateway.next("GET", f"/v1/proposals/{'0' * 32}", lambda _, shown=proposal: JSONResponse(shown))
        assert json.loads(run("policy", "activate", "0" * 32, "--json").stdout)["error"]["code"] == code
    assert not [path for _, path, _, _ in gateway.seen if "bundles" in path]


def test_a_granted_hand_that_nobody_declares_is_pointed_out(run: Run, tmp_path: Path) -> None:
    grants = tmp_path / "policies" / "handrail" / "grants"
    grants.mkdir(parents=True)
    (grants.parent / "main.rego").write_text(OPEN.replace("EFFECT", "allow"))
    lines = {"table": [{"hand": "gti"}, {"hand": "*"}, 7], "scopes": {"x": [{"hand": "git"}], "y": 1}}
    (grants / "data.json").write_text(json.dumps(lines))
    (tmp_path / "handrail.toml").write_text('[hands.git]\nadapter = "http"\nbase_url = "https://x.example"\n')
    result = run("policy", "check", "policies", "--config", "handrail.toml")
    assert result.exit_code == 0, result.output
    assert "declares no hand gti" in result.stderr
    assert "no hand git," not in result.stderr
    assert "declares no hand" not in run("policy", "check", "policies").stderr


def test_a_kind_that_nobody_knows_keeps_a_bundle_from_passing_the_check(run: Run, tmp_path: Path) -> None:
    """A gateway would deny every request for it."""
    rule = OPEN.replace("EFFECT", "allow").replace(
        '"reasons": []', '"reasons": [], "obligations": {"redact_request": ["staff"]}'
    )
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "main.rego").write_text(rule)
    refused = run("policy", "check", "policies", "--json")
    assert refused.exit_code == 1
    [problem] = json.loads(refused.stdout)["problems"]
    assert (problem["file"], problem["line"]) == ("main.rego", 3)
    assert problem["message"].startswith("redact_request: no kind is called staff; there are *, ")
    (tmp_path / "handrail.toml").write_text('[results.recognisers.staff]\npattern = "EMP-[0-9]{4}"\n')
    assert run("policy", "check", "policies", "--config", "handrail.toml").exit_code == 0


def test_init_names_the_configuration_in_the_next_step(tmp_path: Path) -> None:
    file = tmp_path / "my house.toml"
    file.write_text("[server]\nport = 0\n")
    result = CliRunner().invoke(app, ["init", "--config", str(file)], env={"HANDRAIL_HOME": str(tmp_path / "home")})
    assert result.exit_code == 0, result.output
    assert f"Next: handrail serve --config '{file}'" in result.stdout


@pytest.mark.parametrize(
    ("command", "path"),
    [(["access", "nobody"], "/v1/privacy/access"), (["hold", "lift", "h9"], "/v1/privacy/holds/h9")],
)
def test_what_is_not_there_about_a_person_is_said(run: Run, gateway: StandIn, command: list[str], path: str) -> None:
    gateway.next("POST" if "access" in command else "DELETE", path, lambda _: problem("request.not_found", 404))
    result = run("privacy", *command)
    assert result.exit_code == 1
    assert ("nothing is held about nobody" if "access" in command else "h9: there is no such hold") in result.stderr
    assert "others" not in result.stderr


def test_nothing_is_erased_of_somebody_who_is_not_known(run: Run, gateway: StandIn) -> None:
    empty = {"keys": 0, "values": 0, "shared": 0, "rows": {}, "acts": 0}
    empty |= {"principal": False, "plans_under_way": 0, "holds": []}
    gateway.next("POST", "/v1/privacy/preview", lambda _: JSONResponse(empty))
    result = run("privacy", "erase", "nobody", "--yes", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "request.not_found"
