"""The signed history of a gateway's keys: every key that ever was, when it signed, and where the log says so."""

from collections.abc import Mapping
from typing import Any, Final

from handrail import jws
from handrail.errors import MalformedError
from handrail.keys import VerifyKey
from handrail.trust import Trust

_SECOND: Final = "checkpoint-pq"
"""Purpose of the keys that sign by ML-DSA-44; nothing but the log's second signature is read with those."""
_MEMBERS: Final[Mapping[str, type]] = {"v": int, "iss": str, "iat": int, "keys": list}
_KEY: Final[Mapping[str, type]] = {"kid": str, "purpose": str, "state": str, "entries": list}


def read_history(token: str, trust: Trust) -> dict[str, Any]:
    """The claims ``{v, iss, iat, keys}`` of a ``history+jws`` that a key of the trust document signed.

    Each key is a JWK with ``{purpose, state, created_at, not_before?, not_after?, entries, ...}``: outside of
    ``not_before`` to ``not_after`` it signed nothing of the gateway's, and ``entries`` are ``[index, type, state]`` of
    the log's entries about it. That those are in the log is for a proof of each, or an evidence bundle, to show.

    Raises:
        MalformedError: it does not hold.
    """
    claims = jws.verify(token, "history+jws", trust.receipt_keys)
    _members(claims, _MEMBERS, "the history")
    if claims["v"] != 1 or claims["iss"] != trust.origin:
        raise MalformedError("not a history of version 1 of this gateway")
    seen: set[str] = set()
    for key in claims["keys"]:
        if not isinstance(key, dict):
            raise MalformedError("a key of the history is no object")
        _members(key, _KEY, "a key of the history")
        if key["purpose"] != _SECOND:
            VerifyKey.from_jwk(key)
        if key["kid"] in seen:
            raise MalformedError("a key stands in the history twice")
        seen.add(key["kid"])
    return claims


def _members(document: Mapping[str, Any], types: Mapping[str, type], what: str) -> None:
    for name, kind in types.items():
        if type(document.get(name)) is not kind:
            raise MalformedError(f"member {name} of {what} is missing, or of a wrong type")
