"""Every command against a gateway in the documented shapes: what it sends, prints and returns."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from handrail import SigningKey
from starlette.responses import JSONResponse, Response
from typer.core import TyperGroup

from gateway.cli.main import NOUNS, app
from gateway.cli.output import Output
from tests.cli.conftest import Run
from tests.client.receipt_forge import ORIGIN, Forge
from tests.client.stand_in import DIGEST, HOSTILE, TOKEN, StandIn, problem, running

PLAN_ID = "aa" * 32


def claims_of(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def jws(run: Run, key_file: Path, plan: str) -> str:
    result = run("plan", "sign", "--key", key_file, "--issuer", "agent", "-", stdin=plan)
    assert result.exit_code == 0, result.output
    return result.stdout


def actions(*names: str) -> str:
    return json.dumps({"context_id": "c1", "actions": [{"hand": "git", "action": name} for name in names]})


# --- plan ------------------------------------------------------------------------------------------------------------


def test_a_plan_is_signed_for_the_caller_and_this_gateway(run: Run, key_file: Path, plan_file: Path) -> None:
    result = run("plan", "sign", "--key", key_file, "--issuer", "agent", "--lifetime", 60, plan_file)
    claims = claims_of(result.stdout)
    assert (claims["iss"], claims["sub"], claims["aud"], claims["tenant"]) == ("agent", "alice", ORIGIN, "default")
    assert claims["exp"] - claims["iat"] == 60


def test_a_plan_can_be_signed_without_a_gateway(run: Run, gateway: StandIn, key_file: Path, plan_file: Path) -> None:
    offline = ("--audience", ORIGIN, "--tenant", "default", "--subject", "alice")
    result = run("plan", "sign", "--key", key_file, "--issuer", "agent", *offline, plan_file)
    assert result.exit_code == 0
    assert gateway.seen == []


@pytest.mark.parametrize(
    ("names", "code"),
    [(["git_status"], 0), (["git_status", "deny"], 1), (["break"], 1), (["hold"], 4), (["slow", "deny"], 4)],
)
def test_the_exit_code_of_a_submission_is_its_verdict(run: Run, key_file: Path, names: list[str], code: int) -> None:
    token = jws(run, key_file, actions(*names))
    for arguments in (("plan", "submit", "-"), ("plan", "submit", "-", "--json"), ("plan", "show", PLAN_ID)):
        assert run(*arguments, stdin=token).exit_code == code


def test_a_submission_shows_decisions_reasons_results_and_what_to_do(run: Run, key_file: Path) -> None:
    shown = run("plan", "submit", "-", "--wait", "2", stdin=jws(run, key_file, actions("git_status", "hold", "break")))
    for word in ("git_status", "succeeded", "held", "ask", "git.rule: plain", "hand.failed", "pointer=/a"):
        assert word in shown.output
    assert "handrail approvals approve ap-1" in shown.output


def test_receipts_are_saved_privately_and_verify(run: Run, key_file: Path, tmp_path: Path, gateway: StandIn) -> None:
    run("plan", "submit", "-", stdin=jws(run, key_file, actions("git_status")))
    assert run("plan", "receipts", PLAN_ID, "--out", tmp_path / "out").exit_code == 0
    file = tmp_path / "out" / "jti-1.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("keys", "trust", "--out", tmp_path / "trust.json").exit_code == 0
    gateway.seen.clear()
    result = run("verify", file, "--trust", tmp_path / "trust.json", "--steps")
    assert result.exit_code == 0, result.output
    assert "1 of 1 receipt(s) hold" in result.output
    assert "9. 3 of 3 committed" in result.output
    assert gateway.seen == [], "verification asks nobody"


@pytest.mark.parametrize("name", ["../escape", "/etc/x", "a/b", "..", ".hidden", "", "a\n", "x" * 300, 7])
def test_a_receipt_named_to_escape_its_directory_is_not_written(
    run: Run, key_file: Path, tmp_path: Path, gateway: StandIn, name: Any
) -> None:
    run("plan", "submit", "-", stdin=jws(run, key_file, actions("git_status")))
    gateway.next("GET", "/v1/receipts/jti-1", lambda _: JSONResponse({**gateway.forge.file(), "receipt_id": name}))
    before = set(tmp_path.rglob("*"))
    assert run("plan", "receipts", PLAN_ID, "--out", tmp_path / "out").exit_code == 1
    assert set(tmp_path.rglob("*")) == before


# --- why, verify -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [[f"{PLAN_ID}/s1"], [f"{PLAN_ID}.s1"], [PLAN_ID, "s1"]])
def test_why_names_file_line_and_input(run: Run, step: list[str]) -> None:
    result = run("why", *step)
    assert result.exit_code == 0
    for word in ("paths.outside", "paths/rule.rego:12", "Paths stay inside", '"text": "plain"'):
        assert word in result.output


def test_why_without_a_step_says_what_to_write(run: Run) -> None:
    result = run("why", PLAN_ID)
    assert result.exit_code == 2
    assert "PLAN_ID/STEP_ID" in result.output


def test_a_tampered_receipt_is_named_with_the_step_that_failed(run: Run, tmp_path: Path) -> None:
    forge = Forge()
    (tmp_path / "trust.json").write_text(json.dumps(forge.trust()))
    (tmp_path / "good.json").write_bytes(forge.raw())
    (tmp_path / "bad.json").write_bytes(forge.raw().replace(b'"log_index": 4', b'"log_index": 5'))
    both = (tmp_path / "good.json", tmp_path / "bad.json", "--trust", tmp_path / "trust.json")
    result = run("verify", *both)
    assert result.exit_code == 1
    assert "step 6 (receipt and log name the same place)" in result.output
    document = json.loads(run("verify", *both, "--json").stdout)
    assert [item["verified"] for item in document["receipts"]] == [True, False]
    assert document["receipts"][1]["failed_step"]["number"] == 6


def test_verify_without_its_files_is_wrong_use(run: Run, tmp_path: Path) -> None:
    (tmp_path / "trust.json").write_text(json.dumps(Forge().trust()))
    assert run("verify", "none.json", "--trust", "trust.json").exit_code == 2
    assert run("verify", "trust.json", "--trust", "none.json").exit_code == 2
    assert run("verify", "trust.json").exit_code == 2
    (tmp_path / "trust.json").write_text("{}")
    assert run("verify", "trust.json", "--trust", "trust.json").exit_code == 2


# --- approvals -------------------------------------------------------------------------------------------------------


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Output, "interactive", True)


@pytest.mark.usefixtures("at_a_terminal")
def test_a_person_sees_the_exact_call_and_types_the_word(run: Run, gateway: StandIn, key_file: Path) -> None:
    result = run("approvals", "approve", "ap-1", "--key", key_file, stdin="approve\n")
    assert result.exit_code == 0, result.output
    for word in ("git_commit", '"message": "plain"', gateway.approval()["binding"]["args_sha256"], "reversible"):
        assert word in result.output
    assert gateway.answers[0]["decision"] == "approve"


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("typed", ["\n", "yes\n", "y\n", "APPROVE\n", "approve it\n", "refuse\n"])
def test_any_other_word_approves_nothing(run: Run, gateway: StandIn, key_file: Path, typed: str) -> None:
    assert run("approvals", "approve", "ap-1", "--key", key_file, stdin=typed).exit_code == 1
    assert gateway.answers == []


def test_without_a_person_or_yes_nothing_is_approved(run: Run, gateway: StandIn, key_file: Path) -> None:
    result = run("approvals", "approve", "ap-1", "--key", key_file, stdin="approve\n")
    assert result.exit_code == 2
    assert "--yes" in result.output
    assert gateway.answers == []


@pytest.mark.parametrize("extra", [[], ["--json"]])
@pytest.mark.parametrize("word", ["approve", "refuse"])
def test_a_lying_gateway_gets_no_answer_signed_or_unsigned(
    run: Run, gateway: StandIn, key_file: Path, word: str, extra: list[str]
) -> None:
    gateway.shown_args = {"message": "harmless"}
    for key in (["--key", key_file], []):
        result = run("approvals", word, "ap-1", "--yes", *key, *extra)
        assert result.exit_code == 1
        assert "nothing was signed" in result.output
    assert gateway.answers == []


def test_an_answer_that_needs_more_approvers_still_waits(run: Run, gateway: StandIn, key_file: Path) -> None:
    gateway.after_answer = "open"
    assert run("approvals", "approve", "ap-1", "--yes", "--key", key_file).exit_code == 4


def test_an_unsigned_answer_says_who_vouches_for_it(run: Run, gateway: StandIn) -> None:
    result = run("approvals", "refuse", "ap-1", "--yes")
    assert result.exit_code == 0
    assert "Attested by the gateway" in result.output
    assert gateway.answers == [{"decision": "refuse"}]


# --- administration --------------------------------------------------------------------------------------------------


def test_a_new_principal_is_made_as_asked(run: Run, gateway: StandIn, key_file: Path) -> None:
    options = ("--role", "agent", "--role", "approver", "--hand", "git", "--approval-key", key_file, "--ttl-days", "5")
    result = run("principals", "add", "p1", *options)
    assert result.exit_code == 0
    assert "hr_0000000000000002_new" in result.output
    sent = json.loads(gateway.seen[-1][3])
    assert sent["roles"] == ["agent", "approver"]
    assert (sent["hands"], sent["ttl_days"]) == (["git"], 5)
    assert sent["approval_jwk"] == SigningKey.load(key_file).public.public_jwk()


def test_a_role_that_does_not_exist_is_wrong_use(run: Run, gateway: StandIn) -> None:
    assert run("principals", "add", "p1", "--role", "god").exit_code == 2
    assert gateway.seen == []


def test_only_the_public_half_of_an_issuer_key_is_sent(run: Run, gateway: StandIn, key_file: Path) -> None:
    assert run("issuers", "add", "i1", "--key", key_file, "--speaks-for", "bob", "--attests-request").exit_code == 0
    sent = json.loads(gateway.seen[-1][3])
    assert "d" not in sent["jwk"]
    assert (sent["speaks_for"], sent["attests_request"]) == (["bob"], True)


def test_pinning_needs_the_reviewed_digest_a_word_or_yes(run: Run, gateway: StandIn) -> None:
    assert run("hands", "pin", "git").exit_code == 2
    assert run("hands", "pin", "git", "--digest", "00" * 32).exit_code == 1
    assert not [path for method, path, _, _ in gateway.seen if method == "POST"]
    assert run("hands", "pin", "git", "--digest", DIGEST).exit_code == 0
    assert json.loads(gateway.seen[-1][3]) == {"digest": DIGEST}


@pytest.mark.usefixtures("at_a_terminal")
def test_pinning_shows_what_changed(run: Run, gateway: StandIn) -> None:
    result = run("hands", "pin", "git", stdin="pin\n")
    assert result.exit_code == 0
    for word in ("/actions/git_status/description", '"old"', '"plain"'):
        assert word in result.output


def test_a_new_key_is_made_without_a_gateway(run: Run, gateway: StandIn, tmp_path: Path) -> None:
    assert run("keys", "new", "--out", "new.jwk").exit_code == 0
    assert SigningKey.load(tmp_path / "new.jwk").kid
    assert run("keys", "new", "--out", "new.jwk").exit_code == 2
    assert gateway.seen == []


def test_a_trust_document_that_could_not_verify_anything_is_not_saved(run: Run, gateway: StandIn) -> None:
    gateway.next(
        "GET", "/v1/trust", lambda _: JSONResponse({"v": 1, "origin": ORIGIN, "jwks": {"keys": []}, "log": []})
    )
    assert run("keys", "trust", "--out", "trust.json").exit_code == 2
    assert not Path("trust.json").exists()


def test_audit_filters_reach_the_gateway(run: Run, gateway: StandIn) -> None:
    options = ("--type", "POLDNY", "--effect", "deny", "--context", "c", "--plan", "p", "--hand", "h", "--action", "a",
               "--principal", "x", "--reason", "r.s", "--after", "3", "--limit", "2")  # fmt: skip
    result = run("audit", "query", *options)
    assert "--after 4" in result.output
    assert "step executed" in result.output
    assert gateway.seen[-1][1] == (
        "/v1/audit/entries?type=POLDNY&effect=deny&context=c&plan=p&hand=h&action=a&principal=x&reason=r.s&after=3&limit=2"
    )


# --- every command ---------------------------------------------------------------------------------------------------

SPECIAL = {"serve", "demo", "jail run", "audit fsck", "policy eval", "policy check", "db upgrade"}
"""Commands with tests of their own (test_cli_local.py): they need more than a gateway."""
CASES: dict[str, list[str]] = {
    "plan sign": ["--key", "key.jwk", "--issuer", "agent", "plan.json"],
    "plan submit": ["token.jws"],
    "plan show": [PLAN_ID],
    "plan receipts": [PLAN_ID, "--out", "out"],
    "why": [f"{PLAN_ID}/s1"],
    "approvals list": [],
    "approvals approve": ["ap-1", "--key", "key.jwk", "--yes"],
    "approvals refuse": ["ap-1", "--yes"],
    "verify": ["receipt.json", "--trust", "trust.json"],
    "audit query": [],
    "principals add": ["p1", "--role", "agent"],
    "principals list": [],
    "principals revoke": ["p1"],
    "issuers add": ["i1", "--key", "key.jwk"],
    "issuers list": [],
    "issuers revoke": ["i1"],
    "keys list": [],
    "keys rotate": ["receipt"],
    "keys revoke": ["k1"],
    "keys new": ["--out", "new.jwk"],
    "keys trust": [],
    "hands list": [],
    "hands pin": ["git", "--yes"],
    "doctor": [],
    "config example": [],
    "config check": [],
}


def commands() -> Iterator[str]:
    root = typer.main.get_command(app)
    context = root.make_context("handrail", [], resilient_parsing=True)
    for name in NOUNS:
        found = root.get_command(context, name) if name != "demo" else None
        if isinstance(found, TyperGroup):
            yield from (f"{name} {sub}" for sub in found.list_commands(context))
        elif found is not None:
            yield name


def test_every_command_has_a_case_here() -> None:
    assert set(commands()) == set(CASES) | (SPECIAL - {"demo"})


@pytest.fixture
def files(run: Run, gateway: StandIn, key_file: Path, plan_file: Path, tmp_path: Path) -> None:
    token = jws(run, key_file, actions("git_status", "hold"))
    (tmp_path / "token.jws").write_text(token)
    run("plan", "submit", "-", stdin=token)
    (tmp_path / "receipt.json").write_bytes(gateway.forge.raw())
    (tmp_path / "trust.json").write_text(json.dumps(gateway.forge.trust()))


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", CASES)
def test_json_output_parses_and_hostile_text_is_escaped(run: Run, gateway: StandIn, name: str) -> None:
    gateway.text = HOSTILE
    result = run(*name.split(), *CASES[name], "--json")
    assert result.exit_code in {0, 1, 4}, result.output
    json.loads(result.stdout)
    assert result.stdout.replace("\n", "").isprintable()
    assert result.stdout.isascii()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", sorted(set(CASES) - {"doctor", "config example", "config check"}))
def test_hostile_text_reaches_no_terminal(run: Run, gateway: StandIn, name: str) -> None:
    gateway.text = HOSTILE
    run("plan", "submit", "token.jws")
    result = run(*name.split(), *CASES[name])
    assert result.exit_code in {0, 1, 4}, result.output
    shown = result.output
    for char in ("\x1b", "\x9b", "\u202e", "\u2066", "\u200b", "\r"):
        assert char not in shown
    if name in {"plan submit", "plan show", "why", "approvals list", "approvals approve", "hands list", "audit query"}:
        assert "\\u{1b}[2J" in shown
        assert "[bold red]x[/]" in shown


GATEWAY_CASES = sorted(set(CASES) - {"verify", "keys new", "doctor", "config example", "config check"})


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", GATEWAY_CASES)
def test_an_unreachable_gateway_is_three_and_says_what_to_do(run: Run, name: str) -> None:
    with running() as gone:
        url = gone.url
    result = run(*name.split(), *CASES[name], HANDRAIL_URL=url)
    assert result.exit_code == 3
    assert "handrail serve" in result.stderr
    error = json.loads(run(*name.split(), *CASES[name], "--json", HANDRAIL_URL=url).stdout)
    assert "no answer" in error["error"]["text"]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", GATEWAY_CASES)
def test_a_wrong_key_is_wrong_use(run: Run, name: str) -> None:
    result = run(*name.split(), *CASES[name], HANDRAIL_API_KEY="hr_wrong")
    assert result.exit_code == 2
    assert "auth.invalid" in result.output


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (lambda _: problem("auth.missing", 401), 2, "HANDRAIL_API_KEY"),
        (lambda _: problem("auth.forbidden", 403), 1, "--as NAME"),
        (lambda _: problem("request.not_found", 404), 1, "req-1"),
        (lambda _: problem("verify.replayed", 409, pointer="/jti"), 1, "pointer=/jti"),
        (lambda _: problem("log.unavailable", 503), 3, "log.unavailable"),
        (lambda _: Response("<html>", 502), 3, "--url"),
        (lambda _: Response("hello"), 3, "--url"),
        (lambda _: problem("x.y", 400, hint=HOSTILE), 1, "\\u{1b}"),
    ],
)
def test_refusals_become_words_and_exit_codes(run: Run, gateway: StandIn, answer: Any, code: int, words: str) -> None:
    for extra in ([], ["--json"]):
        gateway.next("GET", "/v1/keys", answer)
        result = run("keys", "list", *extra)
        assert result.exit_code == code
        assert words in result.output or extra
        assert "\x1b" not in result.output


# --- who and where ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path, gateway: StandIn, key_file: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    file = home / "cli.json"
    file.write_text(
        json.dumps(
            {
                "url": gateway.url,
                "default": "agent",
                "principals": {
                    "agent": {"api_key": TOKEN, "jwk_file": str(key_file), "issuer": "agent"},
                    "admin": {"api_key": "hr_0000000000000001_admin"},
                },
            }
        )
    )
    file.chmod(0o600)
    return home


def stored_run(run: Run, home: Path, *args: object, **environment: str) -> Any:
    variables = {"HANDRAIL_URL": "", "HANDRAIL_API_KEY": "", "HANDRAIL_HOME": str(home), **environment}
    return run(*args, **variables)


def test_the_stored_principal_signs_and_calls(run: Run, stored: Path, gateway: StandIn, plan_file: Path) -> None:
    result = stored_run(run, stored, "plan", "sign", plan_file)
    assert result.exit_code == 0, result.output
    assert claims_of(result.stdout)["iss"] == "agent"
    assert stored_run(run, stored, "approvals", "approve", "ap-1", "--yes").exit_code == 0
    assert gateway.answers[0]["approver"] == "alice", "signed with the stored key"


def test_as_chooses_the_principal_even_over_the_environment(run: Run, stored: Path, gateway: StandIn) -> None:
    assert stored_run(run, stored, "keys", "list", "--as", "admin", HANDRAIL_API_KEY=TOKEN).exit_code == 0
    assert gateway.seen[-1][2]["authorization"].endswith("_admin")
    result = stored_run(run, stored, "keys", "list", "--as", "nobody")
    assert result.exit_code == 2
    assert "admin, agent" in result.output


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_of_keys_that_others_can_read_is_refused(run: Run, stored: Path, gateway: StandIn, mode: int) -> None:
    (stored / "cli.json").chmod(mode)
    result = stored_run(run, stored, "keys", "list")
    assert result.exit_code == 2
    assert "chmod 600" in result.output
    assert gateway.seen == []


def test_a_stored_key_is_not_sent_to_another_gateway(run: Run, stored: Path) -> None:
    with running() as other:
        for how in (("--url", other.url), ()):
            environment = {} if how else {"HANDRAIL_URL": other.url}
            result = stored_run(run, stored, "keys", "list", *how, **environment)
            assert result.exit_code == 2
            assert "not sent to" in result.output
        assert other.seen == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": 1}', '{"url": "http://x", "default": "a"}',
                                     '{"url": "http://x", "default": "a", "principals": {"a": {}}}'])  # fmt: skip
def test_a_broken_file_of_keys_is_wrong_use(run: Run, stored: Path, content: str) -> None:
    (stored / "cli.json").write_text(content)
    assert stored_run(run, stored, "keys", "list").exit_code == 2


def test_no_key_anywhere_is_said_by_the_gateway(run: Run, tmp_path: Path, gateway: StandIn) -> None:
    result = stored_run(run, tmp_path / "nowhere", "keys", "list", "--url", gateway.url)
    assert result.exit_code == 2
    assert "auth.missing" in result.output
    assert stored_run(run, tmp_path / "nowhere", "keys", "list", "--as", "x").exit_code == 2


def test_two_ways_to_say_who_exclude_each_other(run: Run, stored: Path) -> None:
    assert stored_run(run, stored, "keys", "list", "--as", "admin", "--api-key", TOKEN).exit_code == 2


def test_an_api_key_is_never_printed(run: Run, gateway: StandIn) -> None:
    with running() as gone:
        url = gone.url
    for environment in ({}, {"HANDRAIL_URL": url}, {"HANDRAIL_API_KEY": TOKEN + "\n"}):
        assert TOKEN not in run("keys", "list", **environment).output
    assert hashlib.sha256(TOKEN.encode()).hexdigest() not in run("keys", "list").output
