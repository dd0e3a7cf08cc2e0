"""Strict reading of request bodies, query strings and path segments. Whatever is ambiguous is refused."""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import pydantic
from pydantic import BaseModel
from starlette.requests import Request

from gateway.canonical import parse
from gateway.errors import Refused
from gateway.reasons import Reason

JSON: Final = "application/json"
JOSE: Final = "application/jose"
"""RFC 7515 section 9.2.1: a JWS in compact serialisation."""

_SEGMENT: Final = re.compile(r"[A-Za-z0-9._:@-]{1,256}")
_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_LOCATION_STEPS_MAX: Final = 8

ModelT = TypeVar("ModelT", bound=BaseModel)


def media_type(request: Request) -> str:
    """The request's content type without parameters, in lower case.

    Raises:
        Refused: ``request.media_type`` where the header is missing or repeated.
    """
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
    return validated(parse(await request.body()), model)


def validated(value: Any, model: type[ModelT]) -> ModelT:
    """``value`` as a ``model``; see :func:`json_body`."""
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as exc:
        problem = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        location = problem["loc"]
        if problem["type"] == "extra_forbidden":
            # The last part is the caller's own text; what a client may see is where it stood.
            location = location[:-1]
        pointer = "".join(f"/{part}" for part in location[:_LOCATION_STEPS_MAX])
        raise Refused(Reason.REQUEST_MALFORMED, model.__name__, pointer=pointer, problem=problem["type"]) from None


def query(request: Request, *allowed: str) -> dict[str, str]:
    """The query parameters, each at most once and each one of ``allowed``.

    Raises:
        Refused: ``request.malformed`` for unknown, repeated or undecodable parameters.
    """
    raw: bytes = request.scope["query_string"]
    if not raw:
        return {}
    name, _, value = raw.partition(b"=")
    plain = name.isalpha() and value.isdigit()  # ?wait=5, the one query of the hot path
    pairs = [(name.decode("ascii"), value.decode("ascii"))] if plain else _pairs(raw)
    values = dict(pairs)
    if len(values) != len(pairs) or not values.keys() <= set(allowed):
        raise Refused(Reason.REQUEST_MALFORMED, "query parameters")
    return values


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=32
        )
    except ValueError:
        raise Refused(Reason.REQUEST_MALFORMED, "query string") from None
    if not all(value.isprintable() for _, value in pairs):
        raise Refused(Reason.REQUEST_MALFORMED, "control characters in the query string")
    return pairs


def integer(text: str, parameter: str, *, minimum: int, maximum: int) -> int:
    """A decimal integer of a query parameter.

    Raises:
        Refused: ``request.malformed`` naming the parameter and its bounds.
    """
    if _DIGITS.fullmatch(text) is None or not minimum <= int(text) <= maximum:
        raise Refused(Reason.REQUEST_MALFORMED, parameter=parameter, minimum=minimum, maximum=maximum)
    return int(text)


def one_of(text: str | None, parameter: str, convert: Callable[[str], Any]) -> Any:
    """A query parameter from a closed set, or ``None`` where it is absent.

    Raises:
        Refused: ``request.malformed`` naming the parameter.
    """
    if text is None:
        return None
    try:
        return convert(text)
    except ValueError:
        raise Refused(Reason.REQUEST_MALFORMED, parameter=parameter) from None


def segment(request: Request, name: str) -> str:
    """A path parameter. What no id of ours can look like names nothing: ``request.not_found``."""
    value: str = request.path_params[name]
    if _SEGMENT.fullmatch(value) is None:
        raise Refused(Reason.REQUEST_NOT_FOUND, name)
    return value
