"""The arguments of a call by the roles that the operator gave them (``manifest.ActionManifest.roles``). Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.manifest import ActionManifest, ArgumentRole
from gateway.pointers import escape, unescape

_DECIMAL: Final = re.compile(r"\s*[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?\s*", re.ASCII)


def by_role(args: Mapping[str, Any], action: ActionManifest) -> Iterator[tuple[str, ArgumentRole, Any]]:
    """``(JSON pointer, role, scalar)`` of every argument with a role; of an object or a list, everything in it.

    A pointer that several patterns match comes once for each of their roles. ``null`` has no role: it says nothing.
    """
    for pattern, role in action.roles.items():
        for pointer, value in _matches(args, pattern.split("/")[1:], ""):
            for leaf, scalar in _scalars(value, pointer):
                yield leaf, role, scalar


def amount(args: Mapping[str, Any], action: ActionManifest) -> float:
    """The sum of the arguments with the role ``amount``: numbers, and texts that are plain decimals. A negative one
    counts as if it were positive, so that none makes room for another."""
    if ArgumentRole.AMOUNT not in action.roles.values():
        return 0.0
    found = {pointer: value for pointer, role, value in by_role(args, action) if role is ArgumentRole.AMOUNT}
    return sum(abs(number) for number in map(_number, found.values()))


def at(args: Mapping[str, Any], pattern: str) -> Iterator[Any]:
    """The values at a JSON pointer, where ``*`` matches every item of a list."""
    for _, value in _matches(args, pattern.split("/")[1:], ""):
        yield value


def scalars_at(document: Any, pattern: str) -> Iterator[Any]:
    """Every text, number and boolean at a JSON pointer, where ``*`` matches every item of a list; of an object or a
    list, everything in it. The empty pointer is the whole document."""
    for pointer, value in _matches(document, pattern.split("/")[1:], ""):
        for _, scalar in _scalars(value, pointer):
            yield scalar


def _number(value: Any) -> float:
    if isinstance(value, bool):
        return 0.0
    if isinstance(value, int | float):
        return float(value)
    return float(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else 0.0


def _matches(value: Any, tokens: list[str], at: str) -> Iterator[tuple[str, Any]]:
    """The values at a pattern, where ``*`` matches every item of a list. Where the pattern leads on and the value does
    not, the value itself: a text where a list was expected must not go unseen."""
    if not tokens:
        yield at, value
        return
    token, rest = tokens[0], tokens[1:]
    name = unescape(token)
    if isinstance(value, Mapping) and token != "*":  # noqa: S105 - a token of a pointer
        if name in value:
            yield from _matches(value[name], rest, f"{at}/{token}")
    elif isinstance(value, list) and (token == "*" or token.isdecimal()):  # noqa: S105
        for index, item in enumerate(value):
            if token in {"*", str(index)}:
                yield from _matches(item, rest, f"{at}/{index}")
    elif value is not None:
        yield at, value


def _scalars(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from _scalars(member, f"{at}/{escape(name)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _scalars(item, f"{at}/{index}")
    elif value is not None:
        yield at, value
