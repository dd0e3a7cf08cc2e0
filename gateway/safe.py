r"""Make text from tools, plans and logs harmless to a terminal and to the eyes of the person who reads it.

Escape sequences can rewrite what stands on the screen, right-to-left overrides can reorder it, and invisible
characters can hide in it: what a person approves would not be what they saw. Everything that is not plainly visible is
shown as ``\u{202e}``.
"""

import json
import unicodedata
from typing import Any, Final

_ESCAPED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters, marks and symbols without a glyph."""
_FORMULA: Final = frozenset("=+-@|%")
"""What makes a spreadsheet compute a cell (CWE-1236); wide and other forms of these fold to them."""
_COMBINING_MAX: Final = 3
"""Marks on one base character; more is a smear over the lines above and below."""


def invisible(char: str) -> bool:
    """Whether ``char`` has no shape of its own that a reader could see; a line feed and a space have their effect."""
    category = unicodedata.category(char)
    return (
        (category in _ESCAPED_CATEGORIES and char != "\n")
        or (category == "Zs" and char != " ")
        or char in _INVISIBLE
        or _is_variation_selector(char)
    )


def uncomputed(cell: str) -> str:
    """A cell of a table that no spreadsheet takes for a formula: what would begin one has an apostrophe before it."""
    first = unicodedata.normalize("NFKC", cell.lstrip())[:1]
    return f"'{cell}" if first and first in _FORMULA else cell


def safe(text: Any, *, lines: bool = False) -> str:
    """``text`` with every control, format, invisible and bidirectional character spelled out.

    Args:
        lines: keep line feeds (for text that has a place of its own); otherwise they are spelled out too.
    """
    if text is None:
        return ""
    plain = text if isinstance(text, str) else str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    shown: list[str] = []
    marks = 0
    for char in plain:
        marks = marks + 1 if unicodedata.category(char) in {"Mn", "Me"} else 0
        if char == "\n" and lines:
            shown.append(char)
        elif char == "\n" or invisible(char) or marks > _COMBINING_MAX:
            shown.append(f"\\u{{{ord(char):x}}}")
        else:
            shown.append(char)
    return "".join(shown)


def safe_json(value: Any) -> str:
    """``value`` as indented JSON for people: letters of any script stay, everything else :func:`safe` spells out."""
    return safe(json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True), lines=True)


def _is_variation_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef" or "\u180b" <= char <= "\u180f"
