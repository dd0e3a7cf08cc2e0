"""Strict reading of request bodies, query strings and path segments. Whatever is ambiguous is refused."""

import re
from collections.abc import Callable, Mapping
from enum import EnumType
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import pydantic
from pydantic import BaseModel
from starlette.requests import Request

from gateway.canonical import parse
from gateway.errors import Malformed, Refused
from gateway.expected import REQUIRED, UNKNOWN, expected
from gateway.pointers import pointer
from gateway.reasons import Reason
from gateway.times import EXPECTED_OR_DATE, format_time, parse_time_or_date
from gateway.web.times import NotATime

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
JOSE: Final = "application/jose"
"""RFC 7515 section 9.2.1: a JWS in compact serialisation."""

_CODING: Final = b"content-encoding"
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._:@-]{1,256}")
_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_INDEX_MAX: Final = 10**15 - 1
_PARAMETERS_MAX: Final = 32
_LOCATION_STEPS_MAX: Final = 8

ModelT = TypeVar("ModelT", bound=BaseModel)


def require_no_coding(request: Request) -> None:
    """Refuse a body that its sender compressed, or says so of: nobody here decodes one (RFC 9110 section 8.4)."""
    codings = [value.decode("latin-1").strip().lower() for name, value in request.scope["headers"] if name == _CODING]
    if any(coding not in {"identity", ""} for coding in codings):
        raise Refused(Reason.REQUEST_MEDIA_TYPE, "a coded body", expected="a body without content-encoding")


def media_type(request: Request) -> str:
    """The request's content type without parameters, in lower case.

    Raises:
        Refused: ``request.media_type`` where the header is missing or repeated, or the body is coded.
    """
    require_no_coding(request)
    values = [value for name, value in request.scope["headers"] if name == b"content-type"]
    if len(values) != 1:
        raise Refused(Reason.REQUEST_MEDIA_TYPE, "content-type missing or repeated")
    kind: str = values[0].decode("latin-1").partition(";")[0].strip().lower()
    return kind


def require_media_type(request: Request, expected: str) -> None:
    """Refuse any other content type; parameters are tolerated."""
    if media_type(request) != expected:
        raise Refused(Reason.REQUEST_MEDIA_TYPE, expected=expected)


async def json_body(request: Request, model: type[ModelT]) -> ModelT:
    """The request's JSON body as a ``model`` that knows all of its members.

    Raises:
        Refused: ``request.media_type``, ``schema.json`` for anything but strict JSON, ``request.malformed`` with a
            JSON pointer where the members are not the model's.
    """
    require_media_type(request, JSON)
    return parsed(await request.body(), model)


def parsed(body: bytes, model: type[ModelT]) -> ModelT:
    """Bytes of strict JSON as a ``model``; see :func:`json_body`."""
    return validated(parse(body), model)


def form(request: Request, body: bytes) -> dict[str, str]:
    """The parameters of an OAuth request (RFC 6749 section 3.2): none may stand twice, and unknown ones are ignored.

    Raises:
        Refused: ``request.media_type``; ``request.malformed`` naming a parameter that stands twice, or none.
    """
    require_media_type(request, FORM)
    pairs = _pairs(body) if body else []
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            shown = name if _NAME.fullmatch(name) else ""
            raise Malformed("repeated", parameter=shown, problem="repeated", expected="one of it")
        found[name] = value
    return found


def validated(value: Any, model: type[ModelT]) -> ModelT:
    """``value`` as a ``model``; see :func:`json_body`."""
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as exc:
        problem = exc.errors(include_url=False, include_input=False)[0]
        location = problem["loc"]
        if problem["type"] == UNKNOWN and _NAME.fullmatch(str(location[-1])) is None:
            # The last part is the caller's own text: it is repeated only where it looks like a name.
            location = location[:-1]
        raise Malformed(
            model.__name__,
            pointer=pointer(location[:_LOCATION_STEPS_MAX]),
            problem=problem["type"],
            expected=_expected(problem),
        ) from None


def _expected(problem: Mapping[str, Any]) -> str:
    """What should have stood there. Only what is made of the model alone is passed on."""
    error = problem.get("ctx", {}).get("error")
    if isinstance(error, NotATime):
        return str(error)
    if problem["type"] == REQUIRED:
        return "a value: this member is required"
    if problem["type"] == UNKNOWN:
        return "nothing: there is no such member"
    return expected(problem, "an object") or "another value"


def query(request: Request, *allowed: str) -> dict[str, str]:
    """The query parameters, each at most once and each one of ``allowed``.

    Raises:
        Refused: ``request.malformed`` naming the parameter where it is unknown or repeated; the empty name stands for a
            query that cannot be taken apart.
    """
    raw: bytes = request.scope["query_string"]
    if not raw:
        return {}
    name, _, value = raw.partition(b"=")
    plain = name.isalpha() and value.isdigit()  # ?wait=5, the one query of the hot path
    pairs = [(name.decode("ascii"), value.decode("ascii"))] if plain else _pairs(raw)
    values = dict(pairs)
    known = ", ".join(allowed) or "no parameter"
    for given in values:
        if given not in allowed:
            shown = given if _NAME.fullmatch(given) else ""
            raise Malformed("unknown", parameter=shown, problem="unknown", expected=known)
    if len(values) != len(pairs):
        names = [given for given, _ in pairs]
        repeated = next(given for given in names if names.count(given) > 1)
        raise Malformed("repeated", parameter=repeated, problem="repeated", expected="one of it")
    return values


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_PARAMETERS_MAX,
        )
    except ValueError:
        raise _unreadable("name=value pairs in percent-encoded UTF-8") from None
    if not all(value.isprintable() for _, value in pairs):
        raise _unreadable("printable characters")
    return pairs


def _unreadable(expected: str) -> Malformed:
    return Malformed("query string", parameter="", problem="unreadable", expected=expected)


def integer(text: str, parameter: str, *, minimum: int, maximum: int) -> int:
    """A decimal integer of a query parameter.

    Raises:
        Refused: ``request.malformed`` naming the parameter and its bounds.
    """
    if _DIGITS.fullmatch(text) is None or not minimum <= int(text) <= maximum:
        expected = f"a whole number from {minimum} to {maximum}"
        raise Malformed("integer", parameter=parameter, minimum=minimum, maximum=maximum, expected=expected)
    return int(text)


def one_of(text: str | None, parameter: str, convert: Callable[[str], Any], expected: str = "another value") -> Any:
    """A query parameter from a closed set, or ``None`` where it is absent.

    Args:
        expected: what it should have been; an enumeration says so itself.

    Raises:
        Refused: ``request.malformed`` naming the parameter.
    """
    if text is None:
        return None
    try:
        return convert(text)
    except (ValueError, KeyError):
        if isinstance(convert, EnumType):
            expected = "one of: " + ", ".join(map(str, convert.__members__.values()))
        raise Malformed("no such value", parameter=parameter, expected=expected) from None


# --- pages: every list takes the same two parameters -----------------------------------------------------------------


def limit_of(asked: Mapping[str, str], *, default: int, maximum: int) -> int:
    """How many of them go on one page (``limit``)."""
    return integer(asked.get("limit", str(default)), "limit", minimum=1, maximum=maximum)


def after_id(asked: Mapping[str, str]) -> str | None:
    """The id behind which a page begins (``after``); ``None`` for the first page."""
    found: str | None = one_of(asked.get("after"), "after", _row_id, "next of the page before")
    return found


def after_index(asked: Mapping[str, str]) -> int | None:
    """The log index behind which a page begins (``after``); ``None`` for the first page."""
    return integer(asked["after"], "after", minimum=0, maximum=_INDEX_MAX) if "after" in asked else None


def moment_of(asked: Mapping[str, str], name: str) -> float | None:
    """A date (its beginning, UTC) or a time with its zone (RFC 3339), in seconds since the epoch; ``None`` where it is
    absent.
    """
    found: float | None = one_of(asked.get(name), name, parse_time_or_date, EXPECTED_OR_DATE)
    return found


def time_of(asked: Mapping[str, str], name: str) -> str | None:
    """The same as entries write times."""
    return format_time(moment_of(asked, name))


def _row_id(text: str) -> str:
    if _ID.fullmatch(text) is None:
        raise ValueError(text)
    return text


def segment(request: Request, name: str) -> str:
    """A path parameter. What no id of ours can look like names nothing: ``request.not_found``."""
    value: str = request.path_params[name]
    if _SEGMENT.fullmatch(value) is None:
        raise Refused(Reason.REQUEST_NOT_FOUND, name)
    return value
