"""Every way to make one verifier believe what another would not, as committed vectors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.canonical import b64url_decode, b64url_encode
from gateway.errors import Refused
from gateway.ports import Typ
from gateway.reasons import Reason
from keys import jwk, jws
from keys.errors import JwsRefused, KeyRefused, KeysError
from tests.keys.vectors import regenerate

VECTORS = Path(__file__).parent / "vectors"
TOKENS = json.loads((VECTORS / "jws.json").read_text())
KEYS = json.loads((VECTORS / "jwk.json").read_text())


def key_for(kid: str) -> Mapping[str, Any]:
    return {TOKENS["jwk"]["kid"]: TOKENS["jwk"]}[kid]


def named(cases: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case["name"])


def test_committed_vectors_are_what_the_script_writes() -> None:
    for path, content in regenerate.written().items():
        assert path.read_text() == content


@named(TOKENS["valid"])
def test_valid_token_gives_the_signed_bytes(case: dict[str, Any]) -> None:
    token = case["token"].encode()
    verified = jws.verify(token, Typ.PLAN, key_for)
    assert verified.payload == b64url_decode(case["payload"])
    assert verified.kid == TOKENS["jwk"]["kid"]
    assert jws.verify(jws.peek(token), Typ.PLAN, key_for) == verified


@named(TOKENS["refused"])
def test_attack_is_refused_with_its_reason(case: dict[str, Any]) -> None:
    with pytest.raises(JwsRefused) as refusal:
        jws.verify(case["token"].encode(), Typ.PLAN, key_for)
    assert refusal.value.reason == case["reason"]


@named(
    [case for case in TOKENS["refused"] if case["reason"] in {"verify.malformed", "verify.algorithm", "verify.header"}]
)
def test_attack_on_the_form_is_refused_before_any_key_is_looked_up(case: dict[str, Any]) -> None:
    with pytest.raises(JwsRefused):
        jws.peek(case["token"].encode())


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\n\n"])
def test_a_file_that_ends_its_line_is_refused_with_a_hint_and_not_trimmed(end: str) -> None:
    with pytest.raises(JwsRefused) as refusal:
        jws.peek((TOKENS["valid"][0]["token"] + end).encode())
    assert (refusal.value.reason, refusal.value.facts) == (
        Reason.VERIFY_MALFORMED,
        {"problem": "trailing_white_space"},
    )


@pytest.mark.parametrize("end", ["=", "A", "\0", "\n="])
def test_another_surplus_is_not_told_to_be_white_space(end: str) -> None:
    with pytest.raises(JwsRefused) as refusal:
        jws.peek((TOKENS["valid"][0]["token"] + end).encode())
    assert (refusal.value.reason, refusal.value.facts) == (Reason.VERIFY_MALFORMED, {})


@named(KEYS["valid"])
def test_public_key_and_its_thumbprint(case: dict[str, Any]) -> None:
    loaded = jwk.public(case["jwk"])
    assert loaded.kid == case["kid"]
    assert loaded.document()["x"] == case["jwk"]["x"]
    assert jwk.from_raw(loaded.raw) == loaded


@named(KEYS["refused"])
def test_public_key_that_is_none_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(KeyRefused) as refusal:
        jwk.public(case["jwk"])
    assert refusal.value.reason is Reason.REQUEST_MALFORMED
    assert "member" in refusal.value.facts
    assert str(case["jwk"].get("d") or "no secret") not in str(refusal.value)


def test_small_order_key_would_have_let_a_signature_by_nobody_through() -> None:
    """Why keys are judged: OpenSSL loads the identity and believes (R = identity, S = 0) over anything."""
    identity = (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), b"anything at all")

    document = {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(identity)}
    kid = jwk.thumbprint(document["x"])
    token = jws.sign(lambda _: identity + bytes(32), jws.protected(kid, Typ.PLAN), b"{}").encode()
    with pytest.raises(JwsRefused) as refusal:
        jws.verify(token, Typ.PLAN, lambda _: document)
    assert refusal.value.reason is Reason.VERIFY_UNKNOWN_KEY


def test_the_small_order_list_is_what_curve_arithmetic_says() -> None:
    """Derived anew: y of every point that eight additions take to the identity."""
    p, d = 2**255 - 19, -121665 * pow(121666, -1, 2**255 - 19)
    root = pow(2, (p - 1) // 4, p)

    def x_of(y: int) -> int:
        square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        x = pow(square, (p + 3) // 8, p)
        return x if (x * x - square) % p == 0 else x * root % p

    def double(point: tuple[int, int]) -> tuple[int, int]:
        x, y = point
        k = d * x * x * y * y
        return 2 * x * y * pow(1 + k, -1, p) % p, (y * y + x * x) * pow(1 - k, -1, p) % p

    for y in jwk._SMALL_ORDER:
        point = (x_of(y), y)
        assert (-(point[0] ** 2) + y * y - 1 - d * point[0] ** 2 * y * y) % p == 0
        for _ in range(3):
            point = double(point)
        assert point == (0, 1)
    assert len(jwk._SMALL_ORDER) == 5


def test_key_filed_under_another_keys_kid_does_not_verify() -> None:
    stranger = KEYS["valid"][0]["jwk"]
    with pytest.raises(JwsRefused) as refusal:
        jws.verify(TOKENS["valid"][0]["token"].encode(), Typ.PLAN, lambda _: stranger)
    assert refusal.value.reason is Reason.VERIFY_UNKNOWN_KEY


def test_the_directorys_own_refusal_passes_unchanged() -> None:
    def revoked(_kid: str) -> Mapping[str, str]:
        raise Refused(Reason.VERIFY_REVOKED_KEY)

    with pytest.raises(Refused) as refusal:
        jws.verify(TOKENS["valid"][0]["token"].encode(), Typ.PLAN, revoked)
    assert refusal.value.reason is Reason.VERIFY_REVOKED_KEY


@pytest.mark.parametrize("typ", [typ for typ in Typ if typ is not Typ.PLAN])
def test_plan_is_taken_for_no_other_class(typ: Typ) -> None:
    with pytest.raises(JwsRefused) as refusal:
        jws.verify(TOKENS["valid"][0]["token"].encode(), typ, key_for)
    assert refusal.value.reason is Reason.VERIFY_TYPE


def test_receipt_over_its_size_is_refused() -> None:
    head = jws.protected("A" * 43, Typ.RECEIPT)
    token = head + b"." + b"A" * jws.TOKEN_MAX_BYTES[Typ.RECEIPT] + b"." + b"A" * 86
    with pytest.raises(JwsRefused) as refusal:
        jws.peek(token)
    assert refusal.value.reason is Reason.VERIFY_MALFORMED
    assert "too long" in refusal.value.detail


def test_every_class_has_a_size_bound() -> None:
    assert jws.TOKEN_MAX_BYTES.keys() == set(Typ)


def test_refusals_belong_to_both_families() -> None:
    with pytest.raises(KeysError):
        jws.peek(b"")
    with pytest.raises(Refused):
        jws.peek(b"")


def test_a_refused_header_is_not_remembered_as_accepted() -> None:
    bad = next(case for case in TOKENS["refused"] if case["name"] == "jku beside an honest signature")["token"].encode()
    for _ in range(3):
        with pytest.raises(JwsRefused):
            jws.peek(bad)
