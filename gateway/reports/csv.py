"""A report as CSV (RFC 4180) that a spreadsheet does not take for formulas."""

import csv as csv_
import io

from gateway.reports.document import Cell, Document
from gateway.safe import safe, uncomputed


def csv(report: Document) -> str:
    """The report's flat table: every cell quoted, lines ended by CR LF."""
    out = io.StringIO(newline="")
    writer = csv_.writer(out, quoting=csv_.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(report.flat.columns)
    writer.writerows([_cell(cell) for cell in row] for row in report.flat.rows)
    return out.getvalue()


def _cell(cell: Cell) -> str:
    if cell is None or isinstance(cell, int):
        return "" if cell is None else str(cell)
    return uncomputed(safe(cell))
