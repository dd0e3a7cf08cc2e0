"""A stretch of the log in a bundle: which leaves it is about, the entries among them, and the tree that they grow.

The part ``tree/N.txt`` tells the leaves in order, each exactly once: ``skip A B`` with the hashes of the complete
subtrees over ``[A, B)``, a line each, and ``have A B`` for leaves of which the entries follow in ``entries/N.ndjson``,
a line each, the exact bytes that the log hashed. Together they give the root, so nothing else has to be believed about
an entry, its place or its neighbours.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from . import strict
from .archive import Part
from .errors import EvidenceError
from .strict import base64_bytes
from .tree import HASH_BYTES, Growth, leaf_hash, spans

ENTRY_MAX_BYTES: Final = 65_535
"""A tlog-tiles entry bundle counts an entry's bytes in a uint16."""
TREE_MAX_BYTES: Final = 64 << 20
LINE_MAX_BYTES: Final = 64 << 20
ENTRIES_MAX: Final = 512
"""Entries of one segment: what is remembered at a time."""
RUNS_MAX: Final = 65_536
"""A range that is enclosed whole is one run; the few entries that stand alone beside it come before this."""
_LINE: Final = re.compile(r"(skip|have) (0|[1-9][0-9]{0,15}) ([1-9][0-9]{0,15})")
_MEMBERS: Final = {"v": int, "type": str, "time": str, "origin": str, "tenant": str, "reasons": list, "controls": list}


@dataclass(slots=True)
class Leaves:
    """The growing tree, and what was met of it.

    Attributes:
        at_size: told of each size that the tree passes, with a function that gives its root then.
        runs: ``[A, B)`` of what was enclosed, joined where they touch: the first :data:`RUNS_MAX`.
        enclosed: how many entries were.
    """

    at_size: Callable[[int, Callable[[], bytes]], None]
    growth: Growth = field(default_factory=Growth)
    enclosed: int = 0
    runs: list[tuple[int, int]] = field(default_factory=list)
    _due: list[tuple[int, int] | tuple[int, int, list[bytes]]] = field(default_factory=list)

    def expect(self, raw: bytes, what: str) -> list[int]:
        """Read ``tree/N.txt``; returns the indices of the entries that must follow. Raises ``EvidenceError``."""
        self._due = []
        indices: list[int] = []
        place = self.growth.size
        lines = _text(raw, what)
        while lines:
            matched = _LINE.fullmatch(lines.pop())
            if matched is None:
                raise EvidenceError(f"{what}: a line that is neither 'skip' nor 'have'")
            start, end = int(matched[2]), int(matched[3])
            if start != place or end <= start:
                raise EvidenceError(f"{what}: leaf {place} must come next, and {start} to {end} does")
            if matched[1] == "have":
                if len(indices) + end - start > ENTRIES_MAX:
                    raise EvidenceError(f"{what}: more than {ENTRIES_MAX} entries in one segment")
                indices.extend(range(start, end))
                self._due.append((start, end))
            else:
                nodes = list(spans(start, end))
                hashes = [base64_bytes(lines.pop() if lines else "", what) for _ in nodes]
                if any(len(value) != HASH_BYTES for value in hashes):
                    raise EvidenceError(f"{what}: a hash that is not 32 bytes long")
                self._due.append((start, end, hashes))
            place = end
        return indices

    def grow(self, entries: Iterator[bytes]) -> None:
        """Add the segment's leaves: of ``entries`` where they are enclosed."""
        for due in self._due:
            start, end = due[0], due[1]
            if len(due) == 3:
                for (level, _), value in zip(spans(start, end), due[2], strict=True):
                    self._add(level, value)
            else:
                for _ in range(start, end):
                    self._add(0, leaf_hash(next(entries)))
                self._enclose(start, end)
        self._due = []

    def covers(self, start: int, end: int) -> bool:
        """Whether every leaf of ``[start, end)`` was enclosed."""
        return start >= end or any(first <= start and end <= last for first, last in self.runs)

    def _enclose(self, start: int, end: int) -> None:
        self.enclosed += end - start
        if self.runs and self.runs[-1][1] == start:
            self.runs[-1] = (self.runs[-1][0], end)
        elif len(self.runs) < RUNS_MAX:
            self.runs.append((start, end))

    def _add(self, level: int, value: bytes) -> None:
        self.growth.add(level, value)
        self.at_size(self.growth.size, self.growth.root)


def entry(raw: bytes, what: str) -> dict[str, Any]:
    """An entry from its bytes. Raises ``EvidenceError``."""
    if len(raw) > ENTRY_MAX_BYTES:
        raise EvidenceError(f"{what}: larger than an entry can be")
    value = strict.document(raw, what, _MEMBERS)
    if value["v"] != 1:
        raise EvidenceError(f"{what}: of version {value['v']}, which this verifier does not read")
    return value


def lines(part: Part, limit: int = LINE_MAX_BYTES) -> Iterator[bytes]:
    """The lines of a part without their line feeds; the last one has one too. Raises ``EvidenceError``."""
    rest = b""
    for piece in part.chunks():
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > limit:
            raise EvidenceError(f"{part.name}: a line of more than {limit} bytes")
    if rest:
        raise EvidenceError(f"{part.name}: its last line has no end")


def _text(raw: bytes, what: str) -> list[str]:
    """Lines, the first one last."""
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise EvidenceError(f"{what}: not ASCII") from None
    if raw and not text.endswith("\n"):
        raise EvidenceError(f"{what}: its last line has no end")
    found = text.split("\n")[:-1]
    found.reverse()
    return found
