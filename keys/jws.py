"""Compact JWS (RFC 7515) in Handrail's closed profile: ``alg`` is Ed25519, and there is one way to write a token.

The header is a JSON object of exactly ``alg``, ``kid`` and ``typ``; whatever could bring a key, a curve or a rule of
its own (``jku, jwk, x5u, x5c, crit, b64, zip, cty``) is refused by not being one of the three. base64url is canonical,
so a token has no second spelling that would verify too. No I/O, no clock. Why this and not a library:
``docs/adr/0004-jws-implementation.md``; the tests hold it against joserfc.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from pybase64 import urlsafe_b64encode

from gateway.canonical import b64url_decode, parse
from gateway.errors import Refused
from gateway.ports import Typ
from gateway.reasons import Reason
from keys import jwk
from keys.errors import JwsRefused, KeyRefused

TOKEN_MAX_BYTES: Final[Mapping[Typ, int]] = MappingProxyType(
    {
        Typ.PLAN: 16_777_216,
        Typ.RESULT: 134_217_728,
        Typ.ACCEPT: 65_536,
        Typ.STEP: 65_536,
        Typ.RECEIPT: 65_536,
        Typ.APPROVAL: 65_536,
        Typ.PROPOSAL: 65_536,
        Typ.BUNDLE: 8_388_608,
        Typ.EXPORT: 65_536,
        Typ.HISTORY: 16_777_216,
    }
)
"""Longest token per class. A plan's and a result's own limits are settings, checked by whoever reads the wire."""

HEADER_MAX_BYTES: Final = 512
"""Longest encoded header; our own take 140 to 150."""
SIGNATURE_SEGMENT_BYTES: Final = 86
"""64 bytes (RFC 8032) in base64url without padding."""

KeyFor = Callable[[str], Mapping[str, Any]]
"""kid -> public JWK. Raises ``Refused`` (``verify.unknown_key``, ``verify.revoked_key``) or ``LookupError``."""

_KID: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_MEMBERS: Final = frozenset({"alg", "kid", "typ"})
_TYPES: Final = frozenset(str(typ) for typ in Typ)


@dataclass(frozen=True, slots=True)
class UnverifiedJws:
    """A token taken apart; only :func:`peek` builds one. Nothing in it is believed but that it has the right form."""

    header: Mapping[str, str]
    payload: bytes
    signing_input: bytes
    signature: bytes

    @property
    def kid(self) -> str:
        """The key that the sender claims to have used."""
        return self.header["kid"]


@dataclass(frozen=True, slots=True)
class Verified:
    """A token whose signature holds. ``payload`` is exactly what was signed."""

    header: Mapping[str, str]
    payload: bytes

    @property
    def kid(self) -> str:
        """Thumbprint of the key that signed."""
        return self.header["kid"]


def peek(token: bytes) -> UnverifiedJws:
    """Take a token apart without believing it, to learn whose key must verify it.

    Raises:
        JwsRefused: ``verify.malformed``, ``verify.algorithm``, ``verify.header`` or ``verify.type``.
    """
    segments = token.split(b".", 3)
    if len(segments) != 3:
        raise JwsRefused(Reason.VERIFY_MALFORMED, "not three segments")
    head, body, tail = segments
    if len(head) > HEADER_MAX_BYTES:
        raise JwsRefused(Reason.VERIFY_MALFORMED, "header too long")
    header = _header(head)
    if len(token) > TOKEN_MAX_BYTES[Typ(header["typ"])]:
        raise JwsRefused(Reason.VERIFY_MALFORMED, "token too long")
    if not body:
        raise JwsRefused(Reason.VERIFY_MALFORMED, "empty payload")
    if len(tail) != SIGNATURE_SEGMENT_BYTES:
        # The line end that `echo` puts into a file is not cut off: the bytes verified are the bytes stored.
        facts = {"problem": "trailing_white_space"} if tail[-1:].isspace() else {}
        raise JwsRefused(Reason.VERIFY_MALFORMED, "signature of another length", **facts)
    return UnverifiedJws(header, _decode(body), token[: len(head) + 1 + len(body)], _decode(tail))


def verify(token: bytes | UnverifiedJws, typ: Typ, key_for: KeyFor) -> Verified:
    """Verify one token of one class.

    Args:
        token: as received, or what :func:`peek` made of it (spares the second reading).
        typ: the class that is expected here; any other is refused, however well signed.
        key_for: finds the key; whether that key may sign this now is its business.

    Raises:
        JwsRefused: ``verify.*``; what ``key_for`` raised, where that is a ``Refused``.
    """
    jws = token if isinstance(token, UnverifiedJws) else peek(token)
    if jws.header["typ"] != typ:
        raise JwsRefused(Reason.VERIFY_TYPE, f"{jws.header['typ']} where {typ} belongs")
    kid = jws.header["kid"]
    try:
        found = jwk.public(key_for(kid))
    except LookupError:
        raise JwsRefused(Reason.VERIFY_UNKNOWN_KEY) from None
    except KeyRefused as exc:
        raise JwsRefused(Reason.VERIFY_UNKNOWN_KEY, f"the registered key is unusable: {exc.detail}") from None
    if found.kid != kid:
        raise JwsRefused(Reason.VERIFY_UNKNOWN_KEY, "the registered key has another thumbprint")
    try:
        found.key.verify(jws.signature, jws.signing_input)
    except InvalidSignature:
        raise JwsRefused(Reason.VERIFY_SIGNATURE) from None
    return Verified(jws.header, jws.payload)


def protected(kid: str, typ: Typ) -> bytes:
    """The encoded protected header of a key and class, to be made once and kept."""
    header = b'{"alg":"Ed25519","kid":"%b","typ":"%b"}' % (kid.encode("ascii"), typ.encode("ascii"))
    return urlsafe_b64encode(header).rstrip(b"=")


def sign(signature_of: Callable[[bytes], bytes], header: bytes, payload: bytes) -> str:
    """Compact JWS over ``payload`` under a header made by :func:`protected`."""
    signing_input = header + b"." + urlsafe_b64encode(payload).rstrip(b"=")
    signature = urlsafe_b64encode(signature_of(signing_input))
    return (signing_input + b"." + signature.rstrip(b"=")).decode("ascii")


@lru_cache(maxsize=1024)
def _header(head: bytes) -> Mapping[str, str]:
    """Read a header. A key signs every message of a class under the same bytes, so the answer is kept."""
    try:
        header = parse(_decode(head))
    except Refused:
        # RFC 7515 section 4: member names are unique, so a duplicate makes it no JWS at all.
        raise JwsRefused(Reason.VERIFY_MALFORMED, "header is not strict JSON") from None
    if not isinstance(header, dict):
        raise JwsRefused(Reason.VERIFY_MALFORMED, "header is not an object")
    if header.get("alg") != jwk.ALGORITHM:
        raise JwsRefused(Reason.VERIFY_ALGORITHM)
    if not header.keys() <= _MEMBERS:
        raise JwsRefused(Reason.VERIFY_HEADER, "a member beside alg, kid and typ")
    typ = header.get("typ")
    if not isinstance(typ, str) or typ not in _TYPES:
        raise JwsRefused(Reason.VERIFY_TYPE, "no typ of ours")
    kid = header.get("kid")
    if not isinstance(kid, str) or _KID.fullmatch(kid) is None:
        raise JwsRefused(Reason.VERIFY_HEADER, "kid is not a thumbprint")
    return MappingProxyType(header)


def _decode(segment: bytes) -> bytes:
    try:
        return b64url_decode(segment.decode("ascii"))
    except (UnicodeDecodeError, Refused):
        raise JwsRefused(Reason.VERIFY_MALFORMED, "a segment is not canonical base64url") from None
