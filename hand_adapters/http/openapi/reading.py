"""From the bytes of an OpenAPI document, JSON or YAML, to plain values; whatever two readers could read differently is
refused.

YAML is read as its JSON superset alone (YAML 1.2, core schema): no tags, no merge keys, no dates, and ``yes`` is a
text. An alias counts as all that it stands for, so that a short file cannot become a large value.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from gateway.settings import SettingsError

DOCUMENT_MAX_BYTES: Final = 33_554_432
VALUES_MAX: Final = 4_000_000
"""Values in a document, aliases written out."""
DEPTH_MAX: Final = 128
"""Nesting levels of a document."""
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
# YAML 1.2.2 section 10.3.2.
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_DIGITS_MAX: Final = 400
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD]|\\U0000[dD]")
# libyaml's scanner, some ten times as fast, where this build of PyYAML has it. Both give texts alone: what a text means
# is said here.
_LOADER: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class DocumentError(SettingsError):
    """A document, or one operation of it, that cannot be used.

    Args:
        place: a JSON pointer into the document, or a line of the file.
        problem: what is wrong there.
        remedy: what to do about it.
    """

    def __init__(self, place: str, problem: str, remedy: str = "") -> None:
        self.place, self.problem, self.remedy = place, problem, remedy
        said = f"{place}: {problem}" if place else problem
        super().__init__(f"{said}. {remedy}" if remedy else said)


def read(raw: bytes) -> Any:
    """The value of one JSON or YAML document; JSON is what begins with a brace.

    Raises:
        DocumentError: too large, too deep, no UTF-8, a member named twice, or more than JSON can say.
    """
    if len(raw) > DOCUMENT_MAX_BYTES:
        raise DocumentError("", f"has more than {DOCUMENT_MAX_BYTES} bytes", "Cut it down to what you use.")
    try:
        text = raw.decode("utf-8-sig", errors="strict")
    except UnicodeDecodeError as exc:
        raise DocumentError(f"byte {exc.start}", "is not UTF-8", "Save the file as UTF-8.") from None
    value = _json(text) if text.lstrip().startswith("{") else _yaml(text)
    _bound(value)
    if _SURROGATE_ESCAPE.search(text):
        _check_texts(value)
    return value


def _json(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as exc:
        raise DocumentError(f"line {exc.lineno}", f"is not JSON: {exc.msg}", "Mend it there.") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as exc:
        raise DocumentError("", str(exc), "Say it once, as JSON says it.") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has two members {twice!r}")
    return members


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise ValueError("a number has too many digits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that is being read."""

    value: Any
    anchor: str | None
    started: int
    """How many values had been read before it."""
    key: str | None = None


@dataclass(slots=True)
class _Builder:
    """Values from the events of a YAML parser, without recursion."""

    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    """Anchor -> its value, and how many values that is."""
    count: int = 0
    done: list[Any] = field(default_factory=list)

    def event(self, event: Any) -> None:
        """Take one event in. Raises ``DocumentError``."""
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _at(event, f"the tag {tag!r} is not taken", "Write plain values.")
        if isinstance(event, yaml.events.DocumentStartEvent) and self.done:
            raise _at(event, "the file holds more than one document", "Keep one.")
        if isinstance(event, yaml.events.AliasEvent):
            if event.anchor not in self.anchors:
                raise _at(event, f"the alias *{event.anchor} stands for nothing, or for itself", "Write it out.")
            value, size = self.anchors[event.anchor]
            self._count(size)
            self._put(value, event)
        elif isinstance(event, yaml.events.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.events.MappingStartEvent | yaml.events.SequenceStartEvent):
            value = {} if isinstance(event, yaml.events.MappingStartEvent) else []
            if self._expects_key():
                raise _at(event, "a key is no text", "Name members by texts.")
            if len(self.open) >= DEPTH_MAX:
                raise _too_deep()
            self.open.append(_Open(value, event.anchor, self.count))
            self._count(1)
        elif isinstance(event, yaml.events.MappingEndEvent | yaml.events.SequenceEndEvent):
            closed = self.open.pop()
            if closed.anchor is not None:
                self.anchors[closed.anchor] = (closed.value, self.count - closed.started)
            self._put(closed.value, event)

    def _scalar(self, event: Any) -> None:
        self._count(1)
        if self._expects_key():
            if event.value == "<<" and not event.style:
                raise _at(event, "a merge key is not taken", "Write the members out.")
            if event.value in self.open[-1].value:
                raise _at(event, f"an object has two members {event.value!r}", "Say it once.")
            self.open[-1].key = event.value
            return
        value = event.value if event.style else _plain(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)
        self._put(value, event)

    def _expects_key(self) -> bool:
        return bool(self.open) and isinstance(self.open[-1].value, dict) and self.open[-1].key is None

    def _put(self, value: Any, event: Any) -> None:
        if not self.open:
            self.done.append(value)
            return
        parent = self.open[-1]
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is None:
            raise _at(event, "a key is no text", "Name members by texts.")
        else:
            parent.value[parent.key] = value
            parent.key = None

    def _count(self, more: int) -> None:
        self.count += more
        if self.count > VALUES_MAX:
            raise _too_many()


def _yaml(text: str) -> Any:
    builder = _Builder()
    try:
        for event in _events(text):
            builder.event(event)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = "" if mark is None else f"line {mark.line + 1}"
        raise DocumentError(place, f"is not YAML: {exc.problem or exc.context}", "Mend it there.") from None
    except yaml.YAMLError as exc:
        raise DocumentError("", f"is not YAML: {type(exc).__name__}", "Mend it.") from None
    if not builder.done:
        raise DocumentError("", "is empty", "Name the file that holds the document.")
    return builder.done[0]


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=_LOADER)


def _plain(event: Any) -> Any:
    """What an unquoted scalar is in the core schema."""
    text = event.value
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if len(text) > _DIGITS_MAX:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _NO_NUMBER.fullmatch(text):
        raise _at(event, f"{text} is no number of JSON", "Leave it out, or quote it.")
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise _at(event, "a number is too large", "Quote it.")
        return number
    return text


def _bound(value: Any) -> None:
    """Raises ``DocumentError`` for what is too deep or too much; aliases are counted wherever they stand."""
    level, count = [value], 1
    for _ in range(DEPTH_MAX):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        count += len(below)
        if count > VALUES_MAX:
            raise _too_many()
        if not below:
            return
        level = below
    raise _too_deep()


def _check_texts(value: Any) -> None:
    """Raises ``DocumentError`` for a lone surrogate: strict UTF-8 has none, so that only an escape can bring one in."""
    waiting = [value]
    for item in waiting:
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str) and not item.isascii() and any("\ud800" <= one <= "\udfff" for one in item):
            raise DocumentError("", "a text holds half a character (a lone surrogate)", "Write the character whole.")


def _at(event: Any, problem: str, remedy: str) -> DocumentError:
    return DocumentError(f"line {event.start_mark.line + 1}", problem, remedy)


def _too_deep() -> DocumentError:
    return DocumentError("", f"is nested more than {DEPTH_MAX} levels deep", "Name inner schemas in components.")


def _too_many() -> DocumentError:
    return DocumentError(
        "", f"holds more than {VALUES_MAX} values, aliases written out", "Cut it down to what you use."
    )
