"""Strict JSON, RFC 8785 canonical JSON and strict base64: one reading of the same bytes, or none.

The gateway has its own reader. This one is separate on purpose: a verifier that shared code with what it verifies
would share its mistakes (docs/adr/0008).
"""

import base64
import binascii
import hashlib
import json
import math
from typing import Any, Final

import rfc8785

from handrail.errors import MalformedError

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""RFC 7493 section 2.2."""
MAX_DEPTH: Final = 64


def parse(raw: bytes | str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse one JSON text, refusing duplicate members, NaN, integers beyond 2^53, lone surrogates and bad UTF-8.

    Raises:
        MalformedError: where two parsers could read the text differently (RFC 8259 section 4, RFC 7493).
    """
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8", errors="strict")
        value = _DECODER.decode(text)
        text.encode("utf-8", errors="strict")
    except RecursionError:
        raise MalformedError("JSON: nested too deep") from None
    except ValueError as exc:
        # Only our own hooks' words are passed on; the decoder's may quote the input.
        raise MalformedError(f"JSON: {exc.args[0]}" if type(exc) is _StrictError else "not JSON in UTF-8") from None
    _check(value, max_depth)
    return value


def canonical(value: Any) -> bytes:
    """RFC 8785 canonical bytes.

    Raises:
        MalformedError: where the value has no canonical form.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError):
        raise MalformedError("JSON: the value has no canonical form") from None


def sha256_canonical(value: Any) -> str:
    """Hex SHA-256 over :func:`canonical`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def b64url_encode(raw: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Decode unpadded base64url.

    Raises:
        MalformedError: for every spelling but the canonical one.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError("not base64url") from None
    if b64url_encode(raw) != text:
        raise MalformedError("not canonical base64url")
    return raw


def b64_decode(text: str) -> bytes:
    """Decode padded standard base64 (RFC 4648 section 4).

    Raises:
        MalformedError: for every spelling but the canonical one.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError("not base64") from None
    if base64.b64encode(raw).decode("ascii") != text:
        raise MalformedError("not canonical base64")
    return raw


class _StrictError(ValueError):
    """What our own hooks raise."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _StrictError("a member name occurs twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MAX_SAFE_INTEGER:
        raise _StrictError("an integer is beyond 2^53")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _StrictError("a number is out of range")
    return number


def _constant(name: str) -> Any:
    raise _StrictError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_number, parse_constant=_constant
)


def _check(value: Any, levels_left: int) -> None:
    if levels_left < 0:
        raise MalformedError("JSON: nested too deep")
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise MalformedError("JSON: a lone surrogate") from None
    elif isinstance(value, dict):
        for name, member in value.items():
            _check(name, levels_left)
            _check(member, levels_left - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, levels_left - 1)
