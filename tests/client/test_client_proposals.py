"""What a second person signs is the document that was shown, or nothing is signed."""

from typing import Any

import pytest
from handrail import ApprovalMismatchError, SigningKey, strict
from handrail import jws as client_jws
from handrail.proposals import check_proposal, new_binding, sign_act

from gateway.proposals.acts import verify_act
from gateway.two_person import Act

KEY = SigningKey(b"\x02" * 32)
DOCUMENT = {"hand": "git", "lasts_seconds": 60}


def shown(**changes: Any) -> dict[str, Any]:
    return {
        "id": "0" * 32,
        "kind": "policy.observe",
        "tenant": "default",
        "subject": "git",
        "document": DOCUMENT,
        "document_sha256": strict.sha256_canonical(DOCUMENT),
        "status": "open",
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"document": {"hand": "mail", "lasts_seconds": 60}}, "document_sha256"),
        ({"document": None}, "document"),
        ({"document": {"n": float("nan")}}, "document"),
        ({"id": "../x"}, "id"),
        ({"subject": ""}, "subject"),
        ({"tenant": None}, "tenant"),
    ],
)
def test_a_gateway_that_shows_one_document_and_binds_another_gets_no_signature(
    changes: dict[str, Any], member: str
) -> None:
    with pytest.raises(ApprovalMismatchError) as caught:
        check_proposal(shown(**changes))
    assert caught.value.member == member


def test_what_the_client_signs_is_what_the_gateway_expects() -> None:
    binding = new_binding("policy.observe", "default", "git", DOCUMENT)
    assert check_proposal({**binding, "document": DOCUMENT}) == binding
    token = sign_act("activate", binding, key=KEY, by="oli", audience="handrail.test/log", now=100.0)
    claims = client_jws.verify(token, "proposal+jws", {KEY.kid: KEY.public})
    verify_act(strict.canonical(claims), Act.ACTIVATE, binding, "oli", "handrail.test/log", 100.0)
    assert new_binding("policy.observe", "default", "git", DOCUMENT)["id"] != binding["id"]
