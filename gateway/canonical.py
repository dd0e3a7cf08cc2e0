"""Strict JSON in, RFC 8785 canonical JSON out, and strict base64url.

Two readers must never see two different messages in the same bytes, so everything ambiguous is refused here:
duplicate member names, NaN and infinities, integers beyond 2^53, lone surrogates, invalid UTF-8, a byte order mark,
non-canonical base64url. No I/O, no clock.
"""

import base64
import binascii
import hashlib
import json
import math
from typing import Any, Final

import orjson
import rfc8785

from gateway.errors import Refused
from gateway.reasons import Reason

MAX_SAFE_INTEGER: Final = 2**53
"""RFC 7493 section 2.2: integers beyond this are not the same number in every reader."""
MAX_DEPTH: Final = 64
"""Nesting levels accepted in a message."""


def parse(raw: bytes) -> Any:
    """Parse one strict JSON text.

    Raises:
        Refused: ``schema.json`` for anything that two parsers could read differently (RFC 8259 section 4, RFC 7493).
    """
    try:
        text = raw.decode("utf-8", errors="strict")
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as exc:
        raise Refused(Reason.SCHEMA_JSON, type(exc).__name__) from None
    _check(value, 0)
    return value


def canonical(value: Any) -> bytes:
    """RFC 8785 canonical bytes of a JSON value.

    Raises:
        Refused: ``schema.json`` where the value has no canonical form (NaN, integers beyond 2^53, lone surrogates).
    """
    if _plain(value):
        # With ASCII member names and no floats, sorted compact JSON *is* the canonical form, and orjson writes it
        # some forty times faster. A test compares both over generated values.
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as exc:
        raise Refused(Reason.SCHEMA_JSON, type(exc).__name__) from None


def sha256_canonical(value: Any) -> str:
    """Hex SHA-256 over :func:`canonical`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def b64url_encode(raw: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Decode base64url without padding, refusing every non-canonical spelling of the same bytes.

    Raises:
        Refused: ``verify.malformed`` for padding, foreign characters or non-zero trailing bits.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Refused(Reason.VERIFY_MALFORMED, "base64url") from None
    if b64url_encode(raw) != text:
        raise Refused(Reason.VERIFY_MALFORMED, "base64url is not canonical")
    return raw


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _integer(digits: str) -> int:
    if len(digits) > 17:
        raise ValueError("integer beyond 2^53")
    number = int(digits)
    if not -MAX_SAFE_INTEGER <= number <= MAX_SAFE_INTEGER:
        raise ValueError("integer beyond 2^53")
    return number


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("number out of range")
    return number


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_number, parse_constant=_constant
)


def _check(value: Any, depth: int) -> None:
    """Refuse lone surrogates and excessive depth, which the decoder lets through."""
    if depth > MAX_DEPTH:
        raise Refused(Reason.SCHEMA_JSON, "too deep")
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise Refused(Reason.SCHEMA_JSON, "lone surrogate") from None
    elif isinstance(value, dict):
        for name, member in value.items():
            _check(name, depth)
            _check(member, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)


def _plain(value: Any) -> bool:
    """Whether orjson's sorted output is canonical for ``value``: no floats, ASCII names, safe integers."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii())
    if kind is dict:
        return all(type(name) is str and name.isascii() and _plain(member) for name, member in value.items())
    if kind is list:
        return all(_plain(item) for item in value)
    if kind is int:
        return bool(-MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER)
    return kind is bool or value is None
