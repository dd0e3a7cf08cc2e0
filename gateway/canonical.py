"""Strict JSON in, RFC 8785 canonical JSON out, and strict base64url.

Two readers must never see two different messages in the same bytes, so everything ambiguous is refused here:
duplicate member names, NaN and infinities, integers beyond 2^53, lone surrogates, invalid UTF-8, a byte order mark,
non-canonical base64url. No I/O, no clock.
"""

import hashlib
import json
import math
import re
from collections import Counter
from typing import Any, Final

import orjson
import pybase64
import rfc8785

from gateway.errors import Refused
from gateway.reasons import Reason

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""RFC 7493 section 2.2: integers beyond this are not the same number in every reader. The same number written with a
point or an exponent is refused too: RFC 8785 would write it as such an integer."""
_EXPONENT_FROM: Final = 1e21
"""From here on RFC 8785 (ECMAScript) writes numbers with an exponent, and they read back as what they are."""
_DECIMALS_FROM: Final = 1e-5
_DECIMALS_BELOW: Final = 1e16
"""Between these orjson writes a fraction as RFC 8785 does: the shortest decimals that read back as it."""
_ONE_UNIT: Final = "\uffff"
"""RFC 8785 sorts names by UTF-16 units, orjson by code points: the same up to here, where a unit is a code point."""
MAX_DEPTH: Final = 64
"""Nesting levels accepted in a message."""


_DEPTH: Final = f"at most {MAX_DEPTH} levels"
_SAFE: Final = "numbers that every reader keeps: integers below 2^53"
_MEMBER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""What may be repeated to whoever wrote it."""


class Written:
    """A part of a value that is in its canonical form already: :func:`canonical` of the whole takes it over as it is.

    Args:
        raw: from :func:`canonical`.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


def parse(raw: bytes) -> Any:
    """Parse one strict JSON text.

    Raises:
        Refused: ``schema.json`` for anything that two parsers could read differently (RFC 8259 section 4, RFC 7493),
            with what was ``expected``, and the ``line`` and ``column`` where it ceases to be JSON, or the ``member``
            that stands twice, where that looks like a name.
    """
    value = _read_compact(raw)
    if value is None:
        try:
            value = _DECODER.decode(raw.decode("utf-8", errors="strict"))
        except UnicodeDecodeError as exc:
            before = raw[: exc.start].decode()
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            raise _not_strict("UTF-8", line=line, column=column) from None
        except json.JSONDecodeError as exc:
            raise _not_strict("JSON (RFC 8259)", line=exc.lineno, column=exc.colno) from None
        except RecursionError:
            raise _not_strict(_DEPTH) from None
        if b"\\u" in raw:
            # Strict UTF-8 has no surrogates, so that only an escape can bring in a lone one.
            _check_strings(value)
    _check_depth(value)
    return value


def canonical(value: Any) -> bytes:
    """RFC 8785 canonical bytes of a JSON value, of which parts may be :class:`Written`.

    Raises:
        Refused: ``schema.json`` where the value has no canonical form (NaN, integers beyond 2^53, lone surrogates).
    """
    try:
        plain = _plain(value)
        if not plain:
            value = _without_points(value)
            plain = _plain(value)
        if plain:
            # With ordinary names and numbers, sorted compact JSON *is* the canonical form, and orjson
            # writes it some forty times faster. A test compares both over generated values.
            return orjson.dumps(value, default=_taken_over, option=orjson.OPT_SORT_KEYS)
        _check_numbers(value)
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, orjson.JSONEncodeError, UnicodeEncodeError, RecursionError) as exc:
        raise Refused(Reason.SCHEMA_JSON, type(exc).__name__) from None


def sha256_canonical(value: Any) -> str:
    """Hex SHA-256 over :func:`canonical`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def b64url_encode(raw: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return pybase64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Decode base64url without padding, refusing every non-canonical spelling of the same bytes.

    Raises:
        Refused: ``verify.malformed`` for padding, foreign characters or non-zero trailing bits.
    """
    try:
        if "+" in text or "/" in text:
            raise ValueError("of the other alphabet")
        raw = pybase64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise Refused(Reason.VERIFY_MALFORMED, "base64url") from None
    if b64url_encode(raw) != text:
        raise Refused(Reason.VERIFY_MALFORMED, "base64url is not canonical")
    return raw


def _not_strict(expected: str, **place: str | int) -> Refused:
    return Refused(Reason.SCHEMA_JSON, expected, expected=expected, **place)


def _read_compact(raw: bytes) -> Any:
    """The value of a text that is just how orjson writes it: what most programs send, and every plan that was signed
    here. Such a text has one reading, for a name that is there twice, or a number that is not kept, is written
    otherwise. ``None`` for any other text."""
    try:
        value = orjson.loads(raw)
        if orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER) == raw and not _has_unsafe(value):
            return value
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None  # also for what is no JSON at all: the other reader says what is wrong with it
    return None


def _has_unsafe(value: Any) -> bool:
    """Whether a number of it is one that :func:`_number` refuses."""
    waiting = [value]
    for item in waiting:
        kind = type(item)
        if kind is dict:
            waiting.extend(item.values())
        elif kind is list:
            waiting.extend(item)
        elif kind is float and _unsafe(item):
            return True
    return False


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        named = {"member": twice} if _MEMBER.fullmatch(twice) else {}
        raise _not_strict("each member of an object once", **named)
    return members


def _integer(digits: str) -> int:
    if len(digits) > 17:
        raise _not_strict(_SAFE)
    number = int(digits)
    if not -MAX_SAFE_INTEGER <= number <= MAX_SAFE_INTEGER:
        raise _not_strict(_SAFE)
    return number


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number) or _unsafe(number):
        raise _not_strict(_SAFE)
    return number


def _unsafe(number: float) -> bool:
    return abs(number) > MAX_SAFE_INTEGER and abs(number) < _EXPONENT_FROM


def _constant(_name: str) -> Any:
    raise _not_strict("JSON (RFC 8259), which has no NaN and no Infinity")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_number, parse_constant=_constant
)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                below.extend(item.values())
            elif type(item) is list:
                below.extend(item)
        if not below:
            return
        level = below
    raise _not_strict(_DEPTH)


def _check_strings(value: Any) -> None:
    waiting = [value]
    for item in waiting:
        if type(item) is dict:
            waiting.extend(item)
            waiting.extend(item.values())
        elif type(item) is list:
            waiting.extend(item)
        elif type(item) is str:
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise _not_strict("whole characters: half of a surrogate pair is none") from None


def _check_numbers(value: Any) -> None:
    waiting = [value]
    for item in waiting:
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, float) and _unsafe(item):
            raise _not_strict(_SAFE)


def _taken_over(value: Any) -> orjson.Fragment:
    if type(value) is Written:
        return orjson.Fragment(value.raw)
    raise TypeError(type(value).__name__)


def _without_points(value: Any) -> Any:
    """A copy in which ``10.0`` is the integer that it is: RFC 8785 writes both as ``10``. Nothing of it is
    :class:`Written`: only orjson takes that."""
    kind = type(value)
    if kind is dict:
        return {name: _without_points(member) for name, member in value.items()}
    if kind is list:
        return [_without_points(item) for item in value]
    if kind is float and value.is_integer() and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return int(value)
    return parse(value.raw) if kind is Written else value


def _plain(value: Any) -> bool:
    """Whether orjson's sorted output is canonical for ``value``: safe integers, no floats but fractions of a size that
    both write in decimals, and names that both put in one order."""
    waiting = [value]
    for item in waiting:
        kind = type(item)
        if kind is dict:
            if not all(map(str.isascii, item)) and any(max(name, default="") > _ONE_UNIT for name in item):
                return False
            waiting.extend(item.values())
        elif kind is list:
            waiting.extend(item)
        elif kind is int:
            if not -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER:
                return False
        elif kind is float:
            if item.is_integer() or not _DECIMALS_FROM <= abs(item) < _DECIMALS_BELOW:
                return False
        elif kind is not str and kind is not bool and item is not None and kind is not Written:
            return False
    return True
