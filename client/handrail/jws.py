"""Compact JWS with ``alg: Ed25519`` and nothing else (RFC 7515, RFC 9864)."""

from collections.abc import Mapping
from typing import Any, Final

from handrail.errors import MalformedError
from handrail.keys import SigningKey, VerifyKey
from handrail.strict import b64url_decode, b64url_encode, canonical, parse

_HEADER: Final = frozenset({"alg", "kid", "typ"})
MAX_BYTES: Final = 16_777_216


def sign(typ: str, payload: Mapping[str, Any], key: SigningKey) -> str:
    """Sign ``payload`` as RFC 8785 JSON; the header is ``{alg: Ed25519, kid: thumbprint, typ}``."""
    header = canonical({"alg": "Ed25519", "kid": key.kid, "typ": typ})
    signed = f"{b64url_encode(header)}.{b64url_encode(canonical(payload))}"
    return f"{signed}.{b64url_encode(key.sign(signed.encode('ascii')))}"


def kid_of(token: str) -> str:
    """The ``kid`` of a token that :func:`verify` has accepted."""
    return str(parse(b64url_decode(token.partition(".")[0]))["kid"])


def verify(token: str, typ: str, keys: Mapping[str, VerifyKey]) -> dict[str, Any]:
    """The claims of a compact JWS signed by one of ``keys`` (by ``kid``).

    The header must be exactly ``alg``, ``kid`` and ``typ``: so ``jku``, ``jwk``, ``x5u``, ``crit`` and anything new is
    refused, and the key is never taken from the message.

    Raises:
        MalformedError: saying which of shape, header, key, signature or payload is wrong.
    """
    if len(token) > MAX_BYTES or not token.isascii() or token.count(".") != 2:
        raise MalformedError("not a compact JWS")
    head, body, tail = token.split(".")
    header = parse(b64url_decode(head))
    if not isinstance(header, dict) or set(header) != _HEADER:
        raise MalformedError("the header's members are not exactly alg, kid and typ")
    if header["alg"] != "Ed25519":
        raise MalformedError("the algorithm is not Ed25519")
    if header["typ"] != typ:
        raise MalformedError(f"the typ is not {typ}")
    kid = header["kid"]
    key = keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise MalformedError("signed by a key that is not trusted for this")
    key.verify(b64url_decode(tail), f"{head}.{body}".encode("ascii"))
    claims = parse(b64url_decode(body))
    if not isinstance(claims, dict):
        raise MalformedError("the payload is not a JSON object")
    return claims
