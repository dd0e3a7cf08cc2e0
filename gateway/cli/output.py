"""What a command prints: tables for people, one JSON document for programs. Everything passes ``safe``."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gateway.safe import safe, safe_json

_STYLES: Final = {
    "succeeded": "green", "released": "green", "allow": "green", "granted": "green", "pinned": "green",
    "active": "green", "done": "green", "ok": "green", "kept": "green",
    "held": "yellow", "ask": "yellow", "running": "yellow", "deferred": "yellow", "open": "yellow",
    "waiting": "yellow", "unpinned": "yellow", "ambiguous": "yellow", "next": "yellow", "retiring": "yellow",
    "missing": "yellow", "asking": "yellow", "not shown": "yellow",
    "denied": "red", "failed": "red", "deny": "red", "refused": "red", "expired": "red", "voided": "red",
    "skipped": "red", "cancelled": "red", "drifted": "red", "unavailable": "red", "revoked": "red",
    "broken": "red",
}  # fmt: skip
"""Words that carry a verdict -> colour. The word itself is always printed too."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,}(?:[/.][A-Za-z0-9_.-]+)?(?:, [A-Za-z0-9_-]{16,})*")
_GAP: Final = "  "
_NARROWEST: Final = 12
"""Columns that a text is folded to at the least."""


class Output:
    """Writes to standard output, errors to standard error.

    Attributes:
        json: whether the caller asked for one JSON document instead of text.
    """

    def __init__(self, *, json_: bool = False) -> None:
        self.json = json_
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._errors = Console(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def interactive(self) -> bool:
        """Whether a person sits at the terminal."""
        return sys.stdin.isatty() and self._console.is_terminal

    @property
    def width(self) -> int:
        """Columns of the terminal, or of what stands for one."""
        return self._console.width

    def show(self, document: Any, people: Callable[[], None]) -> None:
        """Print ``document`` as JSON, or call ``people`` to print it for people."""
        if self.json:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
            sys.stdout.flush()  # whoever reads a pipe from a command that goes on (serve) must not wait for its end
        else:
            people()

    def raw(self, text: str) -> None:
        """Print ``text`` as it is: for what we made ourselves and programs read (a JWS, a configuration file)."""
        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def line(self, text: str, style: str = "") -> None:
        """One paragraph for people."""
        self._console.print(Text(safe(text), style=style), soft_wrap=True)

    def section(self, text: str, style: str = "") -> None:
        """A :meth:`line` with an empty one before it."""
        self._console.print()
        self.line(text, style)

    def block(self, value: Any) -> None:
        """A JSON value for people, one member a line."""
        self._console.print(Text(safe_json(value)), soft_wrap=True)

    def facts(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Names and values, one a line; empty values are left out. An id is not folded, and in a pipe nothing is."""
        shown = [(safe(name), _cell(value)) for name, value in pairs if value not in (None, "", [], {})]
        column = max((cell_len(name) for name, _ in shown), default=0)
        room = max(self.width - column - len(_GAP), _NARROWEST)
        for name, value in shown:
            whole = not self._console.is_terminal or _is_id(value)
            lines = value.split() if whole else value.wrap(self._console, room, overflow="fold")
            for number, line in enumerate(lines):
                label = Text(_padded("" if number else name, column), style="bold")
                self._console.print(Text.assemble(label, _GAP, line), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "Nothing.") -> None:
        """A table; ``empty`` is said where there is no row.

        In a pipe each row is one line, however long. At a terminal what is no id is folded where there is too little
        room; where the ids alone leave none, each row is shown as :meth:`facts`, so that every id stays whole.
        """
        cells = [[_cell(value) for value in row] for row in rows]
        if not cells:
            self.line(empty)
        elif not self._console.is_terminal:
            self._lines(columns, cells)
        elif self._fits(columns, cells):
            self._console.print(_folded(columns, cells))
        else:
            for row in cells:
                self.facts((name, cell) for name, cell in zip(columns, row, strict=True) if cell.plain)
                self._console.print()

    def _lines(self, columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> None:
        texts = [list(columns), *([cell.plain.replace("\n", "; ") for cell in row] for row in cells)]
        widths = [max(cell_len(row[number]) for row in texts) for number in range(len(columns))]
        for row in texts:
            padded = (_padded(text, width) for text, width in zip(row, widths, strict=True))
            self._console.print(Text(_GAP.join(padded).rstrip()), soft_wrap=True)

    def _fits(self, columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> bool:
        """Whether the ids leave each other column a little room."""
        needed = len(_GAP) * (len(columns) - 1)
        for number, name in enumerate(columns):
            longest = max(cell_len(line) for row in cells for line in (name, *row[number].plain.split("\n")))
            needed += longest if _has_id(cells, number) else min(longest, _NARROWEST)
        return needed <= self.width

    def note(self, text: str, style: str = "") -> None:
        """A remark beside the output, on standard error."""
        self._errors.print(Text(safe(text), style=style), soft_wrap=True)

    def error(self, detail: str, hint: str, code: str, facts: Mapping[str, Any] | None = None) -> None:
        """What is wrong and what to do next; as JSON on standard output where a program reads.

        Args:
            facts: what else a program may branch on; a fact never stands in for a member of the error's own.
        """
        if self.json:
            error = {**(facts or {}), "code": code, "detail": detail, "hint": hint}
            sys.stdout.write(json.dumps({"error": error}, indent=2) + "\n")
            return
        shown = said_facts(facts or {})
        said = f"{detail} ({code}{'; ' + shown if shown else ''})" if facts is not None else detail
        self._errors.print(Text.assemble(("error: ", "bold red"), safe(said)), soft_wrap=True)
        self._errors.print(Text(safe(hint)), soft_wrap=True)

    @contextmanager
    def busy(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show on standard error, where that is a terminal, that something is awaited; call what it gives with what it
        is now.
        """
        if self.json or not self._errors.is_terminal:
            yield lambda _: None
            return
        with self._errors.status(Text(safe(what))) as shown:
            yield lambda now: shown.update(Text(safe(now)))

    @contextmanager
    def progress(self, title: str, total: int | None) -> Iterator[Callable[..., None]]:
        """A progress bar on standard error, where that is a terminal; call what it gives with (things done, things in
        all).
        """
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        hidden = self.json or not self._errors.is_terminal
        with Progress(*columns, console=self._errors, transient=True, disable=hidden) as bar:
            task = bar.add_task(title, total=total)
            yield lambda done, all_=total: bar.update(task, completed=done, total=all_)


def said_facts(facts: Mapping[str, Any]) -> str:
    """Facts for people, in one line: ``name=value``, and as JSON what is no text."""
    return ", ".join(f"{name}={_said(value)}" for name, value in facts.items())


def counted(count: int, one: str, many: str = "") -> str:
    """A count of things, in the number that it has.

    Args:
        many: where it is not ``one`` with an s.
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def how_often(count: int) -> str:
    """A count of times, in words where it is one."""
    return "once" if count == 1 else f"{count} times"


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _folded(columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(columns):
        if _has_id(cells, number):
            longest = max(cell_len(line) for row in cells for line in row[number].plain.split("\n"))
            table.add_column(name, no_wrap=True, min_width=max(longest, cell_len(name)))
        else:
            table.add_column(name, overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _has_id(cells: Sequence[Sequence[Text]], number: int) -> bool:
    return any(_is_id(row[number]) for row in cells)


def _is_id(value: Text) -> bool:
    """Whether it is something to be copied whole: an id, a digest, the name of a key."""
    return _ID.fullmatch(value.plain) is not None


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - cell_len(text))


def _cell(value: Any) -> Text:
    if isinstance(value, Text):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return Text(", ".join(safe(_said(item)) for item in value))
    shown = safe(_said(value) if isinstance(value, dict) else value, lines=True)
    return Text(shown, style=_STYLES.get(shown, ""))
