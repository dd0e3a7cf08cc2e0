"""Which trust documents can be used, and what they are believed for."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handrail import Trust, TrustError

# --- the trust document ----------------------------------------------------------------------------------------------
from tests.client.receipt_forge import Forge, check, jwk, refused


def test_a_trust_document_whose_keys_do_not_match_their_names_is_refused() -> None:
    trust = Forge().trust()
    trust["jwks"]["keys"][0]["kid"] = "A" * 43
    with pytest.raises(TrustError, match="thumbprint"):
        Trust.from_document(trust)
    trust = Forge().trust()
    name, _, material = trust["log"][0].split("+", 2)
    trust["log"] = [f"{name}+00000000+{material}"]
    with pytest.raises(TrustError, match="id does not belong"):
        Trust.from_document(trust)


@pytest.mark.parametrize("revocation", [{"state": "revoked"}, {"revoked_at": 1}])
def test_a_revoked_receipt_key_proves_nothing(revocation: dict[str, Any]) -> None:
    forge = Forge()
    trust = forge.trust()
    trust["jwks"]["keys"].append(jwk(Ed25519PrivateKey.from_private_bytes(b"\x77" * 32), "receipt"))
    assert check(forge, trust=trust)
    trust["jwks"]["keys"][0] |= revocation
    refused(2, "not trusted", forge, trust=trust)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"origin": None},
        {"jwks": []},
        {"jwks": {"keys": 1}},
        {"jwks": {"keys": []}},
        {"log": []},
        {"log": ["x"]},
        {"log": [7]},
        {"origin": "another.example/log"},
    ],
)
def test_a_trust_document_that_cannot_be_used_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TrustError):
        Trust.from_document({**Forge().trust(), **change})


def test_the_published_example_note_verifies() -> None:
    """The example of the signed-note specification: key parsing, key id and signature."""
    from handrail.errors import MalformedError
    from handrail.note import LogKey, open_checkpoint

    key = LogKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    note = (
        "This is an example message.\n\n\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Z"
        "tg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    )
    with pytest.raises(MalformedError, match="three lines"):
        open_checkpoint(note, [key])
    with pytest.raises(MalformedError, match="does not verify"):
        open_checkpoint(note.replace("This", "That"), [key])
