"""Every way that is known to pass a token off as an issuer's, and every issuer's token that is not for us."""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.canonical import b64url_encode
from gateway.errors import Refused, Unavailable
from gateway.identity.bearers import profile_of
from gateway.reasons import Reason
from keys.access_tokens import TOKEN_MAX_BYTES, VerifiedToken, peek, verify
from keys.provider_jwks import KEYS_MAX, read_jwks
from tests.identity.issuer import (
    AUDIENCE,
    CURVE,
    EDWARDS,
    HEADER,
    KEY,
    NOW,
    OTHER,
    claims,
    jwks,
    settings,
    signed,
    unsigned,
)


def check(token: str, *, now: float = NOW, key: Any = KEY, **changed: Any) -> VerifiedToken:
    """As the gateway checks it, against the issuer's published key of the token's kid."""
    rules = settings(**changed)
    unverified = peek(token)
    found = read_jwks(jwks(key), rules.algorithm)
    if unverified.kid not in found:
        raise Refused(Reason.AUTH_INVALID, "no such key")
    return verify(unverified, profile_of(rules), found[unverified.kid], now)


def refused(make: Callable[[], Any]) -> Refused:
    with pytest.raises(Refused) as refusal:
        make()
    return refusal.value


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", KEY), ("PS256", KEY), ("ES256", CURVE), ("Ed25519", EDWARDS)])
def test_a_good_token_says_whose_it_is(algorithm: str, key: Any) -> None:
    token = signed(claims(), key, alg=algorithm, kid=key.kid)
    assert check(token, key=key, algorithm=algorithm).subject == "ada"


# --- forged ----------------------------------------------------------------------------------------------------------


def _hmac_by_the_public_key() -> str:
    """The classic confusion: the public key's PEM as an HMAC secret."""
    header = b64url_encode(json.dumps({**HEADER, "alg": "HS256"}).encode())
    body = b64url_encode(json.dumps(claims()).encode())
    secret = KEY.as_pem(private=False)
    mac = hmac.digest(secret, f"{header}.{body}".encode(), hashlib.sha256)
    return f"{header}.{body}.{b64url_encode(mac)}"


def _with_padding() -> str:
    head, body, signature = signed(claims()).split(".")
    return f"{head}.{body}.{signature}=="


def _other_spelling() -> str:
    """The last character of a 256-byte signature has four bits that are nobody's."""
    token = signed(claims())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


def _moved_claims() -> str:
    head, _, signature = signed(claims()).split(".")
    return f"{head}.{b64url_encode(json.dumps(claims(sub='root')).encode())}.{signature}"


FORGED: dict[str, Callable[[], str]] = {
    "none": lambda: unsigned(b'{"alg":"none","kid":"one","typ":"at+jwt"}', json.dumps(claims()).encode(), b"x"),
    "none, without a signature": lambda: unsigned(
        b'{"alg":"none","kid":"one","typ":"at+jwt"}', json.dumps(claims()).encode()
    ),
    "none, in capitals": lambda: unsigned(
        b'{"alg":"NONE","kid":"one","typ":"at+jwt"}', json.dumps(claims()).encode(), b"x"
    ),
    "an HMAC by the public key": _hmac_by_the_public_key,
    "another algorithm of the same key": lambda: signed(claims(), alg="PS256"),
    "another algorithm of the same family": lambda: signed(claims(), alg="RS512"),
    "another issuer's key under its kid": lambda: signed(claims(), OTHER, kid="one"),
    "a key that is not published": lambda: signed(claims(), OTHER, kid="two"),
    "kid: a path": lambda: signed(claims(), kid="../../dev/null"),
    "kid: SQL": lambda: signed(claims(), kid="one' OR '1'='1"),
    "kid: a list": lambda: unsigned(b'{"alg":"RS256","kid":["one"],"typ":"at+jwt"}', b'{"iss":"x"}', b"x"),
    "kid: absent": lambda: signed(claims(), kid=None),
    "kid: endless": lambda: signed(claims(), kid="k" * 300),
    "jwk: brings its own key": lambda: signed(claims(), OTHER, kid="one", jwk=OTHER.as_dict(private=False)),
    "jku: names where its key is": lambda: signed(claims(), jku="https://evil.example/jwks"),
    "x5u: names where its certificate is": lambda: signed(claims(), x5u="https://evil.example/chain"),
    "x5c: brings its own certificate": lambda: signed(claims(), x5c=["AA"]),
    "crit: brings a rule": lambda: unsigned(
        b'{"alg":"RS256","kid":"one","typ":"at+jwt","crit":["exp"]}', json.dumps(claims()).encode(), b"x"
    ),
    "b64: another payload than the one signed": lambda: unsigned(
        b'{"alg":"RS256","kid":"one","typ":"at+jwt","b64":false}', json.dumps(claims()).encode(), b"x"
    ),
    "zip": lambda: signed(claims(), zip="DEF"),
    "claims changed": _moved_claims,
    "padding": _with_padding,
    "another spelling of the signature": _other_spelling,
    "a claim twice": lambda: signed(json.dumps(claims()).replace("{", '{"sub":"root",', 1).encode()),
    "a header member twice": lambda: unsigned(
        b'{"alg":"none","alg":"RS256","kid":"one"}', json.dumps(claims()).encode(), b"x"
    ),
    "claims that are no object": lambda: signed(b'["ada"]'),
    "no JSON": lambda: signed(b"ada"),
    "NaN": lambda: signed(json.dumps(claims(exp=float("nan"))).encode()),
    "two segments": lambda: "e30.e30",
    "five segments, as JWE has": lambda: "e30.e30.e30.e30.e30",
    "empty": lambda: "..",
    "endless": lambda: signed(claims(pad="x" * TOKEN_MAX_BYTES)),
}


@pytest.mark.parametrize("attack", FORGED)
def test_a_forged_token_is_refused(attack: str) -> None:
    assert refused(lambda: check(FORGED[attack]())).reason is Reason.AUTH_INVALID


# --- not for us ------------------------------------------------------------------------------------------------------

MISPLACED: dict[str, Callable[[], str]] = {
    "an ID token, by its typ": lambda: signed(claims(), typ="JWT"),
    "no typ": lambda: signed(claims(), typ=None),
    "a step credential": lambda: signed(claims(), typ="step+jws"),
    "an ID token, by its nonce": lambda: signed(claims(nonce="n")),
    "an ID token, by its at_hash": lambda: signed(claims(at_hash="h")),
    "an ID token, by its own word": lambda: signed(claims(typ="ID")),
    "a refresh token": lambda: signed(claims(typ="Refresh")),
    "a security event": lambda: signed(claims(events={})),
    "another audience": lambda: signed(claims(aud="https://other.example")),
    "ours, and somebody else's": lambda: signed(claims(aud=[AUDIENCE, "https://other.example"])),
    "an audience that ours begins": lambda: signed(claims(aud=AUDIENCE + ".evil.example")),
    "no audience": lambda: signed(claims(aud=None)),
    "an empty list of audiences": lambda: signed(claims(aud=[])),
    "an audience that is no text": lambda: signed(claims(aud=[AUDIENCE, 1])),
    "another issuer": lambda: signed(claims(iss="https://issuer.example/other")),
    "the issuer with a slash": lambda: signed(claims(iss="https://issuer.example/")),
    "azp and client_id differ": lambda: signed(claims(azp="other")),
    "no exp": lambda: signed(claims(exp=None)),
    "no iat": lambda: signed(claims(iat=None)),
    "exp as a text": lambda: signed(claims(exp=str(int(NOW + 100)))),
    "exp as true": lambda: signed(claims(exp=True)),
    "issued tomorrow": lambda: signed(claims(iat=NOW + 6, exp=NOW + 100)),
    "not before tomorrow": lambda: signed(claims(nbf=NOW + 6)),
    "exp before iat": lambda: signed(claims(iat=NOW, exp=NOW - 1)),
    "a life of a year": lambda: signed(claims(exp=NOW + 31_536_000)),
    "no subject": lambda: signed(claims(sub=None)),
    "an empty subject": lambda: signed(claims(sub="")),
    "a subject of control characters": lambda: signed(claims(sub="a\u0000b")),
    "an endless subject": lambda: signed(claims(sub="a" * 256)),
    "bound to a key of DPoP": lambda: signed(claims(cnf={"jkt": "x" * 43})),
    "bound twice": lambda: signed(claims(cnf={"x5t#S256": "t" * 43, "jkt": "x" * 43})),
    "bound by a text": lambda: signed(claims(cnf="t")),
    "bound to a short thumbprint": lambda: signed(claims(cnf={"x5t#S256": "t" * 42})),
    "bound to a thumbprint that is none": lambda: signed(claims(cnf={"x5t#S256": "t" * 42 + "="})),
    "bound to a number": lambda: signed(claims(cnf={"x5t#S256": 7})),
    "bound to nothing": lambda: signed(claims(cnf={})),
    "bound to null": lambda: signed(json.dumps({**claims(), "cnf": None}).encode()),
}


@pytest.mark.parametrize("attack", MISPLACED)
def test_a_token_that_is_not_for_this_gateway_is_refused(attack: str) -> None:
    assert refused(lambda: check(MISPLACED[attack]())).reason is Reason.AUTH_INVALID


@pytest.mark.parametrize(("ahead", "good"), [(4.9, True), (5.0, False), (60.0, False)])
def test_an_end_is_an_end_but_for_five_seconds_of_the_clocks_difference(ahead: float, good: bool) -> None:
    token = signed(claims(exp=NOW))
    if good:
        assert check(token, now=NOW + ahead).subject == "ada"
    else:
        assert refused(lambda: check(token, now=NOW + ahead)).reason is Reason.AUTH_EXPIRED


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_a_token_from_five_seconds_ahead_is_good(name: str) -> None:
    assert check(signed(claims(**{name: NOW + 5}))).subject == "ada"


def test_a_binding_to_a_certificate_is_said_to_who_asks() -> None:
    assert check(signed(claims())).certificate_sha256 is None
    assert check(signed(claims(cnf={"x5t#S256": "t" * 43}))).certificate_sha256 == "t" * 43


def test_several_audiences_are_good_where_all_are_this_gateways() -> None:
    assert check(signed(claims(aud=[AUDIENCE, "api"])), audiences=[AUDIENCE, "api"]).subject == "ada"


def test_only_listed_clients_may_have_been_issued_the_token() -> None:
    assert check(signed(claims()), clients=["app"]).subject == "ada"
    assert check(signed(claims(client_id=None, azp="app")), clients=["app"]).subject == "ada"
    assert refused(lambda: check(signed(claims()), clients=["other"])).reason is Reason.AUTH_INVALID
    assert refused(lambda: check(signed(claims(client_id=None)), clients=["app"])).reason is Reason.AUTH_INVALID


@pytest.mark.parametrize("named", [{"scope": "a handrail"}, {"scp": "handrail"}, {"scp": ["handrail", "a"]}])
def test_a_scope_must_have_been_granted(named: dict[str, Any]) -> None:
    assert check(signed(claims(**named)), scopes=["handrail"]).subject == "ada"
    assert refused(lambda: check(signed(claims(**named)), scopes=["handrail", "b"])).reason is Reason.AUTH_SCOPE


@pytest.mark.parametrize("scope", ["handrails", 1, {"handrail": 1}, [["handrail"]], None])
def test_a_scope_that_is_none_was_not_granted(scope: Any) -> None:
    assert refused(lambda: check(signed(claims(scope=scope)), scopes=["handrail"])).reason is Reason.AUTH_SCOPE


def test_an_issuer_that_marks_its_tokens_no_better_may_say_jwt() -> None:
    assert check(signed(claims(), typ="JWT"), token_type="jwt").subject == "ada"
    assert check(signed(claims(), typ=None), token_type="jwt").subject == "ada"
    assert refused(lambda: check(signed(claims()), token_type="jwt")).reason is Reason.AUTH_INVALID


# --- sets of keys ----------------------------------------------------------------------------------------------------


def test_keys_that_cannot_have_signed_are_left_out() -> None:
    small = json.loads(jwks(KEY))["keys"][0] | {"n": b64url_encode(b"\xff" * 128), "kid": "1024 bits"}
    listed = [
        json.loads(jwks(KEY))["keys"][0],
        json.loads(jwks(OTHER, use="enc"))["keys"][0],
        json.loads(jwks(OTHER, alg="PS256", kid="another algorithm"))["keys"][0],
        json.loads(jwks(OTHER, key_ops=["encrypt"], kid="another operation"))["keys"][0],
        json.loads(jwks(CURVE))["keys"][0],
        json.loads(jwks(EDWARDS))["keys"][0],
        small,
        {"kty": "RSA", "kid": "no modulus", "e": "AQAB"},
        {"kty": "RSA", "n": "AA", "e": "AQAB"},
        {"kty": "made up", "kid": "x"},
    ]
    assert list(read_jwks(json.dumps({"keys": listed}).encode(), "RS256")) == ["one"]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b'{"keys":{}}',
        b'{"keys":[1]}',
        b'{"keys":[],"keys":[]}',
        jwks(KEY, KEY),
        json.dumps({"keys": [{"kty": "oct", "k": "AA", "kid": "one"}]}).encode(),
        json.dumps({"keys": [KEY.as_dict(private=True)]}).encode(),
        json.dumps({"keys": [{"kty": "RSA"}] * (KEYS_MAX + 1)}).encode(),
    ],
)
def test_a_set_that_two_readers_could_read_differently_or_that_holds_a_secret_is_refused(document: bytes) -> None:
    with pytest.raises(Unavailable) as refusal:
        read_jwks(document, "RS256")
    assert refusal.value.reason is Reason.AUTH_UNAVAILABLE


def test_no_symmetric_algorithm_can_be_configured() -> None:
    for name in ("HS256", "none", "EdDSA"):
        with pytest.raises(ValueError, match="algorithm"):
            settings(algorithm=name)
