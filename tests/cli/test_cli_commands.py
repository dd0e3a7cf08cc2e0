"""Every command against a gateway in the documented shapes: what it sends, prints and returns."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from handrail import SigningKey
from starlette.responses import JSONResponse

from gateway.cli.output import Output
from tests.cli.conftest import Run, actions, claims_of, jws
from tests.client.receipt_forge import ORIGIN, Forge
from tests.client.receipt_forge_twice import Twice
from tests.client.stand_in import DIGEST, StandIn

PLAN_ID = "aa" * 32
PSEUDONYM = "p-" + "0" * 32

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
    assert "1 of 1 receipt holds" in result.output
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


@pytest.mark.parametrize(
    ("decision", "seen", "told", "never"),
    [
        (None, None, ["No rule was asked.", "none (the step did not reach policy)"], "No rule spoke"),
        ({"effect": "deny"}, None, ["No rule spoke", "none (it was erased)"], "No rule was asked"),
        ({"effect": "deny"}, {"v": 1}, ["No rule spoke", '"v": 1'], "No rule was asked"),
        (None, {"v": 1}, ["No rule spoke", '"v": 1'], "No rule was asked"),
    ],
    ids=["before policy", "erased", "no rule spoke", "to be judged anew"],
)
def test_why_tells_a_step_that_no_rule_was_asked_about(
    run: Run, gateway: StandIn, decision: Any, seen: Any, told: list[str], never: str
) -> None:
    error = {"code": "schema.unknown_hand", "text": "No such hand is available to you."}
    document = {"plan_id": PLAN_ID, "step_id": "s1", "status": "denied", "decision": decision, "reasons": [],
                "error": error, "input": seen}  # fmt: skip
    gateway.next("GET", f"/v1/plans/{PLAN_ID}/steps/s1/why", lambda _: JSONResponse(document))
    output = run("why", f"{PLAN_ID}/s1").output
    assert all(words in output for words in told), output
    assert never not in output


def test_why_names_the_request_that_a_person_refused_before(run: Run, gateway: StandIn) -> None:
    error = {"code": "approval.refused", "text": "A person refused this call.", "approval": "a1b2"}
    document = {"plan_id": PLAN_ID, "step_id": "s1", "status": "denied", "decision": {"effect": "ask"}, "error": error}
    gateway.next("GET", f"/v1/plans/{PLAN_ID}/steps/s1/why", lambda _: JSONResponse(document))
    assert re.search(r"refused in\s+a1b2", run("why", f"{PLAN_ID}/s1").output)


def test_why_of_a_plan_of_one_step_needs_no_step(run: Run, gateway: StandIn) -> None:
    gateway.plans[PLAN_ID] = {"plan_id": PLAN_ID, "steps": [{"id": "s1"}]}
    result = run("why", PLAN_ID)
    assert (result.exit_code, result.output) == (0, run("why", f"{PLAN_ID}/s1").output)


def test_why_without_a_step_says_which_there_are(run: Run, gateway: StandIn) -> None:
    gateway.plans[PLAN_ID] = {"plan_id": PLAN_ID, "steps": [{"id": "s1"}, {"id": "s2"}]}
    result = run("why", PLAN_ID)
    assert result.exit_code == 2
    assert "2 steps: which one?" in result.output
    assert "Write PLAN_ID/STEP_ID, of s1, s2." in result.output


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


def test_a_long_list_comes_in_pages_and_says_how_to_get_the_next(run: Run, gateway: StandIn) -> None:
    gateway.next("GET", "/v1/approvals", lambda _: JSONResponse({"approvals": [gateway.approval()], "next": "ap-1"}))
    first = run("approvals", "list", "--limit", "1")
    assert "More: --after ap-1" in first.output
    assert "More:" not in run("approvals", "list", "--after", "ap-1").output
    assert json.loads(run("approvals", "list", "--all", "--json").stdout)["approvals"][0]["id"] == "ap-1"
    assert [path for _, path, _, _ in gateway.seen] == [
        "/v1/approvals?status=open&limit=1",
        "/v1/approvals?status=open&after=ap-1",
        "/v1/approvals",
    ]


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Output, "interactive", True)


@pytest.mark.usefixtures("at_a_terminal")
def test_a_person_sees_the_exact_call_and_types_the_word(run: Run, gateway: StandIn, key_file: Path) -> None:
    result = run("approvals", "approve", "ap-1", "--key", key_file, stdin="approve\n")
    assert result.exit_code == 0, result.output
    for word in (
        "git_commit",
        "/message (text)",
        "  | plain",
        gateway.approval()["binding"]["args_sha256"],
        "reversible",
    ):
        assert word in result.output
    assert gateway.answers[0]["answer"] == "approve"


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("typed", ["\n", "yes\n", "y\n", "APPROVE\n", "approve it\n", "refuse\n"])
def test_any_other_word_approves_nothing(run: Run, gateway: StandIn, key_file: Path, typed: str) -> None:
    assert run("approvals", "approve", "ap-1", "--key", key_file, stdin=typed).exit_code == 1
    assert gateway.answers == []


def test_a_request_is_shown_readably_or_whole_and_its_state_is_the_exit_code(run: Run, gateway: StandIn) -> None:
    gateway.text = "x" * 9000
    shown = run("approvals", "show", "ap-1")
    assert shown.exit_code == 4
    assert "7,000 of 9,000 characters are not shown" in shown.output
    whole = run("approvals", "show", "ap-1", "--whole").output
    assert whole.count("x") > 9000
    assert json.loads(run("approvals", "show", "ap-1", "--json").stdout)["id"] == "ap-1"


def test_a_lying_gateway_shows_nothing(run: Run, gateway: StandIn) -> None:
    gateway.shown_args = {"message": "harmless"}
    result = run("approvals", "show", "ap-1")
    assert result.exit_code == 1
    assert "harmless" not in result.output


def test_watching_tells_each_request_once_however_often_it_is_listed(run: Run, gateway: StandIn) -> None:
    newer = {**gateway.approval(), "id": "ap-2"}
    gateway.next("GET", "/v1/approvals", lambda _: JSONResponse({"approvals": [gateway.approval()], "next": None}))
    gateway.next(
        "GET", "/v1/approvals", lambda _: JSONResponse({"approvals": [newer, gateway.approval()], "next": "ap-1"})
    )
    told = run("approvals", "watch", "--for", "0.5", "--interval", "0.2", "--json")
    assert told.exit_code == 0
    assert [json.loads(line)["id"] for line in told.stdout.splitlines()] == ["ap-1", "ap-2"]
    assert all(path == "/v1/approvals?status=open" for _, path, _, _ in gateway.seen), "a known one ends the search"


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({}, 4, "Waits for people."),
        ({"your_answer": "approve", "quorum": 2}, 4, "You have answered: you approved. Approvals so far: 0 of 2."),
        ({"status": "granted"}, 0, "Approved."),
        ({"status": "refused"}, 1, "Refused."),
        ({"status": "expired"}, 1, "Expired: nobody approved in time."),
        ({"status": "voided", "successor": "ap-2"}, 1, "The call is asked about in another request: ap-2."),
    ],
)
def test_show_says_how_a_request_stands_and_its_exit_code_does_too(
    run: Run, gateway: StandIn, changes: dict[str, Any], code: int, says: str
) -> None:
    gateway.next("GET", "/v1/approvals/ap-1", lambda _: JSONResponse({**gateway.approval(), **changes}))
    shown = run("approvals", "show", "ap-1")
    assert (shown.exit_code, says in shown.output) == (code, True)
    if changes:
        gateway.next("GET", "/v1/approvals/ap-1", lambda _: JSONResponse({**gateway.approval(), **changes}))
        answer = run("approvals", "approve", "ap-1", "--yes")
        assert (answer.exit_code, says in answer.output, gateway.answers) == (1, True, [])
        assert answer.output.startswith("error: You can no longer answer this request. ")
        assert f"approvals show {changes.get('successor', 'ap-1')}" in answer.output


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
    assert gateway.answers == [{"answer": "refuse"}]


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
    [sent] = [json.loads(body) for method, _, _, body in gateway.seen if method == "POST"]
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
    assert "readOnlyHint" not in result.output, "who agreed to it once is shown what changed"
    [absent] = [line.split() for line in result.output.splitlines() if "/instructions" in line]
    assert absent[1] == "-", "what was not there is not null"


@pytest.mark.usefixtures("at_a_terminal")
def test_who_pins_for_the_first_time_is_shown_all_that_is_pinned(run: Run, gateway: StandIn) -> None:
    gateway.never_pinned = True
    result = run("hands", "pin", "git", stdin="no\n")
    assert not [path for method, path, _, _ in gateway.seen if method == "POST"]
    for word in ("tells a model", "readOnlyHint", '["tool", "plain"]', "/srv/a", "/data", "write", '{"A": "plain"}'):
        assert word in result.output


def test_a_hand_is_shown_to_who_does_not_pin(run: Run, gateway: StandIn) -> None:
    shown = run("hands", "show", "git").output
    for word in ("tells a model", "readOnlyHint", "/srv/a", "what changed"):
        assert word in shown
    assert json.loads(run("hands", "show", "git", "--json").output)["manifest"]["jail"]["profile"] == "default"
    assert not [path for method, path, _, _ in gateway.seen if method != "GET"]


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


def test_the_newest_entries_are_asked_for_first(run: Run, gateway: StandIn) -> None:
    assert run("audit", "query", "--newest", "--limit", "2").exit_code == 0
    assert gateway.seen[-1][1] == "/v1/audit/entries?limit=2&order=newest"


@pytest.mark.parametrize("command", [("audit", "query"), ("audit", "export", "--out", "evidence.tar")], ids=" ".join)
def test_an_id_where_entries_have_a_pseudonym_is_refused(run: Run, gateway: StandIn, command: tuple[str, ...]) -> None:
    result = run(*command, "--principal", "ada")
    assert result.exit_code == 2
    assert "not a pseudonym" in result.output
    assert gateway.seen == [], "an empty answer would read as: she did nothing"


def test_audit_filters_reach_the_gateway(run: Run, gateway: StandIn) -> None:
    options = ("--type", "POLDNY", "--effect", "deny", "--context", "c", "--plan", "p", "--step", "s", "--hand", "h",
               "--action", "a", "--principal", PSEUDONYM, "--reason", "r.s", "--control", "gdpr:9", "--policy", "d",
               "--since", "2026-01-31", "--until", "2026-01-31T00:00:05Z", "--after", "3", "--limit", "2",
               "--count")  # fmt: skip
    result = run("audit", "query", *options)
    assert "--after 4" in result.output
    assert "step executed" in result.output
    assert "1 match in all" in result.output
    assert unquote(gateway.seen[-1][1]) == (
        "/v1/audit/entries?type=POLDNY&effect=deny&context=c&plan=p&step=s&hand=h&action=a"
        f"&principal={PSEUDONYM}&reason=r.s&control=gdpr:9&policy=d&since=2026-01-31T00:00:00.000Z"
        "&until=2026-01-31T00:00:05.000Z&after=3&limit=2&count=true"
    )


def test_every_entry_of_a_query_is_proved_against_a_trust_document(run: Run, gateway: StandIn) -> None:
    Path("trust.json").write_text(json.dumps(gateway.forge.trust()))
    page = gateway.forge.page()
    gateway.next("GET", "/v1/audit/entries", lambda _: JSONResponse(page))
    result = run("audit", "query", "--trust", "trust.json")
    assert (result.exit_code, gateway.seen[-1][1]) == (0, "/v1/audit/entries?proofs=true")
    assert f"under the checkpoint of size {gateway.forge.size}" in result.output
    page["entries"][0]["entry"] |= {"hand": "mail"}
    gateway.next("GET", "/v1/audit/entries", lambda _: JSONResponse(page))
    result = run("audit", "query", "--trust", "trust.json")
    assert result.exit_code == 1
    assert f"Not proved: entry {gateway.forge.index}" in result.output


def test_a_page_and_a_checkpoint_of_today_can_be_required_to_be_signed_twice(run: Run, gateway: StandIn) -> None:
    forge = gateway.forge = Twice()
    Path("trust.json").write_text(json.dumps(forge.trust()))
    query = ("audit", "query", "--trust", "trust.json", "--post-quantum")
    consistency = ("log", "consistency", "kept.txt", "--trust", "trust.json", "--post-quantum")
    forge.second = False
    Path("kept.txt").write_text(forge.checkpoint())
    for second in (True, False):
        forge.second = second
        page = forge.page()
        for command, code in ((query[:-1], 0), (query, 1 - second), (consistency[:-1], 0), (consistency, 1 - second)):
            if command[0] == "audit":
                gateway.next("GET", "/v1/audit/entries", lambda _, page=page: JSONResponse(page))
            done = run(*command)
            assert done.exit_code == code, done.output
            assert not code or "ML-DSA-44" in done.output
    Path("trust.json").write_text(json.dumps(Forge().trust()))
    for command in (query, consistency, ("audit", "query", "--post-quantum")):
        done = run(*command)
        assert done.exit_code == 2
        assert "no ML-DSA-44 key" in done.output


def test_an_entry_is_shown_as_the_type_that_its_proof_covers(run: Run, gateway: StandIn) -> None:
    Path("trust.json").write_text(json.dumps(gateway.forge.trust()))
    page = gateway.forge.page()
    page["entries"][0]["label"] = "policy denied"
    gateway.next("GET", "/v1/audit/entries", lambda _: JSONResponse(page))
    result = run("audit", "query", "--trust", "trust.json")
    assert result.exit_code == 0
    assert "step executed" in result.output
    assert "policy denied" not in result.output
