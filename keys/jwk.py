"""Public Ed25519 keys as JWKs (RFC 8037), read strictly.

OpenSSL loads any 32 bytes as an Ed25519 public key. With a key of small order a signature made by nobody verifies, and
a non-canonical spelling gives one key two thumbprints; so a key is judged here, once, before it is used or stored.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.canonical import b64url_decode, b64url_encode
from gateway.errors import Refused
from gateway.reasons import Reason
from keys.errors import KeyRefused

ALGORITHM: Final = "Ed25519"
"""The only ``alg`` (RFC 9864)."""
PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members of a JWK that hold secrets (RFC 7518 section 6, RFC 8037 section 2)."""

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, _ORDER_8, _P - _ORDER_8})
"""y of the eight points whose order divides 8 (RFC 7748 section 7 for why they matter)."""


@dataclass(frozen=True, slots=True)
class PublicJwk:
    """A public Ed25519 key that passed every check.

    Attributes:
        kid: RFC 7638 thumbprint, 43 characters.
        x: canonical base64url of ``raw``.
        raw: the 32 bytes of RFC 8032.
    """

    kid: str
    x: str
    raw: bytes
    key: Ed25519PublicKey

    def document(self) -> dict[str, str]:
        """The JWK as Handrail stores and publishes it: ``kty, crv, x, kid, alg, use``."""
        return {"kty": "OKP", "crv": ALGORITHM, "x": self.x, "kid": self.kid, "alg": ALGORITHM, "use": "sig"}


def public(jwk: Mapping[str, Any]) -> PublicJwk:
    """Read a public key; the cost of the point checks is paid once per key.

    Members that are not understood are ignored (RFC 7517 section 4) unless they hold secrets.

    Raises:
        KeyRefused: ``request.malformed`` with the offending ``member``.
    """
    if not PRIVATE_MEMBERS.isdisjoint(jwk):
        raise KeyRefused(Reason.REQUEST_MALFORMED, "a private key was offered where a public one belongs", member="d")
    for member, expected, required in _MEMBERS:
        if jwk.get(member, None if required else expected) != expected:
            raise KeyRefused(Reason.REQUEST_MALFORMED, f"JWK {member} must be {expected}", member=member)
    x = jwk.get("x")
    if not isinstance(x, str):
        raise KeyRefused(Reason.REQUEST_MALFORMED, "JWK x must be a string", member="x")
    loaded = _load(x)
    if jwk.get("kid", loaded.kid) != loaded.kid:
        raise KeyRefused(Reason.REQUEST_MALFORMED, "JWK kid is not the key's thumbprint", member="kid")
    return loaded


def from_raw(raw: bytes) -> PublicJwk:
    """The key with these 32 bytes (RFC 8032 section 5.1.5). Raises :class:`KeyRefused`."""
    return _load(b64url_encode(raw))


def thumbprint(x: str) -> str:
    """RFC 7638 thumbprint of the Ed25519 key with this ``x`` (RFC 8037 appendix A.3)."""
    return b64url_encode(hashlib.sha256(b'{"crv":"Ed25519","kty":"OKP","x":"%b"}' % x.encode("ascii")).digest())


_MEMBERS: Final = (("kty", "OKP", True), ("crv", ALGORITHM, True), ("alg", ALGORITHM, False), ("use", "sig", False))


@lru_cache(maxsize=4096)
def _load(x: str) -> PublicJwk:
    try:
        raw = b64url_decode(x)
    except Refused:
        raise KeyRefused(Reason.REQUEST_MALFORMED, "JWK x is not canonical base64url", member="x") from None
    if len(raw) != 32:
        raise KeyRefused(Reason.REQUEST_MALFORMED, "JWK x is not 32 bytes", member="x")
    _check_point(raw)
    return PublicJwk(thumbprint(x), x, raw, Ed25519PublicKey.from_public_bytes(raw))


def _check_point(raw: bytes) -> None:
    """Refuse what is no point, is spelled non-canonically (RFC 8032 section 5.1.3), or has small order."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _P:
        raise KeyRefused(Reason.REQUEST_MALFORMED, "JWK x is a non-canonical point", member="x")
    if y in _SMALL_ORDER:
        raise KeyRefused(Reason.REQUEST_MALFORMED, "JWK x is a point of small order", member="x")
    y2 = y * y % _P
    # x^2 = (y^2 - 1) / (d y^2 + 1); a quotient is a square exactly where the product is (Euler's criterion).
    if pow((y2 - 1) * (_D * y2 + 1), (_P - 1) // 2, _P) != 1:
        raise KeyRefused(Reason.REQUEST_MALFORMED, "JWK x is not on the curve", member="x")
