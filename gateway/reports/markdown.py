"""A report as Markdown. Text is no markup: what Markdown or HTML would read into it is a character reference."""

import re
from collections.abc import Iterator
from typing import Final

from gateway.reports.document import Cell, Document, Section, Table
from gateway.safe import safe

_SPECIAL: Final = re.compile(r"[\\`*_{}\[\]<>|~&@#!$^:=]|^(\s*)([-+]|[0-9]+[.)])(?=\s)|www(?=\.)")
_COLON_WITHIN: Final = re.compile(r"(?<=[0-9]):(?=[0-9])|: ")


def markdown(report: Document) -> str:
    """The text, ending in a line end."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def _lines(report: Document) -> Iterator[str]:
    yield f"# {text(report.title)}"
    yield ""
    yield from _table(Table(("about", ""), report.facts))
    for one in report.texts:
        yield from (text(one), "")
    for section in report.sections:
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    mark = f" ({text(section.mark)})" if section.mark else ""
    yield from (f"## {text(section.title)}{mark}", "")
    for one in section.texts:
        yield from (text(one), "")
    for table in section.tables:
        yield from _table(table)
    for caption, kept in section.kept:
        yield from (text(caption), "")
        yield from (f"    {line}" for line in safe(kept, lines=True).split("\n"))
        yield ""


def _table(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(map(text, table.columns))} |"
    yield "|" + "---|" * len(table.columns)
    for row in table.rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    yield ""


def _cell(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int) else text(cell or "")


def text(value: str) -> str:
    """``value`` such that Markdown shows its letters and nothing else, on one line."""
    plain = safe(value)
    # A colon in a time or before a space starts no address.
    kept = {match.start() for match in _COLON_WITHIN.finditer(plain)}
    return _SPECIAL.sub(
        lambda match: match[0] if match[0] == ":" and match.start() in kept else _references(match[0]), plain
    )


def _references(letters: str) -> str:
    return "".join(char if char.isspace() or char.isdigit() else f"&#{ord(char)};" for char in letters)
