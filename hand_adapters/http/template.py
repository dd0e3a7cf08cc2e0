"""From approved args to one exact request: which argument stands in the path, the query or the body.

The declared template alone decides; an argument's value can fill its own segment and cannot reach beyond it.
"""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote

from yarl import URL

from gateway.calls import HandCall
from gateway.canonical import canonical
from gateway.model import EMPTY
from gateway.settings import ActionSettings, SettingsError
from hand_adapters.misfit import misfit, placed

JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json"}
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")
_QUERY_METHODS: Final = frozenset({"GET", "HEAD", "DELETE"})
_SCALARS: Final = frozenset({"string", "integer", "number", "boolean"})
OVERRIDES: Final = frozenset({"_method", "x-http-method", "x-http-method-override", "x-method-override"})
"""Names of a query or a body by which servers take a request for one with another method than it was sent with."""
# A segment of dots alone climbs (RFC 3986 section 5.2.4); some servers decode %2F and %5C before they route.
_UNFIT: Final = re.compile(r"[/\\\x00-\x1f\x7f]|^\.*$")


class Request(NamedTuple):
    """One exact request, before the gateway adds credential and secrets."""

    url: URL
    body: bytes | None = None
    headers: Mapping[str, str] = EMPTY


class RequestTemplate(Protocol):
    """What makes an action's requests."""

    @property
    def method(self) -> str:
        """In capitals."""

    def request(self, call: HandCall) -> Request:
        """The request of a call.

        Raises:
            HandError: ``schema.args``, not executed: a value that does not fit its place.
        """


class Template:
    """A declared action's request, parsed once."""

    __slots__ = ("_base", "_declared", "_fixed", "_names", "_overrides", "_parts", "method")

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
        self._declared = frozenset(schema.get("properties", ()))
        self._overrides = OVERRIDES - set(map(plain, self._declared))
        self.method: str = action.method or "GET"
        self._base = base_url.rstrip("/")
        self._fixed = None if self._names else URL(self._base + path, encoded=True)

    def request(self, call: HandCall) -> Request:
        """The URL, and the JSON body where the method has one.

        Raises:
            HandError: ``schema.args``, not executed: a value that does not fit its place.
        """
        args = call.args
        no_override(args, self._overrides)
        if self._fixed is not None and (not args or self.method not in _QUERY_METHODS):
            return (
                Request(self._fixed) if self.method in _QUERY_METHODS else Request(self._fixed, call.args_bytes, JSON)
            )
        path = self._base + self._parts[0]
        for name, part in zip(self._names, self._parts[1:], strict=True):
            with placed(name):
                path += quote(segment(args[name]), safe="") + part
        rest = args if not self._names else {key: value for key, value in args.items() if key not in self._names}
        if self.method in _QUERY_METHODS:
            return Request(URL(f"{path}?{self._query(rest)}" if rest else path, encoded=True))
        return Request(URL(path, encoded=True), canonical(rest), JSON)

    def _query(self, args: Mapping[str, Any]) -> str:
        """``name=value`` pairs in the order of the names; an array repeats its name, ``null`` is left out."""
        pairs: list[str] = []
        for name in sorted(args):
            value = args[name]
            items = value if isinstance(value, list | tuple) else () if value is None else (value,)
            with placed(name if name in self._declared else "*"):
                pairs += (f"{quote(name, safe='')}={quote(scalar(item), safe='')}" for item in items)
        return "&".join(pairs)


def segment(value: Any) -> str:
    """A scalar that can be one path segment.

    Raises:
        HandError: ``schema.args``, not executed: it would be none, or several.
    """
    text = scalar(value)
    if _UNFIT.search(text):
        raise misfit("a value that is no single path segment")
    return text


def plain(name: str) -> str:
    """A name of a query or a form as a lenient server reads it: without regard to case and what follows a bracket."""
    return name.strip().partition("[")[0].casefold()


def no_override(names: Iterable[str], overrides: AbstractSet[str] = OVERRIDES) -> None:
    """Go on, unless a name says another method than the one that was judged.

    Raises:
        HandError: ``schema.args``, not executed.
    """
    if any(plain(name) in overrides for name in names):
        raise misfit("an argument that says another method", "*")


def scalar(value: Any) -> str:
    """A scalar as text. Raises ``HandError`` (``schema.args``, not executed) for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return canonical(value).decode("ascii")
    raise misfit("a value that is no scalar")
