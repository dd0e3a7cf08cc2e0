"""Which key signs, and that nothing is activated that was not shown."""

import json
from pathlib import Path

import pytest
from handrail import SigningKey

from tests.cli.conftest import Run, bundle_file, claims_of
from tests.client.stand_in import StandIn

ID = "0" * 32


def test_an_enrolled_key_signs_exactly_what_was_shown(run: Run, gateway: StandIn, key_file: Path) -> None:
    gateway.approval_kid = SigningKey.load(key_file).kid
    assert run("proposals", "activate", ID, "--key", key_file, "--yes").exit_code == 0
    sent = gateway.answers[-1]
    claims = claims_of(sent["act"])
    assert (claims["act"], claims["by"], claims["proposal"]["id"]) == ("activate", "alice", ID)
    assert claims["proposal"]["document_sha256"] == sent["document_sha256"] == gateway.proposal()["document_sha256"]


def test_without_the_enrolled_key_nothing_is_sent(run: Run, gateway: StandIn, key_file: Path, tmp_path: Path) -> None:
    gateway.approval_kid = SigningKey.load(key_file).kid
    other = tmp_path / "other.jwk"
    SigningKey(b"\x09" * 32).save(other)
    assert run("proposals", "activate", ID, "--yes").exit_code == 2
    assert run("proposals", "activate", ID, "--key", other, "--yes").exit_code == 2
    gateway.approval_kid = None
    assert run("proposals", "activate", ID, "--key", key_file, "--yes").exit_code == 2
    assert gateway.answers == []


def test_nobody_is_asked_where_there_is_nobody(run: Run, gateway: StandIn) -> None:
    result = run("proposals", "activate", ID)
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert gateway.answers == []


def test_a_gateway_that_shows_another_document_gets_no_word(run: Run, gateway: StandIn) -> None:
    gateway.shown_args = {"hand": "git", "lasts_seconds": 1}
    result = run("proposals", "activate", ID, "--yes")
    assert result.exit_code == 1
    assert gateway.answers == []


def test_exit_codes_say_how_a_proposal_stands(run: Run, gateway: StandIn) -> None:
    assert run("proposals", "show", ID).exit_code == 4
    assert json.loads(run("proposals", "list", "--all", "--json").stdout)["proposals"]
    assert gateway.seen[-1][1] == "/v1/proposals"
    run("proposals", "list", "--kind", "policy.canary")
    assert gateway.seen[-1][1] == "/v1/proposals?status=open&kind=policy.canary"


# --- policy bundles ---------------------------------------------------------------------------------------------------


def test_a_rollback_is_signed_over_what_is_left_and_what_is_gone_back_to(
    run: Run, gateway: StandIn, key_file: Path
) -> None:
    gateway.approval_kid = SigningKey.load(key_file).kid
    result = run("policy", "rollback", "--key", key_file, "--yes")
    assert result.exit_code == 0, result.output
    sent = gateway.answers[-1]
    claims = claims_of(sent["act"])
    assert (claims["act"], claims["proposal"]["kind"]) == ("rollback", "policy.rollback")
    assert claims["proposal"]["subject"] == sent["digest"] == "cd" * 32, "the one before the one that decides"
    assert run("policy", "rollback").exit_code == 2, "nobody is asked where there is nobody"


def test_policy_activate_is_for_bundles_alone(run: Run, gateway: StandIn) -> None:
    gateway.proposal_kind = "policy.observe"
    result = run("policy", "activate", ID, "--yes")
    assert result.exit_code == 2
    assert "proposals activate" in result.stderr
    assert gateway.answers == []


def test_a_proposal_names_the_bundle_it_replaces_and_waits(run: Run, gateway: StandIn, tmp_path: Path) -> None:
    bundle_file(tmp_path / "x.bundle")
    result = run("policy", "propose", "x.bundle")
    assert result.exit_code == 4
    assert gateway.answers[-1]["document"] == {"digest": "ab" * 32, "commit": "a" * 40, "replaces": "ab" * 32}
    assert run("policy", "propose", "none.bundle").exit_code == 2


@pytest.mark.parametrize(("status", "said"), [("expired", "has expired"), ("withdrawn", "is closed: it was withdrawn")])
@pytest.mark.parametrize("verb", ["sign", "activate"])
def test_what_ended_is_said_to_have_ended_before_anybody_reads_a_document(
    run: Run, gateway: StandIn, verb: str, status: str, said: str
) -> None:
    gateway.proposal_status = status
    result = run("proposals", verb, "1" * 32 if verb == "sign" else ID, "--yes")
    assert result.exit_code == 1, result.output
    assert said in result.stderr
    assert "the exact document" not in result.output
    assert gateway.answers == []
