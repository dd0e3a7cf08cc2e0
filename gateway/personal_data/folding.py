"""A text as it is read and not as it is spelt, one byte a character, with the way back to the text.

Full-width digits, digits of other scripts, invisible characters between digits, and letters that look like Latin ones
would else hide a number from every pattern. What becomes nothing or several bytes is kept track of, so that a match in
the view is a span of the text.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

LETTER: Final = 0xFF
"""The byte of a letter that is not Latin and does not look so."""
OTHER: Final = 0xFE
"""The byte of any other sign without an ASCII form."""

_UNSEEN: Final = re.compile(r"[^\t\n\r\x20-\x7e]")
_LOOKALIKES: Final = str.maketrans(
    "авеіјкмнорстухАВЕІЈКМНОРСТУХԁѕαικνορτυχΑΒΕΙΚΜΝΟΡΤΥΧıℓ",
    "abeijkmhopctyxABEIJKMHOPCTYXdsaikvoptuxABEIKMNOPTYXil",
)
"""Cyrillic and Greek letters (and a few more) with the shape of a Latin one; UTS 39 has the whole list."""
_FEW: Final = 32
"""Distinct characters that are quicker replaced one after another than looked up."""
_TAKEN: Final = frozenset({chr(LETTER), chr(OTHER)})
_MARKS: Final = frozenset({"Mn", "Me", "Cf", "Cc"})
_BLANK: Final = frozenset("\u115f\u1160\u2065\u2800")
"""Letters and signs that show nothing; what NFKD makes one of these, too (U+3164, U+FFA0)."""
_IGNORED: Final = (range(0xFFF0, 0xFFF9), range(0xE0000, 0xE1000))
"""Default_Ignorable_Code_Point (UAX 44) beyond what has a name: not shown, whatever comes to stand there."""
_DASHES: Final = frozenset("\u2212\u2043\u02d7")
_DOTS: Final = frozenset("\u3002\u00b7\u2024\u2027\u30fb\u0589\u0701\u0702")


@dataclass(frozen=True, slots=True)
class View:
    """A text as one byte a character.

    Attributes:
        folded: its bytes.
        odd: where in the view, and in the text, a character stands that became no byte or several; in order.
    """

    folded: bytes
    odd: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The characters of the text that the bytes ``start`` to ``end`` stand for."""
        return self._place(start), self._place(end - 1) + 1

    def _place(self, offset: int) -> int:
        ends, text_ends = self.odd
        before = bisect_right(ends, offset) - 1
        if before < 0:
            return offset
        # Odd characters are kept as two places: where one begins, and where the text goes on after it.
        inside = before % 2 == 0
        return text_ends[before] + (0 if inside else offset - ends[before])


def fold(text: str) -> View:
    """The view of a text."""
    if _UNSEEN.search(text) is None:
        return View(text.encode("ascii"))
    table = {char: _folded(char) for char in set(text) if _UNSEEN.match(char)}
    folded = _replaced(text, table)
    uneven = [char for char, read in table.items() if len(read) != 1]
    if not uneven:
        return View(folded)
    places: list[int] = []
    text_places: list[int] = []
    shift = 0
    for found in re.finditer("[" + re.escape("".join(uneven)) + "]", text):
        place, size = found.start(), len(table[found[0]])
        places += (place + shift, place + shift + size)
        text_places += (place, place + 1)
        shift += size - 1
    return View(folded, (tuple(places), tuple(text_places)))


def _replaced(text: str, table: Mapping[str, bytes]) -> bytes:
    """``text`` with each character of ``table`` as its bytes."""
    read = {char: bytes_.decode("latin-1") for char, bytes_ in table.items()}
    if len(read) > _FEW or read.keys() & _TAKEN:
        return text.translate({ord(char): shown for char, shown in read.items()}).encode("latin-1")
    for char, shown in read.items():
        text = text.replace(char, shown)
    return text.encode("latin-1")


@lru_cache(maxsize=8192)
def _folded(char: str) -> bytes:
    """What one character that is not plain ASCII reads as: nothing where it is not seen."""
    out = bytearray()
    for part in unicodedata.normalize("NFKD", char.translate(_LOOKALIKES)):
        category = unicodedata.category(part)
        if part.isascii() and part.isprintable():
            out += part.encode("ascii")
        elif category in _MARKS or part in _BLANK or any(ord(part) in places for places in _IGNORED):
            continue
        elif category == "Nd":
            out += str(unicodedata.digit(part)).encode("ascii")
        elif category == "Pd" or part in _DASHES:
            out += b"-"
        elif category in {"Zs", "Zl", "Zp"}:
            out += b" "
        elif part in _DOTS:
            out += b"."
        else:
            out.append(LETTER if category.startswith("L") else OTHER)
    return bytes(out)
