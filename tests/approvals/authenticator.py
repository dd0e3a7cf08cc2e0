"""An authenticator in software, which can also do what no honest one does."""

import hashlib
import json
import os
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.canonical import b64url_encode
from gateway.webauthn import Assertion, RelyingParty, SecurityKey, thumbprint

PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED, EXTENSIONS = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80
PARTY = RelyingParty("gateway.example", "https://gateway.example")


class Authenticator:
    """One credential. Every part of what it says can be overridden."""

    def __init__(self, kind: str = "ES256", party: RelyingParty = PARTY) -> None:
        self.party = party
        self.credential_id = os.urandom(32)
        self.count = 0
        self.key: Any
        if kind == "ES256":
            self.key = ec.generate_private_key(ec.SECP256R1())
            numbers = self.key.public_key().public_numbers()
            x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
            self.jwk = {"kty": "EC", "crv": "P-256", "x": b64url_encode(x), "y": b64url_encode(y)}
            self.cose = bytes.fromhex("a5010203262001215820") + x + bytes.fromhex("225820") + y
        else:
            self.key = ed25519.Ed25519PrivateKey.generate()
            raw = self.key.public_key().public_bytes_raw()
            self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(raw)}
            self.cose = bytes.fromhex("a4010103272006215820") + raw

    @property
    def enrolled(self) -> SecurityKey:
        """As the gateway knows it."""
        identifier = b64url_encode(self.credential_id)
        return SecurityKey(thumbprint(self.jwk), identifier, self.jwk, self.party.id, 0)

    def client_data(self, kind: str, asked: bytes, **changes: Any) -> bytes:
        members = {
            "type": kind,
            "challenge": b64url_encode(asked),
            "origin": self.party.origin,
            "crossOrigin": False,
            **changes,
        }
        return json.dumps({name: value for name, value in members.items() if value is not ...}).encode()

    def authenticator_data(self, flags: int, *, rp_id: str | None = None, count: int | None = None) -> bytes:
        counted = self.count if count is None else count
        return hashlib.sha256((rp_id or self.party.id).encode()).digest() + bytes([flags]) + counted.to_bytes(4, "big")

    def registration(
        self, asked: bytes, flags: int = PRESENT | VERIFIED | ATTESTED, **changes: Any
    ) -> tuple[bytes, bytes]:
        """``(clientDataJSON, authenticatorData)``."""
        attested = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id
        data = self.authenticator_data(flags, rp_id=changes.pop("rp_id", None))
        cose = changes.pop("cose", self.cose)
        return self.client_data("webauthn.create", asked, **changes), data + attested + cose

    def sign(
        self, payload: bytes, *, flags: int = PRESENT | VERIFIED, signed_by: "Authenticator | None" = None,
        rp_id: str | None = None, count: int | None = None, challenge: bytes | None = None, kind: str = "webauthn.get",
        after: bytes = b"", **changes: Any,
    ) -> Assertion:  # fmt: skip
        self.count += 1
        asked = hashlib.sha256(payload).digest() if challenge is None else challenge
        client_data = self.client_data(kind, asked, **changes)
        data = self.authenticator_data(flags, rp_id=rp_id, count=count) + after
        key = (signed_by or self).key
        message = data + hashlib.sha256(client_data).digest()
        signature = (
            key.sign(message, ec.ECDSA(SHA256())) if isinstance(key, ec.EllipticCurvePrivateKey) else key.sign(message)
        )
        return Assertion(payload, b64url_encode(self.credential_id), data, client_data, signature)
