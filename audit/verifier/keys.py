"""The gateway's keys as a bundle or a trust document lists them, and messages that they signed (compact JWS, RFC 7515).

A list of keys is a claim. A key of it is *vouched for* where the reader brought the list (a trust document from a
channel of their own), or where an entry of the log that was proved to be there says that the key was made for this
purpose and no enclosed entry says that it was revoked.
"""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, Final

from . import ed25519, strict
from .errors import EvidenceError

TOKEN_MAX_BYTES: Final = 65_536
_HEADER: Final = {"alg", "kid", "typ"}


@dataclass(frozen=True, slots=True)
class Key:
    """One public key, and when it could sign (seconds since the epoch).

    Attributes:
        kid: RFC 7638 thumbprint.
        until: when it was revoked; ``None`` where it was not.
    """

    kid: str
    purpose: str
    public: bytes
    since: float
    until: float | None


@dataclass(slots=True)
class Keys:
    """Keys by their thumbprint, and how each is vouched for."""

    listed: dict[str, Key]
    origin: str
    log: tuple[str, ...]
    """Verifier keys of the log, as the document lists them."""
    second: tuple[str, ...]
    """Those for ML-DSA-44."""
    vouched: dict[str, str] = field(default_factory=dict)
    """kid -> by what."""

    @classmethod
    def parse(cls, raw: bytes, what: str) -> "Keys":
        """From a trust document. Raises ``EvidenceError``."""
        document = strict.document(raw, what, {"v": int, "origin": str, "jwks": dict, "log": list})
        members = document["jwks"].get("keys")
        if document["v"] != 1 or type(members) is not list or not all(type(key) is dict for key in members):
            raise EvidenceError(f"{what}: not a trust document of version 1")
        if not all(type(vkey) is str for vkey in document["log"]):
            raise EvidenceError(f"{what}: a verifier key of the log is no text")
        keys = [_key(jwk, what) for jwk in members]
        listed = {key.kid: key for key in keys}
        if len(listed) != len(keys):
            raise EvidenceError(f"{what}: a key stands in it twice")
        second = document.get("log_post_quantum", [])
        if type(second) is not list or not all(type(vkey) is str for vkey in second):
            raise EvidenceError(f"{what}: an ML-DSA-44 key of the log is no text")
        return cls(listed, document["origin"], tuple(document["log"]), tuple(second))

    def vouch(self, kid: str, purpose: str, by: str) -> None:
        """Something that is believed says that a key serves ``purpose``."""
        key = self.listed.get(kid)
        if key is not None and key.purpose == purpose:
            self.vouched.setdefault(kid, by)

    def bound(self, known: Key) -> None:
        """A key was in force no longer than ``known``, which is believed, says of it: whoever has stolen a revoked key
        leaves the revocation out of what they enclose."""
        key = self.listed[known.kid]
        ends = [until for until in (key.until, known.until) if until is not None]
        self.listed[known.kid] = replace(key, since=max(key.since, known.since), until=min(ends, default=None))

    def verify(self, token: str, typ: str, purpose: str, what: str) -> tuple[dict[str, Any], Key]:
        """The claims of a JWS, and the listed key that signed it. ``iat`` of the claims must lie in the key's life.

        Raises:
            EvidenceError: it does not hold.
        """
        if len(token) > TOKEN_MAX_BYTES or not token.isascii() or token.count(".") != 2:
            raise EvidenceError(f"{what}: not a signed message")
        head, body, tail = token.split(".")
        header = strict.document(strict.base64url_bytes(head, what), what, dict.fromkeys(_HEADER, str))
        if header.keys() != _HEADER or header["alg"] != "Ed25519" or header["typ"] != typ:
            raise EvidenceError(f"{what}: not signed as {typ} with Ed25519")
        key = self.listed.get(header["kid"])
        if key is None or key.purpose != purpose:
            raise EvidenceError(f"{what}: signed by {header['kid']}, which is not among the gateway's {purpose} keys")
        if not ed25519.holds(key.public, strict.base64url_bytes(tail, what), f"{head}.{body}".encode()):
            raise EvidenceError(f"{what}: its signature does not verify")
        claims = strict.document(strict.base64url_bytes(body, what), what, {"iss": str, "iat": int})
        # Clocks of one machine, in seconds: what a key signs in the second in which it is made is cut to before it.
        if claims["iat"] < key.since - 1 or (key.until is not None and claims["iat"] >= key.until):
            raise EvidenceError(f"{what}: signed at a time at which its key was not in force")
        return claims, key


def _key(jwk: dict[str, Any], what: str) -> Key:
    strict.require(jwk, what, {"kty": str, "crv": str, "x": str, "kid": str, "purpose": str})
    public = strict.base64url_bytes(jwk["x"], what)
    if jwk["kty"] != "OKP" or jwk["crv"] != "Ed25519" or not ed25519.sound(public):
        raise EvidenceError(f"{what}: a key that is not Ed25519")
    digest = hashlib.sha256(strict.canonical_texts({"crv": "Ed25519", "kty": "OKP", "x": jwk["x"]})).digest()
    if strict.base64url_bytes(jwk["kid"], what) != digest:
        raise EvidenceError(f"{what}: a key whose id is not its thumbprint")
    times = {name: jwk.get(name) for name in ("created_at", "revoked_at")}
    if any(value is not None and type(value) not in {int, float} for value in times.values()):
        raise EvidenceError(f"{what}: a key with a time that is none")
    return Key(jwk["kid"], jwk["purpose"], public, float(times["created_at"] or 0), times["revoked_at"])
