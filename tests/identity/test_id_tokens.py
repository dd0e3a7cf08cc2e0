"""What an ID token must be to say that somebody logged in: OpenID Connect Core, section 3.1.3.7."""

from typing import Any

import pytest

from gateway.errors import Refused
from keys.access_tokens import peek
from keys.id_tokens import FRESH_SECONDS, LIFETIME_MAX_SECONDS, IdTokenProfile, verify_id_token
from keys.provider_jwks import read_jwks
from tests.identity.issuer import CURVE, EDWARDS, ISSUER, KEY, NOW, OTHER, jwks, signed

CLIENT = "handrail-pages"
NONCE = "n-0S6_WzA2Mj"
PROFILE = IdTokenProfile(issuer=ISSUER, algorithm="RS256", client_id=CLIENT, skew_seconds=5)


def said(**changed: Any) -> dict[str, Any]:
    """Claims of a good ID token; ``None`` takes one away."""
    good = {"iss": ISSUER, "sub": "ada", "aud": CLIENT, "iat": NOW - 1, "exp": NOW + 299, "nonce": NONCE, **changed}
    return {name: value for name, value in good.items() if value is not None}


def check(body: dict[str, Any], key: Any = KEY, profile: IdTokenProfile = PROFILE, **header: Any) -> str:
    token = peek(signed(body, key, **{"typ": "JWT", **header}))
    known = read_jwks(jwks(KEY), profile.algorithm)["one"]
    return verify_id_token(token, profile, known, nonce=NONCE, now=NOW).subject


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"aud": [CLIENT]},
        {"azp": CLIENT},
        {"at_hash": "of an access token that nobody uses"},
        {"nbf": NOW - 1},
        {"iat": NOW + 5, "exp": NOW + 300},
        {"iat": NOW - FRESH_SECONDS},
        {"exp": NOW - 4, "iat": NOW - 60},
        {"groups": ["approvers"]},
    ],
)
def test_a_good_one_says_who_logged_in(changed: dict[str, Any]) -> None:
    assert check(said(**changed)) == "ada"
    assert check(said(**changed), typ=None) == "ada"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": None},
        {"iss": "https://issuer.example.org"},
        {"iss": ISSUER + "/"},
        {"aud": None},
        {"aud": "somebody-else"},
        {"aud": []},
        {"aud": [CLIENT, "somebody-else"], "azp": CLIENT},
        {"aud": [CLIENT, CLIENT], "azp": CLIENT},
        {"aud": {"client": CLIENT}},
        {"azp": "somebody-else"},
        {"nonce": None},
        {"nonce": ""},
        {"nonce": NONCE + "x"},
        {"nonce": [NONCE]},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a" * 256},
        {"sub": "ada\u0000"},
        {"exp": None},
        {"exp": NOW - 6, "iat": NOW - 60},
        {"exp": str(NOW + 60)},
        {"exp": True},
        {"exp": NOW + LIFETIME_MAX_SECONDS + 1},
        {"iat": None},
        {"iat": NOW + 6},
        {"iat": NOW - FRESH_SECONDS - 1},
        {"iat": NOW + 400},
        {"nbf": NOW + 6},
        {"amr": "pwd"},
    ],
)
def test_anything_else_says_nothing(changed: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        check(said(**changed))
    assert str(refused.value.reason) in {"auth.invalid", "auth.expired"}


@pytest.mark.parametrize(
    ("key", "header"),
    [
        (OTHER, {}),
        (CURVE, {"alg": "ES256"}),
        (EDWARDS, {"alg": "Ed25519"}),
        (KEY, {"alg": "PS256"}),
        (KEY, {"alg": "RS512"}),
        (KEY, {"typ": "at+jwt"}),
        (KEY, {"typ": "logout+jwt"}),
    ],
)
def test_the_operator_says_the_algorithm_and_the_class(key: Any, header: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        check(said(), key, **header)


def test_a_proof_of_long_ago_is_none_where_the_operator_wants_a_new_one() -> None:
    strict = IdTokenProfile(
        issuer=ISSUER, algorithm="RS256", client_id=CLIENT, skew_seconds=5, max_age_seconds=60, acr_values=("mfa",)
    )
    assert check(said(auth_time=NOW - 65, acr="mfa"), profile=strict) == "ada"
    for changed in (
        {"acr": "mfa"},
        {"auth_time": NOW - 66, "acr": "mfa"},
        {"auth_time": "now", "acr": "mfa"},
        {"auth_time": NOW - 1},
        {"auth_time": NOW - 1, "acr": "pwd"},
        {"auth_time": NOW - 1, "acr": ["mfa"]},
    ):
        with pytest.raises(Refused):
            check(said(**changed), profile=strict)


def test_a_proof_must_be_new_where_no_age_is_allowed() -> None:
    """``max_age_seconds = 0`` is an age like any other, not the absence of one."""
    strict = IdTokenProfile(issuer=ISSUER, algorithm="RS256", client_id=CLIENT, skew_seconds=5, max_age_seconds=0)
    assert check(said(auth_time=NOW), profile=strict) == "ada"
    with pytest.raises(Refused):
        check(said(auth_time=NOW - 6), profile=strict)


@pytest.mark.parametrize("ahead", [6, 3_600, 10**12, float("inf"), float("nan")])
def test_a_proof_in_the_future_is_no_proof(ahead: float) -> None:
    strict = IdTokenProfile(issuer=ISSUER, algorithm="RS256", client_id=CLIENT, skew_seconds=5, max_age_seconds=60)
    assert check(said(auth_time=NOW + 5), profile=strict) == "ada"
    with pytest.raises(Refused) as refused:
        check(said(auth_time=NOW + ahead), profile=strict)
    assert refused.value.reason == "auth.invalid"
