"""What a report is made of, whatever it is shown as: titles, sentences, tables and texts to be kept as they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Cell: TypeAlias = "str | int | None"


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of one length."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a document.

    Attributes:
        mark: one word that says how it stands, where there is one.
        texts: paragraphs.
        kept: (caption, text) of what is shown letter by letter.
    """

    title: str
    mark: str = ""
    texts: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A report.

    Attributes:
        facts: names and values at its head.
        flat: the whole of it as one table, for CSV.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    flat: Table
    texts: tuple[str, ...] = field(default=())
