r"""A text as it is read and not as it is spelt, one byte a character, with the way back to the text.

Full-width digits, digits of other scripts, invisible characters between digits, and letters that look like Latin ones
would else hide a number from every pattern, and so would letters that are spelled as escapes of JSON, however deep
(``\u0040``, ``\\u0040``, ``\x40``, ``\/``). What becomes nothing or several bytes, and what was several characters, is
kept track of, so that a match in the view is a span of the text.
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

_ESCAPE: Final = re.compile(r"(?<!\\)\\+(?:(?:u[dD][89abAB][0-9a-fA-F]{2}\\+)?u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|/)")
"""A letter as an escape; of a character beyond the first 65,536, both halves."""
_DIGITS: Final = re.compile(r"(?<=[ux])[0-9a-fA-F]+")
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


_Way = tuple[tuple[int, ...], tuple[int, ...]]
"""Where one side, and the other, has something of another size: the places where each begins, and where it ends."""


@dataclass(frozen=True, slots=True)
class View:
    """A text as one byte a character.

    Attributes:
        folded: its bytes.
        ways: back to the text, by one step after another.
    """

    folded: bytes
    ways: tuple[_Way, ...] = ()

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The characters of the text that the bytes ``start`` to ``end`` stand for."""
        for way in self.ways:
            start, end = _back(way, start)[0], _back(way, end - 1)[1]
        return start, end


def _back(way: _Way, place: int) -> tuple[int, int]:
    """What one place stands for on the other side."""
    here, there = way
    before = bisect_right(here, place) - 1
    if before < 0:
        return place, place + 1
    if before % 2 == 0:
        return there[before], there[before + 1]
    found = there[before] + place - here[before]
    return found, found + 1


def fold(text: str) -> View:
    """The view of a text."""
    read, escapes = _unescaped(text) if "\\" in text else (text, ())
    if _UNSEEN.search(read) is None:
        return View(read.encode("ascii"), escapes)
    table = {char: _folded(char) for char in set(read) if _UNSEEN.match(char)}
    folded = _replaced(read, table)
    uneven = [char for char, shown in table.items() if len(shown) != 1]
    if not uneven:
        return View(folded, escapes)
    here: list[int] = []
    there: list[int] = []
    shift = 0
    for found in re.finditer("[" + re.escape("".join(uneven)) + "]", read):
        place, size = found.start(), len(table[found[0]])
        here += (place + shift, place + shift + size)
        there += (place, place + 1)
        shift += size - 1
    return View(folded, ((tuple(here), tuple(there)), *escapes))


def _unescaped(text: str) -> tuple[str, tuple[_Way, ...]]:
    """A text whose letters stand as they are, and the way back."""
    pieces: list[str] = []
    here: list[int] = []
    there: list[int] = []
    last = shift = 0
    for found in _ESCAPE.finditer(text):
        start, end = found.span()
        said = _said(found[0])
        pieces += (text[last:start], said)
        here += (start - shift, start - shift + len(said))
        there += (start, end)
        last, shift = end, shift + end - start - len(said)
    return ("".join((*pieces, text[last:])), ((tuple(here), tuple(there)),)) if pieces else (text, ())


def _said(escape: str) -> str:
    """What an escape stands for: one character, or two halves of which at least one belongs to no other."""
    halves = "".join(chr(int(digits, 16)) for digits in _DIGITS.findall(escape))
    return halves.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") or "/"


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
