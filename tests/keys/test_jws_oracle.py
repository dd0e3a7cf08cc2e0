"""joserfc as an independent reader: whatever Handrail accepts it accepts too, and reads the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from gateway.ports import Typ
from keys import jwk, jws
from keys.errors import JwsRefused

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = jwk.from_raw(PRIVATE.public_key().public_bytes_raw())
HEADERS = {typ: jws.protected(PUBLIC.kid, typ) for typ in Typ}
REGISTRY = joserfc_jws.JWSRegistry(algorithms=["Ed25519"])
VECTORS = json.loads((Path(__file__).parent / "vectors" / "jws.json").read_text())


def key_for(kid: str) -> Mapping[str, str]:
    return {PUBLIC.kid: PUBLIC.document()}[kid]


def joserfc_reads(token: bytes) -> tuple[dict[str, Any], bytes]:
    found = joserfc_jws.deserialize_compact(token, OKPKey.import_key(PUBLIC.document()), registry=REGISTRY)
    return dict(found.headers()), found.payload


@settings(database=None)
@given(payload=st.binary(min_size=1, max_size=2000), typ=st.sampled_from(Typ))
def test_joserfc_verifies_what_handrail_signs(payload: bytes, typ: Typ) -> None:
    token = jws.sign(PRIVATE.sign, HEADERS[typ], payload)
    header, read = joserfc_reads(token.encode())
    assert header == {"alg": "Ed25519", "kid": PUBLIC.kid, "typ": str(typ)}
    assert read == payload


@settings(database=None)
@given(payload=st.binary(min_size=1, max_size=2000), typ=st.sampled_from(Typ))
def test_handrail_verifies_what_joserfc_signs(payload: bytes, typ: Typ) -> None:
    header = {"alg": "Ed25519", "kid": PUBLIC.kid, "typ": str(typ)}
    token = joserfc_jws.serialize_compact(header, payload, OKPKey.import_key(PRIVATE), registry=REGISTRY)
    assert jws.verify(token.encode(), typ, key_for).payload == payload


@settings(database=None)
@given(st.data())
def test_whatever_handrail_accepts_joserfc_accepts_and_reads_alike(data: st.DataObject) -> None:
    """Valid tokens, cut, doubled, swapped and overwritten at random."""
    token = bytearray(jws.sign(PRIVATE.sign, HEADERS[Typ.PLAN], b'{"v":1,"iss":"a"}').encode())
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(token)))
        width = data.draw(st.integers(0, 4))
        token[place : place + width] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b".", b"=", b"\n", b"-", b"A"])
        )
    try:
        accepted = jws.verify(bytes(token), Typ.PLAN, key_for)
    except JwsRefused:
        return
    header, payload = joserfc_reads(bytes(token))
    assert (header, payload) == (dict(accepted.header), accepted.payload)


@pytest.mark.parametrize(
    "case",
    [case for case in VECTORS["refused"] if case["reason"] in {"verify.algorithm", "verify.signature"}],
    ids=lambda case: case["name"],
)
def test_joserfc_refuses_forged_signatures_and_foreign_algorithms_too(case: dict[str, Any]) -> None:
    with pytest.raises((JoseError, ValueError, TypeError)):
        joserfc_reads(case["token"].encode())


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["name"])
def test_joserfc_reads_the_valid_vectors(case: dict[str, Any]) -> None:
    assert joserfc_reads(case["token"].encode())[1] == jws.verify(case["token"].encode(), Typ.PLAN, key_for).payload


def test_thumbprint_is_joserfcs() -> None:
    assert OKPKey.import_key(PUBLIC.key).thumbprint() == PUBLIC.kid
