"""The one table of attacks (``tests/keys/attacks.py``) against every reader of Handrail's signed messages.

A reader that a token class has is named here; that all of them stand here is the point of the table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handrail import jws as client_jws
from handrail.errors import MalformedError
from handrail.keys import VerifyKey

from audit.verifier.errors import EvidenceError
from audit.verifier.keys import Keys
from gateway.errors import Refused
from gateway.ports import Typ
from keys import jwk, jws
from keys.errors import JwsRefused, KeyRefused
from tests.keys.attacks import FORM, PAYLOADS, TYPES, Attack, Honest, b64, bad_keys, compact, on_form, public_jwk

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
JWK = public_jwk(SIGNER)
KEY = {name: JWK[name] for name in ("kty", "crv", "x")}
CLAIMS = {
    "iss": "handrail.local/log",
    "sub": "alice",
    "aud": "hand:git",
    "iat": 1_800_000_000,
    "exp": 1_800_000_060,
    "jti": "0001",
}
BAD_KEYS = bad_keys(KEY, public_jwk(STRANGER)["kid"], b64(SIGNER.private_bytes_raw()).decode())


def honest(typ: str, max_bytes: int) -> Honest:
    return Honest(
        header={"alg": "Ed25519", "kid": JWK["kid"], "typ": typ},
        payload=compact(CLAIMS),
        sign=SIGNER.sign,
        stranger=STRANGER.sign,
        stranger_jwk=public_jwk(STRANGER),
        public=SIGNER.public_key().public_bytes_raw(),
        max_bytes=max_bytes,
    )


def auditors_keys(key: Mapping[str, Any] = JWK) -> Keys:
    document = {
        "v": 1,
        "origin": CLAIMS["iss"],
        "jwks": {"keys": [{**key, "purpose": "receipt"}]},
        "log": [],
    }
    return Keys.parse(compact(document), "trust")


@dataclass(frozen=True)
class Reader:
    """One implementation that parses tokens: how it is asked, and the exception with which it refuses."""

    name: str
    typ: str
    max_bytes: int
    read: Callable[[bytes], object]
    refusal: type[Exception]


def gateways(typ: Typ) -> Reader:
    return Reader(
        f"keys.jws {typ}",
        typ,
        jws.TOKEN_MAX_BYTES[typ],
        lambda token: jws.verify(token, typ, {JWK["kid"]: JWK}.__getitem__),
        JwsRefused,
    )


def text(token: bytes) -> str:
    """A token as it comes to a reader of text: out of strict JSON or a header, where bytes beyond UTF-8 are refused or
    each byte is one character (ISO 8859-1, as ASGI servers decode headers)."""
    return token.decode("latin-1")


READERS = (
    *(gateways(typ) for typ in Typ if jws.TOKEN_MAX_BYTES[typ] <= 65_536),
    Reader(
        "handrail.jws receipt+jws",
        "receipt+jws",
        client_jws.MAX_BYTES,
        lambda token: client_jws.verify(text(token), "receipt+jws", {JWK["kid"]: VerifyKey.from_jwk(JWK)}),
        MalformedError,
    ),
    Reader(
        "audit.verifier export+jws",
        "export+jws",
        65_536,
        lambda token: auditors_keys().verify(text(token), "export+jws", "receipt", "manifest.sig"),
        EvidenceError,
    ),
)


@pytest.fixture(params=READERS, ids=lambda reader: reader.name)
def reader(request: pytest.FixtureRequest) -> Reader:
    found: Reader = request.param
    return found


def test_every_reader_takes_the_honest_token(reader: Reader) -> None:
    """Or every refusal below would prove nothing."""
    reader.read(honest(reader.typ, reader.max_bytes).token())


@pytest.mark.parametrize("attack", FORM, ids=lambda attack: attack.name)
def test_an_attack_on_the_form_is_refused(reader: Reader, attack: Attack) -> None:
    start = honest(reader.typ, reader.max_bytes)
    token = attack.make(start)
    if token == start.token():
        assert attack.name == f"typ {reader.typ}", "an attack that changes nothing"
        return
    with pytest.raises(reader.refusal) as refusal:
        reader.read(token)
    if isinstance(refusal.value, Refused):
        assert refusal.value.reason == attack.reason


def test_the_table_presents_each_class_as_each_other() -> None:
    assert {str(typ) for typ in Typ} <= set(TYPES)
    for typ in TYPES:
        names = {attack.name for attack, _ in on_form(honest(typ, 65_536))}
        assert {f"typ {other}" for other in TYPES if other != typ} <= names
        assert f"typ {typ}" not in names


def test_no_two_rows_share_a_name() -> None:
    names = [attack.name for attack in FORM]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("change", PAYLOADS, ids=lambda change: change.name)
@pytest.mark.parametrize("name", ["handrail.jws receipt+jws", "audit.verifier export+jws"])
def test_a_signed_payload_that_is_no_strict_claims_set_is_refused(name: str, change: Any) -> None:
    """``keys.jws`` gives bytes; its callers read them (``tests/keys/test_credentials.py`` for step credentials)."""
    reader = next(reader for reader in READERS if reader.name == name)
    start = replace(honest(reader.typ, reader.max_bytes), payload=change.make(dict(CLAIMS)))
    if change.name == "an empty object" and name.startswith("handrail.jws"):
        assert reader.read(start.token()) == {}
        return
    with pytest.raises(reader.refusal):
        reader.read(start.token())


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_that_is_none_is_taken_by_nobody(name: str) -> None:
    key = BAD_KEYS[name]
    with pytest.raises(KeyRefused):
        jwk.public(key)
    if "private" in name or "symmetric" in name:
        return  # the client reads its owner's private keys from the same files
    with pytest.raises(MalformedError):
        VerifyKey.from_jwk(key)
    kid = jwk.thumbprint(key["x"]) if isinstance(key.get("x"), str) else JWK["kid"]
    if name in {"alg EdDSA", "use enc"}:
        return  # a trust document's keys are chosen by purpose
    with pytest.raises(EvidenceError):
        auditors_keys({"kid": kid, **key})


def test_a_signature_by_nobody_under_the_identity_is_believed_by_no_reader() -> None:
    """R = identity, S = 0 verifies over anything under the key of order 1."""
    identity = (1).to_bytes(32, "little")
    x = b64(identity).decode()
    forged = replace(honest("export+jws", 65_536), sign=lambda _: identity + bytes(32)).token(
        {
            "alg": "Ed25519",
            "kid": jwk.thumbprint(x),
            "typ": "export+jws",
        }
    )
    with pytest.raises(JwsRefused):
        jws.verify(forged, Typ.EXPORT, lambda _: {"kty": "OKP", "crv": "Ed25519", "x": x})
    with pytest.raises(MalformedError):
        client_jws.verify(forged.decode(), "export+jws", {jwk.thumbprint(x): VerifyKey(identity)})
    with pytest.raises(EvidenceError):
        auditors_keys({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": jwk.thumbprint(x)})
