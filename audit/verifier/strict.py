"""One reading of the same bytes, or none: strict JSON (RFC 8259, RFC 7493) and strict base64.

What is hashed is always the bytes as they stand; nothing here writes a canonical form of what it read, but for objects
and lists of texts, where sorted compact JSON is RFC 8785's form.
"""

import base64
import binascii
import json
from typing import Any, Final

from .errors import EvidenceError

SAFE_INTEGER: Final = 2**53 - 1
DEPTH_MAX: Final = 64


def parse(raw: bytes, what: str) -> Any:
    """A JSON value.

    Args:
        what: names it in the error.

    Raises:
        EvidenceError: not UTF-8, not JSON, too deep, a member twice, a number that readers take differently, or a lone
            surrogate.
    """
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except RecursionError:
        raise EvidenceError(f"{what}: JSON that is nested too deep") from None
    except ValueError as exc:
        why = str(exc) if type(exc) is _Strict else "not JSON in UTF-8"
        raise EvidenceError(f"{what}: {why}") from None
    _check(value, what)
    return value


def document(raw: bytes, what: str, members: dict[str, type]) -> dict[str, Any]:
    """A JSON object that has at least ``members``, each of exactly that type (a bool is no integer).

    Raises:
        EvidenceError: it is none.
    """
    value = parse(raw, what)
    if type(value) is not dict:
        raise EvidenceError(f"{what}: not a JSON object")
    require(value, what, members)
    return value


def require(value: dict[str, Any], what: str, members: dict[str, type]) -> None:
    """See :func:`document`."""
    for name, kind in members.items():
        if type(value.get(name)) is not kind:
            raise EvidenceError(f"{what}: member {name!r} is missing or of another type")


def canonical_texts(value: Any) -> bytes:
    """RFC 8785 form of texts, lists of texts and objects of texts with ASCII names."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def base64_bytes(text: str, what: str) -> bytes:
    """Padded standard base64 in its one spelling. Raises ``EvidenceError``."""
    return _base64(text, b"+/", what)


def base64url_bytes(text: str, what: str) -> bytes:
    """base64url without padding (RFC 7515) in its one spelling. Raises ``EvidenceError``."""
    if "=" in text:
        raise EvidenceError(f"{what}: not the one spelling of its base64")
    return _base64(text + "=" * (-len(text) % 4), b"-_", what)


def _base64(padded: str, alphabet: bytes, what: str) -> bytes:
    try:
        raw = base64.b64decode(padded, altchars=alphabet, validate=True)
    except (binascii.Error, ValueError):
        raise EvidenceError(f"{what}: not base64") from None
    if base64.b64encode(raw, altchars=alphabet).decode("ascii") != padded:
        raise EvidenceError(f"{what}: not the one spelling of its base64")
    return raw


class _Strict(ValueError):
    """What our own hooks say."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Strict("JSON with a member twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > SAFE_INTEGER:
        raise _Strict("JSON with an integer beyond 2^53")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if number in {float("inf"), float("-inf")}:
        raise _Strict("JSON with a number that is out of range")
    return number


def _constant(_name: str) -> Any:
    raise _Strict("JSON with a constant that is none of JSON's")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_number, parse_constant=_constant
)


def _check(value: Any, what: str) -> None:
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                below.extend(item)
                below.extend(item.values())
            elif type(item) is list:
                below.extend(item)
            elif type(item) is str and not item.isascii():
                _whole(item, what)
        if not below:
            return
        level = below
    raise EvidenceError(f"{what}: JSON that is nested too deep")


def _whole(text: str, what: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise EvidenceError(f"{what}: JSON with half a character (a lone surrogate)") from None
