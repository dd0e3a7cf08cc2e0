"""The one table of attacks on signed tokens (``tests/keys/attacks.py``), held against access tokens of an issuer."""

from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.errors import Refused, Unavailable
from gateway.identity.bearers import profile_of
from gateway.reasons import Reason
from keys.access_tokens import TOKEN_MAX_BYTES, VerifiedToken, peek, verify
from keys.provider_jwks import ProviderKey, read_jwks
from tests.identity.issuer import NOW, claims, settings
from tests.keys.attacks import (
    CLAIMS,
    EDGES,
    FORM,
    PAYLOADS,
    TYPES,
    Attack,
    Change,
    Edge,
    Honest,
    b64,
    bad_keys,
    compact,
    on_form,
    public_jwk,
)

SIGNER: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
JWK: Final = public_jwk(SIGNER)
RULES: Final = settings(algorithm="Ed25519")
GOOD: Final = claims(iat=int(NOW) - 10, exp=int(NOW) + 290)
HONEST: Final = Honest(
    header={"alg": "Ed25519", "kid": JWK["kid"], "typ": "at+jwt"},
    payload=compact(GOOD),
    sign=SIGNER.sign,
    stranger=STRANGER.sign,
    stranger_jwk=public_jwk(STRANGER),
    public=SIGNER.public_key().public_bytes_raw(),
    max_bytes=TOKEN_MAX_BYTES,
)
MEANT_OTHERWISE: Final = {
    "x5t": "it names a certificate, brings none, and is not looked at; some issuers always send it",
    "typ with the media type prefix": "RFC 7515 section 4.1.9 has both spellings mean one type",
    "typ in capitals": "media types have no case (RFC 2045 section 5.1)",
    "aud an array of the one": "RFC 7519 section 4.1.3 has one audience as a text or as an array",
    "exp a fraction": "RFC 7519 section 2 lets a NumericDate have one",
}
"""Rows that Handrail's own closed profile refuses and that mean nothing else in an issuer's token: these are let in."""


def read(token: bytes) -> VerifiedToken:
    """As the gateway reads it: each byte of a header is one character."""
    unverified = peek(token.decode("latin-1"))
    found = keys().get(unverified.kid)
    if found is None:
        raise Refused(Reason.AUTH_INVALID, "no such key")
    return verify(unverified, profile_of(RULES), found, NOW)


def keys(*more: Any) -> dict[str, ProviderKey]:
    return read_jwks(compact({"keys": [JWK, *more]}), "Ed25519")


def test_the_honest_token_is_taken() -> None:
    assert read(HONEST.token()).subject == "ada"


@pytest.mark.parametrize("attack", [one for one, _ in on_form(HONEST)], ids=lambda one: one.name)
def test_an_attack_on_the_form_is_refused(attack: Attack) -> None:
    token = attack.make(HONEST)
    if attack.name in MEANT_OTHERWISE:
        assert read(token).subject == "ada"
        return
    with pytest.raises(Refused) as refusal:
        read(token)
    assert refusal.value.reason is Reason.AUTH_INVALID


@pytest.mark.parametrize("change", PAYLOADS, ids=lambda one: one.name)
def test_a_payload_that_two_readers_could_read_differently_is_refused(change: Change) -> None:
    with pytest.raises(Refused) as refusal:
        read(HONEST.token(payload=change.make(GOOD)))
    assert refusal.value.reason is Reason.AUTH_INVALID


@pytest.mark.parametrize("change", CLAIMS, ids=lambda one: one.name)
def test_claims_that_are_not_for_this_gateway_are_refused(change: Change) -> None:
    if change.name in MEANT_OTHERWISE:
        assert read(HONEST.token(payload=change.make(GOOD))).subject == "ada"
        return
    with pytest.raises(Refused) as refusal:
        read(HONEST.token(payload=change.make(GOOD)))
    assert refusal.value.reason is Reason.AUTH_INVALID


def test_what_is_let_in_is_named_by_rows_that_exist() -> None:
    assert MEANT_OTHERWISE.keys() <= {one.name for one in (*FORM, *CLAIMS)}


@pytest.mark.parametrize("typ", [one for one in TYPES if one != "at+jwt"])
def test_another_class_of_token_is_refused(typ: str) -> None:
    with pytest.raises(Refused) as refusal:
        read(HONEST.with_header(typ=typ))
    assert refusal.value.reason is Reason.AUTH_INVALID


@pytest.mark.parametrize("edge", EDGES, ids=lambda one: one.name)
def test_times_are_told_to_the_second(edge: Edge) -> None:
    skew = RULES.clock_skew_seconds
    moved = {edge.claim: edge.at(int(NOW), skew)}
    token = HONEST.token(payload=compact({**GOOD, "iat": int(NOW) - 600, **moved}))
    if edge.accepted:
        assert read(token).subject == "ada"
    else:
        with pytest.raises(Refused) as refusal:
            read(token)
        assert refusal.value.reason is (Reason.AUTH_EXPIRED if edge.claim == "exp" else Reason.AUTH_INVALID)


BAD_KEYS: Final = {
    name: {**key, "kid": "bad"}
    for name, key in bad_keys(JWK, "another", b64(SIGNER.private_bytes_raw()).decode()).items()
    if name != "kid of another key"  # an issuer names its keys as it likes
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_published_key_that_is_not_what_it_seems_signs_nothing(name: str) -> None:
    """It is left out; where it holds a secret, the whole set is refused."""
    if {"d", "k"} & BAD_KEYS[name].keys():
        with pytest.raises(Unavailable) as refusal:
            keys(BAD_KEYS[name])
        assert refusal.value.reason is Reason.AUTH_UNAVAILABLE
    else:
        assert keys(BAD_KEYS[name]).keys() == {JWK["kid"]}
