"""From approved args to one exact request: which argument stands in the path, the query or the body.

The declared template alone decides; an argument's value can fill its own segment and cannot reach beyond it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from yarl import URL

from gateway.canonical import canonical
from gateway.model import HandCall
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ActionSettings, SettingsError
from hand_adapters.contract import HandError

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")
_QUERY_METHODS: Final = frozenset({"GET", "HEAD", "DELETE"})
_SCALARS: Final = frozenset({"string", "integer", "number", "boolean"})
# A segment of dots alone climbs (RFC 3986 section 5.2.4); some servers decode %2F and %5C before they route.
_UNFIT: Final = re.compile(r"[/\\\x00-\x1f\x7f]|^\.*$")


class Template:
    """A declared action's request, parsed once."""

    __slots__ = ("_base", "_fixed", "_names", "_parts", "method")

    def __init__(self, hand_id: str, name: str, base_url: str, action: ActionSettings) -> None:
        """Parse a declaration.

        Raises:
            SettingsError: the path has a query or a stray brace, or fills a placeholder from an argument that the
                schema does not require as a scalar.
        """
        path = action.path or ""
        where = f"hands.{hand_id}.actions.{name}.path"
        if "?" in path or "#" in path:
            raise SettingsError(f"{where}: give the query as arguments, not in the path")
        pieces = _PLACEHOLDER.split(path)
        self._parts, self._names = tuple(pieces[0::2]), tuple(pieces[1::2])
        if any("{" in part or "}" in part for part in self._parts):
            raise SettingsError(f"{where}: a brace that encloses no argument name")
        schema = action.args_schema or {}
        for argument in self._names:
            declared = schema.get("properties", {}).get(argument)
            if not isinstance(declared, Mapping) or declared.get("type") not in _SCALARS:
                raise SettingsError(f"{where}: {{{argument}}} must be a declared scalar property of args_schema")
            if argument not in schema.get("required", ()):
                raise SettingsError(f"{where}: {{{argument}}} must be required by args_schema")
        self.method: str = action.method or "GET"
        self._base = base_url.rstrip("/")
        self._fixed = None if self._names else URL(self._base + path, encoded=True)

    def request(self, call: HandCall) -> tuple[URL, bytes | None]:
        """The URL, and the JSON body or ``None``.

        Raises:
            HandError: ``schema.args``, not executed: a value that does not fit its place.
        """
        args = call.args
        if self._fixed is not None and (not args or self.method not in _QUERY_METHODS):
            return self._fixed, None if self.method in _QUERY_METHODS else call.args_bytes
        path = self._base + self._parts[0]
        for name, part in zip(self._names, self._parts[1:], strict=True):
            path += quote(_segment(args[name]), safe="") + part
        rest = args if not self._names else {key: value for key, value in args.items() if key not in self._names}
        if self.method in _QUERY_METHODS:
            return URL(f"{path}?{_query(rest)}" if rest else path, encoded=True), None
        return URL(path, encoded=True), canonical(rest)


def _segment(value: Any) -> str:
    text = _text(value)
    if _UNFIT.search(text):
        raise _misfit("a value that is no single path segment")
    return text


def _query(args: Mapping[str, Any]) -> str:
    """``name=value`` pairs in the order of the names; an array repeats its name, ``null`` is left out."""
    return "&".join(
        f"{quote(name, safe='')}={quote(_text(item), safe='')}"
        for name in sorted(args)
        if (value := args[name]) is not None
        for item in (value if isinstance(value, list | tuple) else (value,))
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return canonical(value).decode("ascii")
    raise _misfit("a value that is no scalar")


def _misfit(detail: str) -> HandError:
    return HandError(Reason.SCHEMA_ARGS, HandFailure.NOT_EXECUTED, detail)
