"""An approval is signed over the call that was shown, or not at all."""

from typing import Any

import pytest
from handrail import (
    ApprovalMismatchError,
    SigningKey,
    check_shown,
    sign_answer,
    strict,
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


# --- approvals -------------------------------------------------------------------------------------------------------


def held(**changes: Any) -> dict[str, Any]:
    args = {"repo_path": "/repo", "message": "h\u00e9 \u202e"}
    return {
        "id": "ap-1",
        "plan_id": "aa" * 32,
        "step_id": "s1",
        "hand": "git",
        "action": "git_commit",
        "args": args,
        "binding": {
            "tenant": "default",
            "plan_id": "aa" * 32,
            "step_id": "s1",
            "hand": "git",
            "action": "git_commit",
            "args_sha256": strict.sha256_canonical(args),
            "policy_digest": "ab" * 32,
            "manifest_digest": "cd" * 32,
        },
        **changes,
    }


def answer(approval: dict[str, Any], given: Any = "approve") -> dict[str, Any]:
    token = sign_answer(approval, given, key=KEY, approver="bob", audience="log.example/handrail", now=100.0)
    return client_jws.verify(token, "approval+jws", {KEY.kid: KEY.public})


def test_an_answer_is_signed_over_the_binding_shown() -> None:
    claims = answer(held(), "refuse")
    assert claims.pop("jti")
    assert claims == {
        "v": 1,
        "approval_id": "ap-1",
        "answer": "refuse",
        "binding": held()["binding"],
        "approver": "bob",
        "aud": "log.example/handrail",
        "iat": 100,
        "exp": 400,
    }


def test_a_gateway_that_shows_one_call_and_binds_another_gets_no_signature() -> None:
    lie = held(args={"repo_path": "/repo", "message": "harmless"})
    with pytest.raises(ApprovalMismatchError) as caught:
        answer(lie)
    assert caught.value.member == "args_sha256"


@pytest.mark.parametrize("name", ["plan_id", "step_id", "hand", "action"])
def test_a_request_of_another_step_or_tool_than_the_bound_one_gets_no_signature(name: str) -> None:
    with pytest.raises(ApprovalMismatchError) as caught:
        answer(held(**{name: "other"}))
    assert caught.value.member == name


@pytest.mark.parametrize("name", sorted(held()["binding"]))
def test_a_binding_with_a_member_missing_or_empty_gets_no_signature(name: str) -> None:
    for value in ("", None, 7):
        with pytest.raises(ApprovalMismatchError):
            answer(held(binding={**held()["binding"], name: value}))
    short = {key: value for key, value in held()["binding"].items() if key != name}
    with pytest.raises(ApprovalMismatchError):
        answer(held(binding=short))


@pytest.mark.parametrize(
    "changes",
    [
        {"binding": None},
        {"binding": {**held()["binding"], "more": "x"}},
        {"args": None},
        {"args": [1]},
        {"args": {"x": float("nan")}},
        {"id": ""},
    ],
)
def test_a_malformed_request_gets_no_signature(changes: dict[str, Any]) -> None:
    with pytest.raises(ApprovalMismatchError):
        answer(held(**changes))


def test_nothing_but_approve_and_refuse_is_signed() -> None:
    with pytest.raises(ApprovalMismatchError):
        answer(held(), "maybe")


def test_the_binding_that_was_checked_is_the_one_returned() -> None:
    assert check_shown(held()) == held()["binding"]
