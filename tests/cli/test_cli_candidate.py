"""``handrail policy shadow`` and ``handrail policy canary``: what is shown, what is sent, and the exit codes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from handrail import SigningKey

from gateway.canonical import b64url_decode, b64url_encode
from tests.cli.conftest import Run, actions, bundle_file, claims_of, jws
from tests.client import stand_in
from tests.client.stand_in import DIGEST, StandIn


def test_what_would_have_been_said_is_shown_by_rule_with_what_was_left_out(run: Run) -> None:
    shown = run("policy", "shadow", "show").stdout
    for part in ("newly denied", "a.b 1", "git", "log", "policy.timeout 1", "left out", "gw-1"):
        assert part in shown
    comment = run("policy", "shadow", "show", "--markdown").stdout
    assert comment.startswith("### Policy shadow: 1 decision would change")
    assert "on 3 live decisions of 1 gateways" in comment
    assert "4 evaluations left out because too many waited" in comment


def test_a_shadow_begins_for_the_time_that_was_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stand_in.SHADOW, "in_force", False)
    begun = run("policy", "shadow", "start", DIGEST, "--for", "12h", "--json")
    assert json.loads(begun.stdout)["shadow"]["lasts_seconds"] == 12 * 3600
    assert run("policy", "shadow", "start", DIGEST, "--for", "15d").exit_code == 2


def test_a_shadow_of_a_file_brings_it_first_and_begins_once(
    run: Run, gateway: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bundle_file(tmp_path / "policy.bundle")
    monkeypatch.setitem(stand_in.SHADOW, "in_force", False)
    begun = run("policy", "shadow", "start", file)
    assert (begun.exit_code, "Taken for the signed file" in begun.stderr) == (0, True), begun.output
    sent = [(method, path) for method, path, _, _ in gateway.seen]
    assert sent == [("POST", "/v1/policy/bundles"), ("GET", "/v1/policy/shadow"), ("POST", "/v1/policy/shadow")]
    monkeypatch.setitem(stand_in.SHADOW, "in_force", True)
    again = run("policy", "shadow", "start", file)
    assert (again.exit_code, "is shadowed already, and stays so until" in again.stdout) == (0, True)
    assert [path for method, path, _, _ in gateway.seen[3:] if method == "POST"] == ["/v1/policy/bundles"]


@pytest.mark.parametrize(
    "command",
    [("shadow", "start"), ("canary", "propose", "--percent", "5"), ("propose",)],
    ids=lambda words: words[0],
)
def test_a_directory_is_brought_nowhere(run: Run, gateway: StandIn, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "policies").mkdir()
    refused = run("policy", *command, "policies")
    assert (refused.exit_code, "handrail policy build" in refused.output) == (2, True)
    assert not [one for one in gateway.seen if one[0] == "POST"]


@pytest.mark.parametrize("made", ["a directory", "a file"])
def test_a_name_that_is_a_digest_too_is_refused(run: Run, gateway: StandIn, tmp_path: Path, made: str) -> None:
    place = tmp_path / DIGEST
    if made == "a directory":
        place.mkdir()
        (place / "main.rego").write_text("package handrail\n")
    else:
        bundle_file(place)
    for command in (("check", DIGEST), ("shadow", "start", DIGEST), ("propose", DIGEST)):
        refused = run("policy", *command)
        assert (refused.exit_code, "./" in refused.output) == (2, True), refused.output
    assert not [path for _, path, _, _ in gateway.seen if "bundles" in path]
    assert f"./{DIGEST}" in run("policy", "check", f"./{DIGEST}").stderr


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        (lambda _: b"", "it is empty"),
        (lambda raw: raw + b"\n", "white space around"),
        (lambda raw: raw.partition(b".")[0], "1 parts between dots"),
        (lambda raw: raw[:-5], "its signature has 81 characters and not 86"),
        (lambda raw: raw + b"AAAA", "its signature has 90 characters"),
        (lambda raw: raw.replace(b".", b"!.", 1), "its header is not base64url"),
        (lambda raw: _payload(raw, lambda text: text[:-9]), "its bundle cannot be read: the signed file is not strict"),
        (lambda raw: _payload(raw, lambda text: text.replace("package handrail", "package other")), "digest it states"),
        (lambda raw: _payload(raw, lambda text: text.replace('"v":1', '"v":2')), "of a version"),
        (lambda raw: b"\xff" + raw[1:], "its header is not base64url"),
    ],
)  # fmt: skip
def test_what_is_broken_of_a_file_is_said_before_it_is_sent(
    run: Run, gateway: StandIn, tmp_path: Path, damaged: Callable[[bytes], bytes], says: str
) -> None:
    file = bundle_file(tmp_path / "policy.bundle")
    file.write_bytes(damaged(file.read_bytes()))
    for command in ("bring", "propose", "check"):
        refused = run("policy", command, file)
        assert refused.exit_code == 2
        assert says in refused.output
        assert "build it again" in refused.output
    assert not [one for one in gateway.seen if one[0] == "POST"]


def test_another_kind_of_signed_file_is_named(run: Run, key_file: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.jws").write_text(jws(run, key_file, actions("git_status")).strip())
    refused = run("policy", "bring", tmp_path / "plan.jws")
    assert (refused.exit_code, "says plan+jws and not bundle+jws" in refused.output) == (2, True)


def _payload(raw: bytes, change: Callable[[str], str]) -> bytes:
    head, body, signature = raw.split(b".")
    changed = change(b64url_decode(body.decode()).decode())
    return b".".join([head, b64url_encode(changed.encode()).encode(), signature])


def test_a_canary_is_proposed_against_what_decides_and_signed(run: Run, gateway: StandIn, key_file: Path) -> None:
    gateway.approval_kid = SigningKey.load(key_file).kid
    made = run("policy", "canary", "propose", "cd" * 32, "--percent", "5", "--for", "1d", "--key", key_file)
    assert made.exit_code == 4, made.output
    sent = gateway.answers[-1]
    assert sent["document"] == {"digest": "cd" * 32, "active": DIGEST, "percent": 5, "lasts_seconds": 86_400}
    assert claims_of(sent["act"])["proposal"]["kind"] == "policy.canary"
    for percent in ("0", "101"):
        assert run("policy", "canary", "propose", "cd" * 32, "--percent", percent).exit_code == 2
    assert run("policy", "canary", "propose", "cd" * 32, "--percent", "5", "--for", "15d").exit_code == 2


def test_a_canary_that_stopped_itself_is_an_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    good = run("policy", "canary", "show")
    assert (good.exit_code, "active bundle 0" in good.stdout) == (0, True)
    monkeypatch.setitem(stand_in.CANARY, "stopped", "denials")
    stopped = run("policy", "canary", "show")
    assert (stopped.exit_code, "denials" in stopped.stdout) == (1, True)


def test_one_person_stops_a_canary_and_nothing_where_there_is_none(
    run: Run, gateway: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("policy", "canary", "stop").exit_code == 0
    assert gateway.seen[-1][1].endswith(f"/v1/proposals/{'0' * 32}/withdraw")
    monkeypatch.setitem(stand_in.CANARY, "in_force", False)
    monkeypatch.setitem(stand_in.SHADOW, "in_force", False)
    assert run("policy", "canary", "stop").exit_code == 1
    assert run("policy", "shadow", "stop").exit_code == 1
