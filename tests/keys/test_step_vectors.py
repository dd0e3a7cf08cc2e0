"""The vectors of step credentials through both implementations: the client's, which hands embed, and the gateway's.

Both must say the same of each, and the file must be what the script writes (``tests/keys/test_jws_attacks.py``).
"""

import json
from importlib.resources import files
from typing import Any

import pytest
from handrail.errors import StepRefused
from handrail.hand import Verifier

from gateway.canonical import sha256_canonical
from gateway.errors import Refused
from keys.credentials import SingleUse, verify_credential

DOCUMENT: dict[str, Any] = json.loads(files("handrail").joinpath("vectors/step-credentials.json").read_text())
KEYS = {key["kid"]: key for key in DOCUMENT["jwks"]["keys"] if key["purpose"] == "step" and "revoked_at" not in key}
CASES = [{**DOCUMENT["request"], **case} for case in DOCUMENT["cases"]]


def by_client(case: dict[str, Any]) -> str | None:
    verifier = Verifier(DOCUMENT["jwks"], issuer=case["issuer"], hand=case["hand"], clock=lambda: case["now"])
    headers = [(name, value) for name, value in case["headers"]]
    try:
        verifier.verify(headers, case["action"], case["args"], method=case["method"], url=case["url"])
    except StepRefused as refusal:
        return refusal.code
    return None


def by_gateway(case: dict[str, Any]) -> str | None:
    """Of the credential alone: the gateway makes proofs and checks none."""
    [token] = [value.partition(" ")[2] for name, value in case["headers"] if name.lower() == "authorization"]
    try:
        verify_credential(
            token,
            key_for=KEYS.__getitem__,
            issuer=case["issuer"],
            hand=case["hand"],
            action=case["action"],
            args_sha256=sha256_canonical(case["args"]),
            now=case["now"],
            claim=SingleUse().claim,
            jkt=DOCUMENT["request"]["jkt"],
        )
    except Refused as refusal:
        return str(refusal.reason)
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_client_says_what_the_vector_says(case: dict[str, Any]) -> None:
    assert by_client(case) == case["reason"]


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case["reason"] not in {"credential.missing", "proof.refused"}],
    ids=lambda case: case["name"],
)
def test_the_gateway_says_what_the_vector_says(case: dict[str, Any]) -> None:
    assert by_gateway(case) == case["reason"]


def test_the_vectors_hold_every_code_that_a_request_alone_can_cause() -> None:
    codes = {case["reason"] for case in CASES} - {None}
    verify = "algorithm audience expired header lifetime malformed not_yet_valid signature type unknown_key"
    assert codes == {
        *("credential.missing", "credential.refused", "proof.refused"),
        *(f"verify.{cause}" for cause in verify.split(" ")),
    }
    names = [case["name"] for case in CASES]
    assert len(set(names)) == len(names)
