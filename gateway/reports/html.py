"""A report as one HTML file: no script, nothing from elsewhere, readable on a screen and on paper. All text is escaped
by being text (``gateway.console.html``).
"""

import base64
import hashlib
from collections.abc import Iterator
from typing import Final

from gateway.console.html import Markup, document, element
from gateway.reports.document import Cell, Document, Section, Table

STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; padding-top: .6rem; border-top: 1px solid #ccc; break-after: avoid; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 0 1rem; }
dt { color: #555; }
dd { margin: 0; overflow-wrap: anywhere; }
p { margin: .4rem 0; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #e2e2e2;
  overflow-wrap: anywhere; }
th { color: #555; font-weight: 600; min-width: 4.8rem; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { font: 12px/1.4 ui-monospace, monospace; background: #f6f6f6; padding: .6rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
figure { margin: .6rem 0; }
figcaption { color: #555; font-size: .92rem; }
.mark { font-size: .8rem; font-weight: 600; padding: .05rem .45rem; border: 1px solid currentColor;
  border-radius: .6rem; margin-left: .5rem; color: #444; white-space: nowrap; }
.mark.missing, .mark.fail { color: #a40000; }
.mark.evidence, .mark.pass, .mark.met { color: #0b6b2d; }
@media print {
  body { margin: 0; max-width: none; font-size: 10pt; }
  h2 { margin-top: 1.2rem; }
  tr, figure { break-inside: avoid; }
}
"""
_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"


def html(report: Document) -> bytes:
    """The file."""
    head = (
        element("meta", http_equiv="content-security-policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("style", STYLE),
    )
    return document(report.title, head, list(_body(report)))


def _body(report: Document) -> Iterator[Markup]:
    yield element("h1", report.title)
    facts = [(element("dt", name), element("dd", value)) for name, value in report.facts]
    yield element("dl", facts)
    for text in report.texts:
        yield element("p", text)
    for section in report.sections:
        yield from _section(section)


def _section(section: Section) -> Iterator[Markup]:
    yield element("h2", section.title, _mark(section.mark) if section.mark else None)
    for text in section.texts:
        yield element("p", text)
    for table in section.tables:
        yield _table(table)
    for caption, text in section.kept:
        yield element("figure", element("figcaption", caption), element("pre", text))


def _mark(word: str) -> Markup:
    return element("span", word, class_=f"mark {word.replace(' ', '-')}")


def _table(table: Table) -> Markup:
    head = element("tr", [element("th", column, scope="col") for column in table.columns])
    rows = [element("tr", [_cell(cell) for cell in row]) for row in table.rows]
    return element("table", element("thead", head), element("tbody", rows))


def _cell(cell: Cell) -> Markup:
    return element("td", f"{cell:,}", class_="number") if isinstance(cell, int) else element("td", cell)
