"""Arguments as text in paths, queries and headers, in the styles of OpenAPI (3.1.1 section 4.8.12.3).

What two readers could take for two things is refused: a delimiter inside of a value, an empty list (which is no list
at all), ``null``, and a name that two parameters come to.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from gateway.canonical import canonical
from hand_adapters.http.openapi.parameters import Parameter, Style
from hand_adapters.http.template import scalar, segment
from hand_adapters.misfit import misfit

Pair = tuple[str, str]
"""Name and value, both as they are, or percent-encoded: the function says."""
_DELIMITERS: Final = {
    Style.SIMPLE: (",", ","),
    Style.FORM: (",", ","),
    Style.SPACE: (" ", "%20"),
    Style.PIPE: ("|", "%7C"),
}
"""Style -> the delimiter, and how a query has it."""
_FIELD: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
"""A field value (RFC 9110 section 5.5), ASCII alone."""


def in_path(parameter: Parameter, value: Any) -> str:
    """A value as one percent-encoded path segment, or the part of one that it fills.

    Raises:
        HandError: ``schema.args``, not executed.
    """
    pieces = [segment(piece) for piece in _delimited(parameter, value)]
    return ",".join(
        quote(piece, safe="=" if parameter.explode and isinstance(value, Mapping) else "") for piece in pieces
    )


def in_header(parameter: Parameter, value: Any) -> str:
    """A value as a field value.

    Raises:
        HandError: ``schema.args``, not executed.
    """
    is_json = parameter.style is Style.JSON
    text = canonical(value).decode("utf-8") if is_json else ",".join(_delimited(parameter, value))
    if not _FIELD.fullmatch(text):
        raise misfit("a value that no header can carry")
    return text


def in_query(parameter: Parameter, value: Any) -> list[Pair]:
    """A value as pairs, both sides percent-encoded.

    Raises:
        HandError: ``schema.args``, not executed.
    """
    name = quote(parameter.name, safe="")
    if parameter.style is Style.JSON:
        return [(name, quote(canonical(value), safe=""))]
    if parameter.style is Style.DEEP_OBJECT:
        return encoded(deep(parameter.name, value))
    if parameter.style is Style.FORM and parameter.explode:
        if isinstance(value, Mapping):
            return encoded((key, scalar(member)) for key, member in _members(value))
        return [(name, quote(scalar(item), safe="")) for item in _items(value)]
    _, delimiter = _DELIMITERS[parameter.style]
    return [(name, delimiter.join(quote(piece, safe="") for piece in _delimited(parameter, value)))]


def deep(name: str, value: Any) -> list[Pair]:
    """``name[key]=value`` for every member, as it is: one level, because no more is defined.

    Raises:
        HandError: ``schema.args``, not executed.
    """
    if not isinstance(value, Mapping):
        if isinstance(value, list | tuple):
            raise misfit("a list where an object is written")
        return [(name, scalar(value))]
    pairs = []
    for key, member in _members(value):
        if "[" in key or "]" in key:
            raise misfit("a bracket in a member's name")
        pairs.append((f"{name}[{key}]", scalar(member)))
    return pairs


def encoded(pairs: Any) -> list[Pair]:
    """Pairs, percent-encoded."""
    return [(quote(name, safe=""), quote(value, safe="")) for name, value in pairs]


def _delimited(parameter: Parameter, value: Any) -> list[str]:
    """A value as the texts that stand between delimiters; a scalar is one, whatever is in it."""
    if not isinstance(value, Mapping | list | tuple):
        return [scalar(value)]
    delimiter, _ = _DELIMITERS[parameter.style]
    if not isinstance(value, Mapping):
        pieces = [scalar(item) for item in _items(value)]
    elif parameter.explode:
        pieces = [f"{_without(key, '=')}={_without(scalar(member), '=')}" for key, member in _members(value)]
    else:
        pieces = [text for key, member in _members(value) for text in (key, scalar(member))]
    return [_without(piece, delimiter) for piece in pieces]


def _without(text: str, delimiter: str) -> str:
    if delimiter in text:
        raise misfit("a delimiter inside of a value")
    return text


def _items(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        return (value,)
    if not value:
        raise misfit("an empty list cannot be told from none")
    return value


def _members(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if not value:
        raise misfit("an empty object cannot be told from none")
    return sorted(value.items())
