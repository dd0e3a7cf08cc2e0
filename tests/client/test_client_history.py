"""The signed history of the keys: read only as far as a trusted key signed it."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handrail import MalformedError, Trust
from handrail.history import read_history

from tests.client.receipt_forge import Forge, jwk

JWK = jwk(Forge().receipt_key, "receipt")


def _trust(forge: Forge) -> Trust:
    return Trust.from_document(forge.trust())


def test_a_history_says_when_each_key_signed_and_where_the_log_says_so() -> None:
    forge = Forge()
    [key] = read_history(forge.history(), _trust(forge))["keys"]
    assert (key["not_before"], key["entries"][-1]) == (2.0, [1, "KEYROT", "active"])


def test_a_history_of_a_stranger_or_of_another_class_is_none() -> None:
    forge = Forge()
    trust = _trust(forge)
    with pytest.raises(MalformedError, match="typ"):
        read_history(forge.history(typ="receipt+jws"), trust)
    forge.receipt_key = Ed25519PrivateKey.from_private_bytes(b"\x33" * 32)
    with pytest.raises(MalformedError, match="does not verify"):
        read_history(forge.history(), trust)


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"v": 2}, "version"),
        ({"iss": "other.example/log"}, "of this gateway"),
        ({"keys": {}}, "wrong type"),
        ({"keys": ["k"]}, "no object"),
        ({"keys": [{**JWK, "kid": "k", "state": "active", "entries": []}]}, "thumbprint"),
        ({"keys": [{"kid": "k"}]}, "missing"),
    ],
)
def test_a_history_of_another_shape_is_none(claims: dict[str, Any], words: str) -> None:
    forge = Forge()
    with pytest.raises(MalformedError, match=words):
        read_history(forge.history(**claims), _trust(forge))


def test_a_key_that_stands_twice_in_a_history_is_refused() -> None:
    forge = Forge()
    known = {**jwk(forge.receipt_key, "receipt"), "state": "active", "entries": []}
    with pytest.raises(MalformedError, match="twice"):
        read_history(forge.history(keys=[known, known]), _trust(forge))
