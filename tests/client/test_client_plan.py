"""Keys, plans, signatures and approvals as a client makes them."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from handrail import (
    KeyFileError,
    Plan,
    PlanError,
    Signer,
    SigningKey,
    load_public,
    thumbprint,
)
from handrail import jws as client_jws

from gateway.canonical import b64url_decode

RFC8037_KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
KEY = SigningKey(b64url_decode(RFC8037_KEY["d"]))


def claims_of(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


# --- keys ------------------------------------------------------------------------------------------------------------


def test_the_thumbprint_is_the_one_of_rfc_8037() -> None:
    assert thumbprint(RFC8037_KEY) == KEY.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_signature_is_the_one_of_rfc_8032() -> None:
    assert KEY.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")


def test_a_saved_key_is_private_and_loads_again(tmp_path: Path) -> None:
    file = tmp_path / "key.jwk"
    KEY.save(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(file).kid == load_public(file).kid == KEY.kid
    assert RFC8037_KEY["d"] not in repr(KEY)


def test_an_existing_key_or_a_link_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "key.jwk"
    KEY.save(file)
    with pytest.raises(KeyFileError, match="exists"):
        SigningKey.generate().save(file)
    link = tmp_path / "link.jwk"
    link.symlink_to(tmp_path / "elsewhere.jwk")
    with pytest.raises(KeyFileError):
        KEY.save(link)
    assert not (tmp_path / "elsewhere.jwk").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_private_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "key.jwk"
    KEY.save(file)
    file.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        SigningKey.load(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        json.dumps({**RFC8037_KEY, "crv": "X25519"}).encode(),
        json.dumps({**RFC8037_KEY, "kty": "EC"}).encode(),
        json.dumps({**RFC8037_KEY, "d": "AAAA"}).encode(),
        json.dumps({**RFC8037_KEY, "d": RFC8037_KEY["d"] + "="}).encode(),
        json.dumps({**RFC8037_KEY, "x": "A" * 43}).encode(),
        json.dumps({**RFC8037_KEY, "kid": "other"}).encode(),
        json.dumps({name: value for name, value in RFC8037_KEY.items() if name != "d"}).encode(),
    ],
)
def test_a_file_that_is_not_a_whole_private_key_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key.jwk"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(KeyFileError) as caught:
        SigningKey.load(file)
    assert RFC8037_KEY["d"] not in str(caught.value)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    for read in (SigningKey.load, load_public):
        with pytest.raises(KeyFileError, match=r"none\.jwk"):
            read(tmp_path / "none.jwk")


# --- plans -----------------------------------------------------------------------------------------------------------


def signer() -> Signer:
    return Signer("agent", KEY, "log.example/handrail", "default", "alice")


def test_a_signed_plan_carries_what_a_gateway_checks() -> None:
    plan = Plan("ctx-1", request="what changed?", purpose="support", seq=3)
    status = plan.step("git", "git_status", {"repo_path": "/repo"})
    plan.step("git", "git_log", {"n": status.result("/structured/n")}, id="log", idempotency_key="k")
    token = signer().sign(plan, now=1_800_000_000.9, lifetime_seconds=60)
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header == {"alg": "Ed25519", "kid": KEY.kid, "typ": "plan+jws"}
    claims = claims_of(token)
    jti, nonce = claims.pop("jti"), claims.pop("nonce")
    assert jti != nonce
    assert claims == {
        "v": 1,
        "iss": "agent",
        "sub": "alice",
        "aud": "log.example/handrail",
        "tenant": "default",
        "context_id": "ctx-1",
        "iat": 1_800_000_000,
        "exp": 1_800_000_060,
        "request": "what changed?",
        "purpose": "support",
        "seq": 3,
        "actions": [
            {"id": "s1", "hand": "git", "action": "git_status", "args": {"repo_path": "/repo"}, "depends_on": []},
            {
                "id": "log",
                "hand": "git",
                "action": "git_log",
                "args": {"n": {"$step": "s1", "pointer": "/structured/n"}},
                "depends_on": ["s1"],
                "idempotency_key": "k",
            },
        ],
    }
    assert client_jws.verify(token, "plan+jws", {KEY.kid: KEY.public})["jti"] == jti


def test_signing_twice_never_gives_the_same_plan_twice() -> None:
    plan = Plan()
    plan.step("a", "b")
    first, second = (claims_of(signer().sign(plan, now=1.0)) for _ in range(2))
    assert first["jti"] != second["jti"]
    assert first["nonce"] != second["nonce"]


def test_a_signed_plan_verifies_with_an_independent_library() -> None:
    from joserfc import jws
    from joserfc.jwk import OKPKey

    plan = Plan()
    plan.step("a", "b")
    token = signer().sign(plan)
    opened = jws.deserialize_compact(token, OKPKey.import_key(KEY.public.jwk()), algorithms=["Ed25519"])
    assert json.loads(opened.payload)["iss"] == "agent"


@pytest.mark.parametrize("lifetime", [0, -1, 301])
def test_a_lifetime_out_of_range_is_refused(lifetime: int) -> None:
    plan = Plan()
    plan.step("a", "b")
    with pytest.raises(PlanError, match="300"):
        signer().sign(plan, lifetime_seconds=lifetime)


def test_an_empty_plan_is_not_signed() -> None:
    with pytest.raises(PlanError, match="at least one"):
        signer().sign(Plan())


@pytest.mark.parametrize("context_id", ["", "a b", "a/b", "x" * 129, "\u202e", "a\n"])
def test_a_context_id_that_a_gateway_would_refuse_is_refused(context_id: str) -> None:
    with pytest.raises(PlanError):
        Plan(context_id)


@pytest.mark.parametrize("step_id", ["", "a b", "x" * 65, "a:b", "a\n"])
def test_a_malformed_step_id_is_refused(step_id: str) -> None:
    with pytest.raises(PlanError):
        Plan().step("a", "b", id=step_id)


def test_a_taken_id_and_an_unknown_dependency_are_refused() -> None:
    plan = Plan()
    first = plan.step("a", "b", id="x")
    with pytest.raises(PlanError, match="taken"):
        plan.step("a", "b", id="x")
    with pytest.raises(PlanError, match="not an earlier step"):
        plan.step("a", "b", depends_on=["y"])
    with pytest.raises(PlanError, match="not an earlier step"):
        plan.step("a", "b", {"deep": [{"$step": "y", "pointer": ""}]})
    with pytest.raises(PlanError, match="pointer"):
        first.result("structured")


@pytest.mark.parametrize("args", [{"x": float("nan")}, {"x": 2**53 + 1}, {"x": "\ud800"}, {"x": object()}, {"x": b""}])
def test_args_that_are_not_json_are_refused(args: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="args"):
        Plan().step("a", "b", args)


def test_args_changed_after_the_step_was_added_do_not_change_the_plan() -> None:
    args = {"list": [1]}
    plan = Plan()
    plan.step("a", "b", args)
    args["list"].append(2)
    assert plan.document()["actions"][0]["args"] == {"list": [1]}


def test_a_document_may_name_steps_in_any_order_and_keeps_it() -> None:
    document = {
        "context_id": "c",
        "actions": [
            {"id": "late", "hand": "h", "action": "a", "args": {"x": {"$step": "early", "pointer": ""}}},
            {"id": "early", "hand": "h", "action": "a"},
            {"hand": "h", "action": "a", "data_subjects": ["u1"]},
        ],
    }
    actions = Plan.from_document(document).document()["actions"]
    assert [action["id"] for action in actions] == ["late", "early", "s3"]
    assert actions[0]["depends_on"] == ["early"]
    assert actions[2]["data_subjects"] == ["u1"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "actions"),
        ({}, "actions"),
        ({"actions": []}, "at least one"),
        ({"actions": [1]}, "action 1"),
        ({"actions": [{"hand": "h"}]}, '"hand" and "action"'),
        ({"actions": [{"hand": "h", "action": "a", "args": []}]}, "args"),
        ({"actions": [{"hand": "h", "action": "a", "depends_on": "s1"}]}, "depends_on"),
        ({"actions": [{"hand": "h", "action": "a", "depends_on": [None]}]}, "depends on None"),
        ({"actions": [{"hand": "h", "action": "a", "id": None}]}, '"id"'),
        ({"actions": [{"hand": "h", "action": "a", "sudo": True}]}, "sudo"),
        ({"actions": [{"hand": "h", "action": "a", "depends_on": ["s1"]}]}, "circle"),
        ({"actions": [{"id": "x", "hand": "h", "action": "a"}] * 2}, "taken"),
        ({"actions": [{"hand": "h", "action": "a"}], "context_id": 7}, "context_id"),
        ({"actions": [{"hand": "h", "action": "a"}], "exp": 9}, "exp"),
    ],
)
def test_a_document_that_is_no_plan_is_refused(document: Any, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        Plan.from_document(document).document()
