"""Reading DPoP proofs (RFC 9449) of remote hands, and the nonces that say when a proof was made.

A hand's clock is not asked: a proof is as young as the nonce in it (RFC 9449 section 8), which this gateway, or another
one with the same data root, gave out. A proof also names the body that it goes with, so it is good for that request and
no other one.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

from gateway.canonical import b64url_decode, b64url_encode, parse
from gateway.errors import HandrailError
from gateway.reasons import Reason
from keys import jwk
from keys.errors import JwsRefused
from keys.proof import PROOF_TYPE

PROOF_MAX_BYTES: Final = 8_192
NONCE_SECONDS: Final = 60
"""A nonce is good in the minute that it was made in, and in the next one."""
_HEADER: Final = {"alg", "jwk", "typ"}
_JWK: Final = {"kty", "crv", "x"}
_TEXT_MAX: Final = 2_048


@dataclass(frozen=True, slots=True)
class HandProof:
    """A proof whose signature holds under the key that it names. What it says is not compared yet.

    Attributes:
        jkt: thumbprint of that key.
        ath: base64url SHA-256 of the credential that it goes with; ``None`` where it goes with none.
        body_sha256: hex SHA-256 of the request's body.
    """

    jkt: str
    jti: str
    htm: str
    htu: str
    nonce: str | None
    ath: str | None
    body_sha256: str | None

    def covers(self, body: bytes) -> None:
        """See ``gateway.ports.Proof``."""
        if not hmac.compare_digest((self.body_sha256 or "").encode(), hashlib.sha256(body).hexdigest().encode()):
            raise JwsRefused(Reason.PROOF_REFUSED, "for another body")


def read_proof(text: str) -> HandProof:
    """Read one proof and check its signature.

    Raises:
        JwsRefused: ``proof.refused``.
    """
    try:
        return _read(text)
    except (HandrailError, InvalidSignature, ValueError, KeyError, TypeError) as exc:
        raise JwsRefused(Reason.PROOF_REFUSED, f"the proof cannot be read: {type(exc).__name__}") from None


def _read(text: str) -> HandProof:
    segments = text.split(".", 3)
    if len(text) > PROOF_MAX_BYTES or not text.isascii() or len(segments) != 3:
        raise ValueError("not a compact JWS")
    head, body, tail = segments
    header, claims, signature = parse(b64url_decode(head)), parse(b64url_decode(body)), b64url_decode(tail)
    if not isinstance(header, dict) or not isinstance(claims, dict) or header.keys() != _HEADER:
        raise ValueError("header or claims")
    if (header["typ"], header["alg"]) != (PROOF_TYPE, jwk.ALGORITHM):
        raise ValueError("typ or alg")
    if not isinstance(header["jwk"], dict) or header["jwk"].keys() != _JWK:
        raise ValueError("jwk")
    public = jwk.public(header["jwk"])
    public.key.verify(signature, f"{head}.{body}".encode("ascii"))
    if type(claims["iat"]) is not int:
        raise ValueError("iat")
    return HandProof(
        jkt=public.kid,
        jti=_text(claims["jti"]),
        htm=_text(claims["htm"]),
        htu=_text(claims["htu"]),
        nonce=_optional(claims, "nonce"),
        ath=_optional(claims, "ath"),
        body_sha256=_optional(claims, "body_sha256"),
    )


def _optional(claims: dict[str, Any], name: str) -> str | None:
    return _text(claims[name]) if name in claims else None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_MAX:
        raise ValueError("not a text")
    return value


class HandProofs:
    """``gateway.ports.Proofs``: checks proofs, and gives out nonces without keeping any. Thread-safe."""

    def __init__(self, key: bytes, base_url: str | None, clock: Callable[[], float] = time.time) -> None:
        """Use ``key``: 32 bytes that every gateway of the database has.

        Args:
            base_url: the address by which hands reach the gateway; ``None`` where none is configured: then of ``htu``
                the path is compared, and the nonce says that the proof was made for this gateway.
            clock: seconds since the epoch.
        """
        self._key = key
        self._base = None if base_url is None else base_url.rstrip("/")
        self._clock = clock

    def nonce(self) -> str:
        """See ``gateway.ports.Proofs``."""
        return self._of(self._minute())

    def check(self, text: str, method: str, path: str, credential: str | None = None) -> HandProof:
        """See ``gateway.ports.Proofs``."""
        proof = read_proof(text)
        if proof.htm != method or not self._here(proof.htu.partition("#")[0].partition("?")[0], path):
            raise JwsRefused(Reason.PROOF_REFUSED, "for another request")
        digest = None if credential is None else hashlib.sha256(credential.encode("ascii", "replace")).digest()
        if proof.ath != (None if digest is None else b64url_encode(digest)):
            raise JwsRefused(Reason.PROOF_REFUSED, "for another credential")
        now = self._minute()
        # The next minute's, too: the clock of the gateway that gave it may be ahead.
        nonce = (proof.nonce or "").encode()
        fresh = [hmac.compare_digest(self._of(now + ahead).encode(), nonce) for ahead in (0, -1, 1)]
        if not any(fresh):
            raise JwsRefused(Reason.PROOF_NONCE, "no nonce, or an old one")
        return proof

    def _here(self, target: str, path: str) -> bool:
        if self._base is not None:
            return target == self._base + path
        scheme, separator, rest = target.partition("://")
        host, slash, found = rest.partition("/")
        return scheme in {"http", "https"} and bool(separator and host) and slash + found == path

    def _minute(self) -> int:
        return int(self._clock() // NONCE_SECONDS)

    def _of(self, minute: int) -> str:
        return b64url_encode(hmac.digest(self._key, b"DPoP-Nonce %d" % minute, "sha256"))
