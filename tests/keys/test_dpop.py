"""Proofs of remote hands: each of an honest one's members changed, and nonces of every age."""

import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handrail.proving import ProofKey
from handrail.strict import b64url_encode

from gateway.errors import Refused
from gateway.reasons import Reason
from keys.dpop import NONCE_SECONDS, HandProofs
from tests.keys.clock import Clock

URL, PATH, BODY = "https://gateway.example", "/v1/token", b"grant_type=x"
KEY = Ed25519PrivateKey.generate()
JWK = {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(KEY.public_key().public_bytes_raw())}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def proofs(clock: Clock) -> HandProofs:
    return HandProofs(b"k" * 32, URL, clock)


def made(nonce: Any, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A proof that is good but for what is changed; ``...`` leaves a member out."""
    head = {"typ": "dpop+jwt", "alg": "Ed25519", "jwk": JWK, **(header or {})}
    said = {"jti": "j", "htm": "POST", "htu": URL + PATH, "iat": 1, "nonce": nonce, **claims}
    said.setdefault("body_sha256", hashlib.sha256(BODY).hexdigest())
    parts = [{name: value for name, value in part.items() if value is not ...} for part in (head, said)]
    signed = ".".join(b64url_encode(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{b64url_encode(KEY.sign(signed.encode()))}"


def reason(proofs: HandProofs, text: str, **changes: Any) -> Reason | None:
    asked = {"method": "POST", "path": PATH, **changes}
    try:
        proofs.check(text, **asked).covers(BODY)
    except Refused as refusal:
        return refusal.reason
    return None


def test_a_proof_that_the_client_makes_is_believed(proofs: HandProofs) -> None:
    key = ProofKey()
    text = key.prove("POST", URL + PATH, BODY, nonce=proofs.nonce(), credential="a.b.c")
    proof = proofs.check(text, "POST", PATH, "a.b.c")
    proof.covers(BODY)
    assert proof.jkt == key.jkt


ATTACKS: dict[str, dict[str, Any]] = {
    "another method": {"htm": "GET"},
    "another path": {"htu": f"{URL}/v1/plans"},
    "another gateway": {"htu": f"https://evil.example{PATH}"},
    "no target": {"htu": ...},
    "another body": {"body_sha256": hashlib.sha256(b"other").hexdigest()},
    "no body": {"body_sha256": ...},
    "of a request with a token": {"ath": "x"},
    "iat is a text": {"iat": "1"},
    "iat is true": {"iat": True},
    "no jti": {"jti": ...},
    "an empty jti": {"jti": ""},
    "an endless jti": {"jti": "j" * 3000},
    "typ of a credential": {"header": {"typ": "step+jws"}},
    "no typ": {"header": {"typ": ...}},
    "alg none": {"header": {"alg": "none"}},
    "alg EdDSA": {"header": {"alg": "EdDSA"}},
    "kid beside": {"header": {"kid": "k"}},
    "another's key": {"header": {"jwk": {**JWK, "x": b64url_encode(b"\x09" * 32)}}},
    "a key of small order": {"header": {"jwk": {**JWK, "x": b64url_encode(b"\x01" + bytes(31))}}},
    "a private key": {"header": {"jwk": {**JWK, "d": "A" * 43}}},
    "more in the jwk": {"header": {"jwk": {**JWK, "kid": "k"}}},
    "no jwk": {"header": {"jwk": ...}},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_changed_proof_is_refused(proofs: HandProofs, attack: str) -> None:
    assert reason(proofs, made(proofs.nonce())) is None
    assert reason(proofs, made(proofs.nonce(), **ATTACKS[attack])) is Reason.PROOF_REFUSED


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c.d", "é.b.c", "a.b." + "c" * 9000])
def test_what_is_no_jws_is_refused(proofs: HandProofs, text: str) -> None:
    assert reason(proofs, text) is Reason.PROOF_REFUSED


def test_a_flipped_signature_and_a_duplicate_member_are_refused(proofs: HandProofs) -> None:
    text = made(proofs.nonce())
    head, body, tail = text.split(".")
    assert reason(proofs, f"{head}.{body}.{'A' * len(tail)}") is Reason.PROOF_REFUSED
    twice = b'{"jti":"j","jti":"k","htm":"POST","htu":"%b","iat":1}' % (URL + PATH).encode()
    signed = f"{head}.{b64url_encode(twice)}"
    assert reason(proofs, f"{signed}.{b64url_encode(KEY.sign(signed.encode()))}") is Reason.PROOF_REFUSED


def test_a_nonce_is_good_for_a_minute_at_least_and_two_at_most(proofs: HandProofs, clock: Clock) -> None:
    clock.now = 10 * NONCE_SECONDS + 59.0
    text = made(proofs.nonce())
    ages = {
        0.0: None,
        60.0: None,
        61.0: Reason.PROOF_NONCE,
        3600.0: Reason.PROOF_NONCE,
        -61.0: None,
        -180.0: Reason.PROOF_NONCE,
    }
    for age, expected in ages.items():
        clock.now = 10 * NONCE_SECONDS + 59.0 + age
        assert reason(proofs, text) is expected, age


def test_a_nonce_of_another_root_or_none_is_asked_for_anew(proofs: HandProofs, clock: Clock) -> None:
    for nonce in (..., "x" * 43, HandProofs(b"o" * 32, URL, clock).nonce()):
        assert reason(proofs, made(nonce)) is Reason.PROOF_NONCE


def test_without_an_address_of_its_own_a_gateway_compares_the_path(clock: Clock) -> None:
    proofs = HandProofs(b"k" * 32, None, clock)
    assert reason(proofs, made(proofs.nonce(), htu=f"http://127.0.0.1:9{PATH}")) is None
    for htu in (f"http://h/x{PATH}", PATH, f"file://h{PATH}", f"http://{PATH}", "http://h"):
        assert reason(proofs, made(proofs.nonce(), htu=htu)) is Reason.PROOF_REFUSED
