"""Texts that are JSON, changed at one place and the same everywhere else: spacing, numbers as they are written, members
that stand there twice. One value, or several after another (NDJSON).
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

_TOKEN: Final = re.compile(r'("[^"\\]*+(?:\\.[^"\\]*+)*+"|-?[0-9][-+0-9.eE]*|[\[\]{}])(?:[ \t\n\r]*:)?', re.DOTALL)
"""A text, a number or a bracket; with the colon behind it, the name of a member."""
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_DECODER: Final = json.JSONDecoder()


class Part(NamedTuple):
    """A text, a number or the name of a member; or a container that lies too deep, as a whole.

    Attributes:
        start: where it stands in the text, and ``end`` where the text goes on.
        says: a text, an ``int`` or a ``float``; of a container its JSON.
        name: of the member that it stands in, nearest first; empty where there is none.
        depth: of containers around it.
        of: which object it names a member of; ``None`` where it is no name.
    """

    start: int
    end: int
    says: Any
    name: str = ""
    depth: int = 0
    of: int | None = None
    deep: bool = False


def parts(text: str, depth_max: int) -> list[Part] | None:
    """What stands in a text that is JSON, in order; ``None`` for any other, and for JSON of numbers alone.

    Args:
        depth_max: a container that has so many around it is one part.
    """
    if text.lstrip(" \t\n\r")[:1] not in {"{", "[", '"'}:
        return None
    at = _after_space(text, 0)
    try:
        while at < len(text):
            at = _after_space(text, _DECODER.raw_decode(text, at)[1])
    except (ValueError, RecursionError):
        return None
    return list(_parts(text, depth_max))


def replaced(text: str, found: list[Part], shown: Callable[[Part], Any]) -> str:
    """A text with what ``shown`` gives for each of its parts; the very same where that is what they say.

    Names that would become one name are numbered.
    """
    pieces: list[str] = []
    last = 0
    names: dict[int, Names] = {}
    for part in found:
        new = shown(part)
        if part.of is not None:
            new = names.setdefault(part.of, Names()).distinct(part.says, new)
        if new == part.says:
            continue
        # Where the text spells letters as escapes, what is left of them is spelt so, too.
        spelt = json.dumps(new, ensure_ascii="\\u" in text[part.start : part.end])
        pieces += [text[last : part.start], spelt]
        last = part.end
    return "".join((*pieces, text[last:])) if pieces else text


class Names:
    """The names of one object's members, of which some are taken out: none is to hide another."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._made: set[str] = set()
        self._following: dict[str, int] = {}

    def distinct(self, name: str, shown: str) -> str:
        """What comes to stand for ``name`` where ``shown`` would: numbered, if that is there. A name that stood there
        twice still does."""
        distinct = shown
        while distinct in self._made or (distinct != name and distinct in self._taken):
            # Counted on from the last one: to count anew for each would be work by the square of the members.
            number = self._following[shown] = self._following.get(shown, 1) + 1
            distinct = f"{shown} {number}"
        self._taken.add(distinct)
        if distinct != name:
            self._made.add(distinct)
        return distinct


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _parts(text: str, depth_max: int) -> Iterator[Part]:
    around: list[str] = []  # containers that are not closed: the name that holds for what stands in each
    objects: list[int] = []  # and which object each is
    name = ""
    count = 0
    start = -1  # of a container that lies too deep
    for token in _TOKEN.finditer(text):
        begin, end = token.span(1)
        sign = text[begin]
        if sign == '"':
            if start >= 0:
                continue
            says = text[begin + 1 : end - 1]
            if "\\" in says:
                says = json.loads(text[begin:end])
            if token.end() > end:
                name = says
                yield Part(begin, end, says, "", len(around), objects[-1])
            else:
                yield Part(begin, end, says, name, len(around))
        elif sign in "[{":
            if len(around) == depth_max and start < 0:
                start = begin
            count += 1
            around.append(name)
            objects.append(count)
        elif sign in "]}":
            name = around.pop()
            objects.pop()
            if len(around) == depth_max and start >= 0:
                yield Part(start, end, text[start:end], name, depth_max, deep=True)
                start = -1
        elif start < 0:
            says = text[begin:end]
            yield Part(begin, end, int(says) if says.lstrip("-").isdigit() else float(says), name, len(around))
