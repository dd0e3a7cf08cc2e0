"""Compact JWS with ``alg: Ed25519`` and nothing else (RFC 7515, RFC 9864)."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from handrail.errors import JwsError, MalformedError
from handrail.keys import SigningKey, VerifyKey
from handrail.strict import b64url_decode, b64url_encode, canonical, parse

MEMBERS: Final = frozenset({"alg", "kid", "typ"})
"""Of a header whose key the reader has to know."""
MAX_BYTES: Final = 16_777_216
_HEADER_MAX_BYTES: Final = 512


class Parts(NamedTuple):
    """A token taken apart. Nothing in it is believed but that it has the right form.

    Attributes:
        signed: what the signature is over.
    """

    header: dict[str, Any]
    payload: bytes
    signed: bytes
    signature: bytes


def sign(typ: str, payload: Mapping[str, Any], key: SigningKey) -> str:
    """Sign ``payload`` as RFC 8785 JSON; the header is ``{alg: Ed25519, kid: thumbprint, typ}``."""
    return sign_under({"alg": "Ed25519", "kid": key.kid, "typ": typ}, payload, key)


def sign_under(header: Mapping[str, Any], payload: Mapping[str, Any], key: SigningKey) -> str:
    """Sign ``payload`` as RFC 8785 JSON under a header of its own."""
    signed = f"{b64url_encode(canonical(header))}.{b64url_encode(canonical(payload))}"
    return f"{signed}.{b64url_encode(key.sign(signed.encode('ascii')))}"


def take_apart(token: str, members: frozenset[str], typ: str, max_bytes: int) -> Parts:
    """Take a token apart in its one spelling; its signature is not looked at.

    Args:
        members: exactly those of the header. So ``jku``, ``x5u``, ``crit`` and anything new is refused, and a key is
            never taken from a message that should not bring one.
        typ: the class that is expected here.

    Raises:
        JwsError: saying which of shape, header, algorithm or class is wrong.
    """
    segments = token.split(".", 3)
    if len(token) > max_bytes or not token.isascii() or len(segments) != 3:
        raise JwsError("verify.malformed", "not a compact JWS")
    head, body, tail = segments
    if len(head) > _HEADER_MAX_BYTES:
        raise JwsError("verify.malformed", "the header is too long")
    header = _decoded(head, members, typ)
    try:
        payload, signature = b64url_decode(body), b64url_decode(tail)
    except MalformedError as exc:
        raise JwsError("verify.malformed", str(exc)) from None
    if not payload or len(signature) != 64:
        raise JwsError("verify.malformed", "no payload, or a signature of another length")
    return Parts(header, payload, f"{head}.{body}".encode("ascii"), signature)


def kid_of(token: str) -> str:
    """The ``kid`` of a token that :func:`verify` has accepted."""
    return str(parse(b64url_decode(token.partition(".")[0]))["kid"])


def verify(token: str, typ: str, keys: Mapping[str, VerifyKey]) -> dict[str, Any]:
    """The claims of a compact JWS signed by one of ``keys`` (by ``kid``).

    Raises:
        MalformedError: saying which of shape, header, key, signature or payload is wrong.
    """
    parts = take_apart(token, MEMBERS, typ, MAX_BYTES)
    kid = parts.header["kid"]
    key = keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise MalformedError("signed by a key that is not trusted for this")
    key.verify(parts.signature, parts.signed)
    claims = parse(parts.payload)
    if not isinstance(claims, dict):
        raise MalformedError("the payload is not a JSON object")
    return claims


def _decoded(head: str, members: frozenset[str], typ: str) -> dict[str, Any]:
    try:
        header = parse(b64url_decode(head))
    except MalformedError as exc:
        raise JwsError("verify.malformed", str(exc)) from None
    if not isinstance(header, dict):
        raise JwsError("verify.malformed", "the header is not an object")
    if header.get("alg") != "Ed25519":
        raise JwsError("verify.algorithm", "the algorithm is not Ed25519")
    if not header.keys() <= members:
        raise JwsError("verify.header", f"members beside {', '.join(sorted(members))}")
    if header.get("typ") != typ:
        raise JwsError("verify.type", f"the typ is not {typ}")
    if header.keys() != members:
        raise JwsError("verify.header", f"not all of {', '.join(sorted(members))}")
    return header
