"""A result gone through: what personal data stands where in it, and the result without it.

Every text and number of ``{content, structured}`` is looked at, and the names of members; a text that is JSON (one
value, or several) as what it says, too, and what is left of it stays as it was written. Base64, percent-encoding and
what is split over two values are not undone. A national number is known by the name of its member
(``{"phone": "030 1234567"}``) as by a word before it.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

from gateway.calls import HandResult
from gateway.manifest import EVERY_KIND
from gateway.personal_data.folding import fold
from gateway.personal_data.json_texts import Names, Part, parts, replaced
from gateway.personal_data.presidio import Ask, Presidio, Unsearched
from gateway.personal_data.recognisers import (
    ANY_BUILT_IN,
    BUILT_IN,
    UNSEARCHED,
    Recogniser,
    marker,
    says_what_it_is,
)

CANDIDATES_MAX: Final = 40_000
"""Places of one result that are looked at closely; a long one counts as several."""
ROUNDS_MAX: Final = 8
"""How often a result is looked through at most, where something was taken out of it each time."""
DEPTH_MAX: Final = 64
"""Levels of a result that are gone through, JSON in texts included."""
_NAME_MAX: Final = 64
_PLACE_BYTES: Final = 8
_AGAIN: Final = 8
"""Places that it costs to look through one text by itself."""
_BETWEEN: Final = b"\n\x00\n"
"""Between two texts: no built-in pattern goes over it, and no view has a NUL."""
_NUMBER_MIN: Final = 10_000_000
"""Below it no number is an identifier."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What one result holds.

    Attributes:
        found: kind -> how many were found and left; ``unsearched`` where not all of it was looked through.
        taken: kind -> how many were taken out.
        result: the result without those that were to be taken out; the same object where there were none.
    """

    found: Mapping[str, int]
    taken: Mapping[str, int]
    result: HandResult


class Scanner:
    """Looks for the built-in kinds and an operator's own. Immutable; may be used by several threads."""

    def __init__(self, declared: Iterable[Recogniser] = (), presidio: Presidio | None = None) -> None:
        self.recognisers = (*BUILT_IN, *declared)
        self.presidio = presidio
        asked = frozenset[str]() if presidio is None else presidio.kinds
        self.kinds = frozenset(one.kind for one in self.recognisers) | asked

    @property
    def waits(self) -> bool:
        """Whether a scan waits for another process, however short the result."""
        return self.presidio is not None

    def start(self) -> None:
        """Start what it needs beside; blocks. Raises ``PresidioError``."""
        if self.presidio is not None:
            self.presidio.start()

    def close(self) -> None:
        """End it."""
        if self.presidio is not None:
            self.presidio.close()

    def chosen(self, kinds: Collection[str]) -> frozenset[str]:
        """The kinds that a list names."""
        return self.kinds if EVERY_KIND in kinds else self.kinds & frozenset(kinds)

    def scan(self, result: HandResult, *, look: Collection[str], take: Collection[str] = ()) -> Scan:
        """Find ``look`` and ``take``, and take out ``take``; again, until nothing of it is left to be found. What stood
        behind something that was taken out is read anew: a number behind a telephone number is one as well.

        What is deeper than :data:`DEPTH_MAX` is not looked through, and of a result with more candidates than
        :data:`CANDIDATES_MAX`, or that Presidio is to take something out of and does not answer about, the rest is not.
        It is counted as ``unsearched``; if anything is to be taken out, what is
        too deep is taken out whole, and so is all of a result with too many candidates.
        """
        known = _Known()
        scan = self._once(result, look, take, self.presidio, known)
        before = result
        for _ in range(ROUNDS_MAX - 1):
            if scan.result is before:
                break
            before = scan.result
            more = self._once(before, (), take, None, known)
            taken = Counter(scan.taken) + Counter(more.taken)
            scan = Scan(scan.found, dict(sorted(taken.items())), more.result)
        else:
            if scan.result is not before:
                return self._unfinished(scan)
        return scan

    def _unfinished(self, scan: Scan) -> Scan:
        """Where something may be left after :data:`ROUNDS_MAX`: nothing of it goes on, as where there is too much."""
        structured = None if scan.result.structured is None else marker(UNSEARCHED)
        block = {"type": "text", "text": marker(UNSEARCHED)}
        taken = dict(sorted({**scan.taken, UNSEARCHED: 1}.items()))
        return Scan(scan.found, taken, replace(scan.result, content=(block,), structured=structured))

    def _once(
        self,
        result: HandResult,
        look: Collection[str],
        take: Collection[str],
        presidio: Presidio | None,
        known: "_Known",
    ) -> Scan:
        taking = self.chosen(take)
        wanted = self.chosen(look) | taking
        search = _Search(tuple(one for one in self.recognisers if one.kind in wanted), taking, known)
        if presidio is not None and presidio.kinds & wanted:
            search.ask, search.asked = presidio.session(), presidio.kinds & wanted
        try:
            # Once to see what texts there are, and once, when all of them were searched together, to take out of them.
            blocks, structured = search.document(result)
            if search.find():
                blocks, structured = search.document(result)
        except _TooMany:
            search.counts, search.unanswered = Counter({UNSEARCHED: 1}), False
            search.changed = bool(taking)
            blocks = ({"type": "text", "text": marker(UNSEARCHED)},)
            structured = None if result.structured is None else marker(UNSEARCHED)
        counts = sorted(search.counts.items())
        gone = taking | {UNSEARCHED} if taking else taking
        found = {kind: number for kind, number in counts if kind not in gone}
        taken = {kind: number for kind, number in counts if kind in gone}
        if search.unanswered:
            found[UNSEARCHED] = found.get(UNSEARCHED, 0) + 1
        changed = replace(result, content=blocks, structured=structured) if search.changed else result
        return Scan(found, taken, changed)


class _TooMany(Exception):
    """A result holds more candidates than are looked at, or what is to go from it was not looked for."""


_Span = tuple[int, int, int, str]
"""Start and end in a text, rank of the recogniser, kind."""


@dataclass(slots=True)
class _Known:
    """What one look at a result leaves to the next, which has to search only what was changed.

    Attributes:
        clear: texts of which nothing was to be taken out, each with what stands before it.
        within: what stands in the texts that are JSON, by text and by how deep it may go on in them.
    """

    clear: set[tuple[str, str]] = field(default_factory=set)
    within: dict[tuple[str, int], list[Part] | None] = field(default_factory=dict)


@dataclass(slots=True)
class _Search:
    recognisers: tuple[Recogniser, ...]
    taking: frozenset[str]
    known: _Known
    counts: Counter[str] = field(default_factory=Counter)
    changed: bool = False
    candidates: int = 0
    texts: list[tuple[str, str]] = field(default_factory=list)
    """What stands before each text, and the text, in the order in which they are met."""
    ask: Ask | None = None
    asked: frozenset[str] = frozenset()
    """The kinds that Presidio is asked for."""
    unanswered: bool = False
    """Presidio did not answer; what else there is was found."""
    names: set[int] = field(default_factory=set)
    """Which of the texts are names of members."""
    spans: Iterator[list[_Span]] | None = None
    """What was found in each; ``None`` until then."""

    def document(self, result: HandResult) -> tuple[tuple[dict[str, Any], ...], Any]:
        """Content and structure without what is to be taken out; as they are until it is known."""
        blocks = tuple(self.members(block, 0) for block in result.content)
        return blocks, self.value(result.structured, "")

    def find(self) -> bool:
        """Search all texts that were met. Returns whether there is anything to take out; what was too deep is counted
        still where there is not."""
        new = [index for index, text in enumerate(self.texts) if text not in self.known.clear]
        names = frozenset(place for place, index in enumerate(new) if index in self.names)
        found: list[list[_Span]] = [[] for _ in self.texts]
        for index, spans in zip(new, self._found([self.texts[index] for index in new], names), strict=True):
            found[index] = spans
        if not any(found) and not (self.taking and self.counts):
            return False
        self.spans = iter(found)
        self.counts.clear()
        self.changed = False
        return True

    def _found(self, texts: list[tuple[str, str]], names: Collection[int] = ()) -> list[list[_Span]]:
        """What each text holds. One look at all of them, in one buffer, costs what one look at one costs.

        Args:
            names: which of the texts are names of members.
        """
        views = [fold(lead + text) for lead, text in texts]
        buffer = _BETWEEN.join(view.folded for view in views)
        starts = list(accumulate((len(view.folded) + len(_BETWEEN) for view in views), initial=0))
        found: list[list[_Span]] = [[] for _ in texts]
        any_built_in = ANY_BUILT_IN.search(buffer) is not None
        for rank, recogniser in enumerate(self.recognisers):
            if not recogniser.declared and not any_built_in:
                continue
            if recogniser.needs and not any(sign in buffer for sign in recogniser.needs):
                continue
            # A declared pattern might run from one text into the next.
            alone = [view.folded for view in views] if recogniser.declared else [buffer]
            for place, piece in enumerate(alone):
                for match in recogniser.pattern.finditer(piece):
                    self._count(match)
                    for start, end in recogniser.check(piece, match):
                        index = place if recogniser.declared else bisect_right(starts, start) - 1
                        before = 0 if recogniser.declared else starts[index]
                        begin, stop = views[index].span(start - before, end - before)
                        lead = len(texts[index][0])
                        if begin >= lead:
                            found[index].append((begin - lead, stop - lead, rank, recogniser.kind))
        if self.ask is not None and not self.unanswered:
            self._asked(texts, names, found, self.ask)
        return found

    def _asked(self, texts: list[tuple[str, str]], names: Collection[int], found: list[list[_Span]], ask: Ask) -> None:
        """Ask Presidio about values. Its model may take a word for a name that is the name of a member, or says what
        kind of block it stands in; without that the result would be none any more."""
        values = [
            index
            for index, (_, text) in enumerate(texts)
            if index not in names and not (text.isalpha() and text.islower())
        ]
        if not values:
            return
        try:
            answered = ask([texts[index][1] for index in values])
        except Unsearched:
            if self.taking & self.asked:
                raise _TooMany from None
            self.unanswered = True
            return
        rank = len(self.recognisers)
        for places, index in zip(answered, values, strict=True):
            found[index].extend((start, end, rank, kind) for start, end, kind in places if kind in self.asked)

    def _count(self, match: Any) -> None:
        self._spend(1 + (match.end() - match.start()) // _PLACE_BYTES)

    def _spend(self, places: int) -> None:
        self.candidates += places
        if self.candidates > CANDIDATES_MAX:
            raise _TooMany

    def value(self, value: Any, name: str, depth: int = 0) -> Any:
        """A value without what is to be taken out of it.

        Args:
            name: of the member that it stands in, nearest first.
        """
        if isinstance(value, str):
            return self._text(value, name, depth)
        if isinstance(value, dict | list | tuple | Mapping):
            if depth >= DEPTH_MAX:
                return self._unsearched(value)
            if isinstance(value, dict | Mapping):
                return self.members(value, depth)
            return [self.value(item, name, depth + 1) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= _NUMBER_MIN:
            said = str(value) if isinstance(value, int) else f"{value:.0f}" if value.is_integer() else ""
            shown = self._spans(said, name)
            return value if shown == said else shown
        return value

    def members(self, value: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """The same of an object, its names included."""
        names = Names()
        return {
            names.distinct(name, self._name(name)): self.value(member, name, depth + 1)
            for name, member in value.items()
        }

    def _name(self, name: str) -> str:
        self.names.add(len(self.texts))
        return self._spans(name, "")

    def _text(self, text: str, name: str, depth: int) -> str:
        key = (text, max(0, DEPTH_MAX - depth - 1))
        if key not in self.known.within:
            self.known.within[key] = parts(*key)
        within = self.known.within[key]
        if within is None:
            return self._spans(text, name)
        if self.spans is None:
            for part in within:
                self._part(part, name, depth)
            return self._spans(text, name)
        counts = self.counts
        self.counts = Counter()
        inside = replaced(text, within, lambda part: self._part(part, name, depth))
        found, self.counts = self.counts, Counter()
        # As it is written, too: what stands in several values may be one to a reader.
        shown = self._spans(inside, name, made=inside is not text)
        if found or self.counts:
            counts += found | self.counts
        self.counts = counts
        if shown is not text:
            self.known.within.pop(key, None)  # large, and hardly met again
        return shown

    def _part(self, part: Part, name: str, depth: int) -> Any:
        """What is left of a part of a text that stands in the member ``name``."""
        if part.of is not None:
            return self._name(part.says)
        if part.deep:
            return self._unsearched(part.says)
        return self.value(part.says, part.name or name, depth + 1 + part.depth)

    def _spans(self, text: str, name: str, *, made: bool = False) -> str:
        """A text without what is to be taken out; counts what is in it.

        Args:
            made: it was made here, so nobody has looked for it yet.
        """
        lead = _lead(name[:_NAME_MAX]) if name else ""
        if self.spans is None:
            self.texts.append((lead, text))
            return text
        found = next(self.spans)
        if made:
            self._spend(_AGAIN)
            [found] = self._found([(lead, text)])
        if found:
            for _, _, kind in _apart(found):
                self.counts[kind] += 1
            taken = [one for one in found if one[3] in self.taking]
            if taken:
                return self._without(text, _apart(taken))
        self.known.clear.add((lead, text))
        return text

    def _without(self, text: str, spans: list[tuple[int, int, str]]) -> str:
        self.changed = True
        parts, last = [], 0
        for start, end, kind in spans:
            parts += [text[last:start], marker(kind)]
            last = end
        return "".join((*parts, text[last:]))

    def _unsearched(self, value: Any) -> Any:
        """What is too deep: a value, or the marker for it."""
        self.counts[UNSEARCHED] += 1
        if not self.taking:
            return value
        self.changed = True
        return marker(UNSEARCHED)


@lru_cache(maxsize=4096)
def _lead(name: str) -> str:
    """What is read before a text: the name of its member, where that tells what a number is."""
    return f"{name}: " if says_what_it_is(fold(name).folded) else ""


def _apart(found: list[_Span]) -> list[tuple[int, int, str]]:
    """Spans that do not overlap: those that do become one, of the kind that is believed first."""
    apart: list[_Span] = []
    for start, end, rank, kind in sorted(found):
        if apart and start < apart[-1][1]:
            before = apart[-1]
            best = min((before[2], before[3]), (rank, kind))
            apart[-1] = (before[0], max(end, before[1]), *best)
        else:
            apart.append((start, end, rank, kind))
    return [(start, end, kind) for start, end, _, kind in apart]
