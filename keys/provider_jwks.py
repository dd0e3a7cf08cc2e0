"""The keys that another issuer publishes (RFC 7517), less those that cannot have signed what is asked about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from gateway.canonical import b64url_decode, parse
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.reasons import Reason
from keys import jwk

KEYS_MAX: Final = 64
KID_MAX: Final = 256
RSA_MIN_BITS: Final = 2048
"""RFC 7518 section 3.3."""
RSA_MAX_BITS: Final = 8192
"""Beyond this a signature costs whoever verifies it more than whoever sends it."""

_FORMS: Final[Mapping[str, tuple[str, str | None]]] = {
    **{f"{family}{size}": ("RSA", None) for family in ("RS", "PS") for size in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""Algorithm -> ``kty`` and ``crv`` of its keys. Symmetric ones are not among them: an issuer's public key must never be
taken for a shared secret."""


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A public key that an issuer published, usable with the algorithm it was read for."""

    kid: str
    key: RSAKey | ECKey | OKPKey


def read_jwks(raw: bytes, algorithm: str) -> dict[str, ProviderKey]:
    """The keys of a JWKS by ``kid`` that sign with ``algorithm``; others, such as for encryption, are left out.

    Raises:
        Unavailable: ``auth.unavailable``: not a JWKS, too many keys, a secret in it, or one ``kid`` for two keys.
    """
    try:
        document = parse(raw)
    except Refused:
        raise _unusable("not strict JSON") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise _unusable("not a JWKS")
    if len(listed) > KEYS_MAX:
        raise _unusable(f"more than {KEYS_MAX} keys")
    found: dict[str, ProviderKey] = {}
    for item in listed:
        if not jwk.PRIVATE_MEMBERS.isdisjoint(item):
            raise _unusable("it publishes a secret")
        read = _key(item, algorithm)
        if read is None:
            continue
        if read.kid in found:
            raise _unusable("two keys of one kid")
        found[read.kid] = read
    return found


def _key(item: Mapping[str, Any], algorithm: str) -> ProviderKey | None:
    kty, crv = _FORMS[algorithm]
    kid = item.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_MAX or item.get("kty") != kty or item.get("crv") != crv:
        return None
    if item.get("use", "sig") != "sig" or item.get("alg", algorithm) != algorithm:
        return None
    operations = item.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    members = {name: item[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in item}
    try:
        if kty == "RSA" and not RSA_MIN_BITS <= int.from_bytes(b64url_decode(item["n"])).bit_length() <= RSA_MAX_BITS:
            return None
        if kty == "OKP":
            # OpenSSL loads any 32 bytes; with a point of small order a signature made by nobody would hold.
            jwk.public(members)
        key = import_key(members)
    except (HandrailError, JoseError, ValueError, TypeError, KeyError):
        return None
    return ProviderKey(kid, key) if isinstance(key, RSAKey | ECKey | OKPKey) else None


def _unusable(detail: str) -> Unavailable:
    return Unavailable(Reason.AUTH_UNAVAILABLE, f"the issuer's keys: {detail}")
