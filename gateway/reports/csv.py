"""A report as CSV (RFC 4180) that a spreadsheet does not take for formulas."""

import csv as csv_
import io
import unicodedata
from typing import Final

from gateway.reports.document import Cell, Document
from gateway.safe import safe

_FORMULA: Final = frozenset("=+-@\t\r\n")
"""What makes a spreadsheet compute a cell; wide and other forms of these letters fold to them."""


def csv(report: Document) -> str:
    """The report's flat table: every cell quoted, lines ended by CR LF."""
    out = io.StringIO(newline="")
    writer = csv_.writer(out, quoting=csv_.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(report.flat.columns)
    writer.writerows([_cell(cell) for cell in row] for row in report.flat.rows)
    return out.getvalue()


def _cell(cell: Cell) -> str:
    """A text whose first letter would start a formula gets an apostrophe before it: a spreadsheet then shows text."""
    if cell is None or isinstance(cell, int):
        return "" if cell is None else str(cell)
    shown = safe(cell)
    first = unicodedata.normalize("NFKC", shown.lstrip())[:1]
    return f"'{shown}" if first in _FORMULA and first else shown
