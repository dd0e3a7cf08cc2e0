"""``handrail policy shadow`` and ``handrail policy canary``: what is shown, what is sent, and the exit codes."""

import json
from pathlib import Path

import pytest
from handrail import SigningKey

from tests.cli.conftest import Run, claims_of
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


def test_a_shadow_begins_for_the_time_that_was_said(run: Run) -> None:
    begun = run("policy", "shadow", "start", DIGEST, "--for", "12h", "--json")
    assert json.loads(begun.stdout)["shadow"]["lasts_seconds"] == 12 * 3600
    assert run("policy", "shadow", "start", DIGEST, "--for", "15d").exit_code == 2


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
