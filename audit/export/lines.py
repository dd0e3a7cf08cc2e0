"""Exports of which every line stands for one entry, in the log's order: NDJSON, CSV, OCSF and CloudEvents.

A line names the index of its entry, so an export that broke off can be gone on with after the last whole line.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from audit.export import ocsf
from audit.query import StoredEntry
from gateway.entries import LABELS, EntryType

PAGE: Final = 500
"""Entries read at a time."""
CSV_COLUMNS: Final = (
    "index", "time", "type", "label", "tenant", "gateway", "context_id", "plan_id", "step_id", "principal", "hand",
    "action", "effect", "reasons", "policy_digest", "manifest_digest", "controls", "commitment", "facts", "origin",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\\t", "\\r", "\\n", "|", "%")
"""A cell that begins so is calculated by a spreadsheet (CWE-1236)."""


class Format(StrEnum):
    """How entries are exported."""

    BUNDLE = "bundle"
    NDJSON = "ndjson"
    CSV = "csv"
    OCSF = "ocsf"
    CLOUDEVENTS = "cloudevents"


@dataclass(frozen=True, slots=True)
class Lines:
    """A format of lines.

    Attributes:
        head: stands before the first line.
        line: an entry's line, with its end.
        index: the index that a line of the format names. Raises ``ValueError`` or ``LookupError`` where it is none.
    """

    media_type: str
    line: Callable[[StoredEntry], bytes]
    index: Callable[[bytes], int]
    head: bytes = b""


def ndjson(stored: StoredEntry) -> bytes:
    """``{index, label, entry}``; the entry stands there as the bytes that the log hashed."""
    about = orjson.dumps({"index": stored.index, "label": LABELS[EntryType(stored.code)]})
    return about[:-1] + b',"entry":' + stored.body + b"}\n"


def csv_line(stored: StoredEntry) -> bytes:
    """A row of :data:`CSV_COLUMNS` (RFC 4180). A list is parted by spaces, facts are JSON."""
    entry = orjson.loads(stored.body)
    entry |= {"index": stored.index, "label": LABELS[EntryType(stored.code)]}
    return _row([_cell(entry.get(name, "")) for name in CSV_COLUMNS])


def cloudevent(stored: StoredEntry) -> bytes:
    """A structured-mode CloudEvent, version 1.0: (``source``, ``id``) is the log and the entry's index."""
    entry = orjson.loads(stored.body)
    about: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(stored.index),
        "source": f"/{entry['origin'].lstrip('/')}",
        "type": f"handrail.audit.{LABELS[EntryType(stored.code)].replace(' ', '_')}.v{entry['v']}",
        "time": entry["time"],
        "datacontenttype": "application/json",
        "tenant": entry["tenant"],
        "sequence": f"{stored.index:020d}",
    }
    if "plan_id" in entry:
        about["subject"] = "/".join(entry[name] for name in ("plan_id", "step_id") if name in entry)
    return orjson.dumps(about)[:-1] + b',"data":' + stored.body + b"}\n"


def _cell(value: Any) -> str:
    if isinstance(value, list):
        text = " ".join(map(str, value))
    elif isinstance(value, dict):
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    else:
        text = str(value)
    if not text.isprintable():
        text = orjson.dumps(text).decode()[1:-1]  # a line end within a cell would be one of the file's
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(cells: list[str]) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\r\n").writerow(cells)
    return stream.getvalue().encode()


def _member(*path: str) -> Callable[[bytes], int]:
    def index(line: bytes) -> int:
        value = orjson.loads(line)
        for name in path:
            value = value[name]
        return int(value)

    return index


FORMATS: Final[dict[Format, Lines]] = {
    Format.NDJSON: Lines("application/x-ndjson", ndjson, _member("index")),
    Format.CSV: Lines("text/csv", csv_line, lambda line: int(line.partition(b",")[0]), head=_row(list(CSV_COLUMNS))),
    Format.OCSF: Lines("application/x-ndjson", ocsf.line, _member("metadata", "sequence")),
    Format.CLOUDEVENTS: Lines("application/x-ndjson", cloudevent, _member("id")),
}
