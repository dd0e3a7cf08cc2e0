"""Evidence by control (the document of ``audit.assurance.report``) as a report."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from gateway.reports.document import Cell, Document, Section, Table

NOTICE: Final = (
    "This is what a log shows and lacks. It is evidence and not an opinion on whether a law or a standard is met; the "
    "identifiers are those of the sources, the words are ours."
)
STATES: Final = {
    "met": "met",
    "missing": "missing",
    "not_due": "not due yet",
    "not_applicable": "not called for",
    "operator": "kept by the operator",
}
"""State of an expectation -> words."""
STATUSES: Final = {"missing": "missing", "evidence": "evidence", "none": "no entry"}
"""Status of a control -> a word."""
BEGINNING: Final = "the beginning of the log"
_EPOCH: Final = "1970-01-01T00:00:00.000Z"
_COLUMNS: Final = ("control", "title", "status", "kind", "what", "state", "count", "first", "last", "detail", "remedy")


def controls_report(found: Mapping[str, Any]) -> Document:
    """The report on the document of ``GET /v1/controls/report``."""
    summary = found["summary"]
    counted = ", ".join(f"{summary[status]:,} {words}" for status, words in STATUSES.items())
    return Document(
        title=f"Evidence by control: {found['title']}",
        facts=(
            ("source", found["source"]),
            ("log", found["origin"]),
            ("tenant", found["tenant"]),
            ("period", period(found)),
            ("made at", found["made_at"]),
            ("covers", f"a log of {found['tree_size']:,} entries, of which {_range(found['range'])}"),
            ("controls", counted),
        ),
        texts=(NOTICE,),
        sections=(
            Section(title="What is missing", tables=(_missing(found["controls"]),)),
            *(_control(one) for one in found["controls"]),
            *_samples(found),
        ),
        flat=Table(_COLUMNS, [row for one in found["controls"] for row in _flat(one)]),
    )


def period(found: Mapping[str, Any]) -> str:
    """The time that a report is about."""
    return f"{BEGINNING if found['from'] == _EPOCH else found['from']} to {found['to']}"


def _range(positions: Mapping[str, int]) -> str:
    first, end = positions["first"], positions["end"]
    if end <= first:
        return "none lies in the period"
    gone = positions["dropped"]
    over = (
        f"; {gone:,} of them were dropped when their retention was over, and only those that stand count"
        if gone
        else ""
    )
    return f"{first:,} to {end - 1:,} lie in the period{over}"


def _missing(controls: Iterable[Mapping[str, Any]]) -> Table:
    """Each expectation that is not met, once, with the controls that it belongs to."""
    found: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
    for control in controls:
        for one in control["expectations"]:
            if one["state"] == "missing":
                found.setdefault(one["id"], (one, []))[1].append(control["id"])
    rows: list[tuple[Cell, ...]] = [
        (one["title"], one["detail"], one["remedy"], ", ".join(ids)) for one, ids in found.values()
    ]
    return Table(("expected", "found", "what to do", "controls"), rows or [("Nothing.", None, None, None)])


def _control(control: Mapping[str, Any]) -> Section:
    tables = []
    if control["expectations"]:
        rows: list[tuple[Cell, ...]] = [
            (one["title"], STATES[one["state"]], one["detail"], one["remedy"]) for one in control["expectations"]
        ]
        tables.append(Table(("expected", "state", "found", "what to do"), rows))
    if control["evidence"]:
        rows = [
            (f"{one['label']} ({one['type']})", one["count"], _place(one["first"]), _place(one["last"]))
            for one in control["evidence"]
        ]
        tables.append(Table(("entries", "count", "first", "last"), rows))
    texts = [] if tables else ["No entry in the period, and none is expected without an occasion."]
    if control["not_written_yet"]:
        texts.append(f"This version writes no entry of: {', '.join(control['not_written_yet'])}.")
    return Section(
        title=f"{control['id']}: {control['title']}",
        mark=STATUSES[control["status"]],
        texts=tuple(texts),
        tables=tuple(tables),
    )


def _place(place: Mapping[str, Any]) -> str:
    return f"{place['time']} (entry {place['index']})"


def _samples(found: Mapping[str, Any]) -> Iterator[Section]:
    if not found["samples"]:
        return
    yield Section(
        title="Samples",
        texts=(
            "Entries drawn by the root of the checkpoint below, which nobody knew when they were written.",
            "Each has its proof (c2sp.org/tlog-proof): from the SHA-256 of a zero byte and the entry to that root.",
        ),
        kept=(
            ("checkpoint", found["checkpoint"]),
            *(
                (f"entry {one['index']} ({one['type']})", f"{one['entry']}\n\n{one['proof']}")
                for one in found["samples"]
            ),
        ),
    )


def _flat(control: Mapping[str, Any]) -> Iterator[tuple[Cell, ...]]:
    head = (control["id"], control["title"], STATUSES[control["status"]])
    for one in control["expectations"]:
        state = STATES[one["state"]]
        yield (*head, "expectation", one["title"], state, None, None, None, one["detail"], one["remedy"])
    for one in control["evidence"]:
        what = f"{one['label']} ({one['type']})"
        yield (*head, "entries", what, None, one["count"], one["first"]["time"], one["last"]["time"], None, None)
    if not control["expectations"] and not control["evidence"]:
        yield (*head, None, None, None, None, None, None, None, None)
