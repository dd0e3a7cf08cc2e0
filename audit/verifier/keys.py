"""The gateway's keys as a bundle or a trust document lists them, and messages that they signed (compact JWS, RFC 7515).

A list of keys is a claim. A key of it is *vouched for* where the reader brought the list (a trust document from a
channel of their own), or where an entry of the log that was proved to be there says that the key was made for this
purpose. A key that was revoked vouches for nothing by itself: whoever has stolen it signs what they like, with any time
in it. Where it is known since when it may have been in wrong hands, what is bound to an entry of the log that a
checkpoint covered before that still stands.
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
        until: when it was revoked, or in wrong hands before that; ``None`` where it was not.
        covered: of a revoked key alone: what it signed stands for entries below this index.
        compromised: since when it may be in wrong hands, where a revocation says so.
    """

    kid: str
    purpose: str
    public: bytes
    since: float
    until: float | None
    covered: int | None = None
    compromised: float | None = None

    def stands(self, index: int | None) -> bool:
        """Whether what it signed about an entry stands; about none (``None``), where it was revoked, never."""
        return self.covered is None or (index is not None and index < self.covered)

    def bounded(self, until: float | None, covered: int | None, compromised: float | None) -> "Key":
        """The same key, believed no further than both say."""
        return replace(
            self,
            until=_least(self.until, until),
            covered=_least(self.covered, covered),
            compromised=_least(self.compromised, compromised),
        )


@dataclass(slots=True)
class Keys:
    """Keys by their thumbprint, and how each is vouched for."""

    listed: dict[str, Key]
    origin: str
    log: tuple[str, ...]
    """Verifier keys of the log, as the document lists them."""
    second: tuple[str, ...]
    """Those for ML-DSA-44."""
    gone: frozenset[str] = frozenset()
    """Thumbprints of those that the document itself says were revoked."""
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
        gone = frozenset(key.kid for key in keys if key.covered is not None)
        return cls(listed, document["origin"], tuple(document["log"]), tuple(second), gone)

    def vouch(self, kid: str, purpose: str, by: str) -> None:
        """Something that is believed says that a key serves ``purpose``."""
        key = self.listed.get(kid)
        if key is not None and key.purpose == purpose:
            self.vouched.setdefault(kid, by)

    def bound(self, known: Key) -> None:
        """A key was in force no longer than ``known``, which is believed, says of it: whoever has stolen a revoked key
        leaves the revocation out of what they enclose."""
        key = self.listed[known.kid].bounded(known.until, known.covered, known.compromised)
        self.listed[known.kid] = replace(key, since=max(key.since, known.since))

    def revoked(self, kid: str, covered: int, compromised: float | None) -> None:
        """An entry that is believed says that a key was revoked, and what of it stands."""
        key = self.listed.get(kid)
        if key is not None:
            self.listed[kid] = key.bounded(None, covered, compromised)

    def verify(
        self, token: str, typ: str, purpose: str, what: str, limit: int = TOKEN_MAX_BYTES
    ) -> tuple[dict[str, Any], Key]:
        """The claims of a JWS, and the listed key that signed it. ``iat`` of the claims must lie in the key's life: a
        time outside of it gives a forger away, a time inside of it shows nothing.

        Raises:
            EvidenceError: it does not hold.
        """
        if len(token) > limit or not token.isascii() or token.count(".") != 2:
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
    times = {name: jwk.get(name) for name in ("created_at", "revoked_at", "compromised_at")}
    if any(value is not None and type(value) not in {int, float} for value in times.values()):
        raise EvidenceError(f"{what}: a key with a time that is none")
    key = Key(jwk["kid"], jwk["purpose"], public, float(times["created_at"] or 0), times["revoked_at"])
    compromised, covered = times["compromised_at"], jwk.get("covered_size")
    if compromised is None and key.until is None and jwk.get("state") != "revoked":
        return key
    stands = compromised is not None and type(covered) is int and covered >= 0
    return key.bounded(compromised, covered if stands else 0, compromised)


def _least(one: Any, other: Any) -> Any:
    return min((value for value in (one, other) if value is not None), default=None)
