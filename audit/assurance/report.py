"""What the log shows for each control of a catalogue in a period, and what it lacks. Synchronous: call in a thread."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection

from audit.assurance.catalogue import Catalogue, Control, Expectation
from audit.assurance.evidence import Stretch, Tally, silences
from audit.assurance.steps import Progress, Steps, unseen
from audit.checkpoint import note_text, parse_checkpoint, tlog_proof
from audit.errors import LogUnavailable
from audit.reader import Reader
from gateway.entries import LABELS, UNWRITTEN, EntryType
from gateway.model import DEFAULT_TENANT
from gateway.times import format_time

SAMPLES_MAX: Final = 10
_SILENCES_MAX: Final = 20


class Status(StrEnum):
    """Of a control."""

    MISSING = "missing"
    """Something that is expected is not there."""
    EVIDENCE = "evidence"
    NONE = "none"
    """No entry, and none was expected."""


class Met(StrEnum):
    """Whether an expectation is met."""

    MET = "met"
    MISSING = "missing"
    NOT_DUE = "not_due"
    """The log is younger than the time within which it is expected."""
    NOT_APPLICABLE = "not_applicable"
    """Nothing happened that would call for it."""
    OPERATOR = "operator"
    """It stands in the tenant of the gateway's operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """What a report is asked for.

    Attributes:
        since, until: the period, in seconds since the epoch.
        now: seconds since the epoch.
        samples: entries with their proofs for each type, at most :data:`SAMPLES_MAX`.
    """

    catalogue: Catalogue
    tenant: str
    since: float
    until: float
    now: float
    samples: int = 2


def report(reader: Reader, asked: ReportRequest, progress: Progress = unseen) -> dict[str, Any]:
    """The report as a JSON document. It covers the log as the newest stored checkpoint signs it.

    Samples are drawn by the checkpoint's root, which nobody knew when the entries were written. Between statements it
    holds no snapshot: the log only grows, so it needs none, and nothing waits for it, neither SQLite's write-ahead log
    nor a partition that is to be dropped.

    Args:
        progress: called with steps done and steps in all, between statements; what it raises ends the report.

    Raises:
        LogUnavailable: the database cannot be read, or no checkpoint was ever signed.
    """
    stored = reader.checkpoint()
    if stored is None:
        raise LogUnavailable("no checkpoint was signed yet")
    size, note = stored
    checkpoint = parse_checkpoint(note_text(note))
    kinds = sorted({kind for control in asked.catalogue.controls for kind in control.entries})
    samples: list[dict[str, Any]] = []
    expected = [expectation for control in asked.catalogue.controls for expectation in control.expects]
    steps = Steps(len(kinds) + len(expected), progress)
    with reader.connect() as connection:

        def rest() -> None:
            connection.rollback()
            steps.say()

        stretch = Stretch.between(connection, asked.tenant, asked.since, asked.until, size, rest)
        dropped = stretch.dropped()
        tallies: dict[EntryType, Tally] = {}
        drawn: list[tuple[EntryType, int]] = []
        for kind in kinds:
            rest()
            tally = stretch.tally(kind)
            if tally is not None:
                tallies[kind] = tally
                drawn += [(kind, index) for index in stretch.drawn(kind, tally, checkpoint.root, asked.samples)]
            steps.done += 1
        judged = {}
        for expectation in expected:
            rest()
            judged[expectation.id] = _judge(connection, stretch, expectation, asked)
            steps.done += 1
    for kind, index in drawn:
        steps.say()
        proof = tlog_proof(index, reader.inclusion(index, size), note)
        samples.append(
            {"type": str(kind), "index": index, "entry": reader.entry(index).body.decode("ascii"), "proof": proof}
        )
    steps.say()
    controls = [_control(control, tallies, judged) for control in asked.catalogue.controls]
    return {
        "v": 1,
        "framework": str(asked.catalogue.framework),
        "title": asked.catalogue.title,
        "source": asked.catalogue.source,
        "origin": checkpoint.origin,
        "tenant": asked.tenant,
        "from": format_time(asked.since),
        "to": format_time(asked.until),
        "made_at": format_time(asked.now),
        "tree_size": size,
        "range": {"first": stretch.first, "end": stretch.end, "dropped": dropped},
        "checkpoint": note,
        "summary": {str(status): sum(one["status"] == status for one in controls) for status in Status},
        "controls": controls,
        "samples": samples,
    }


def _control(
    control: Control, tallies: Mapping[EntryType, Tally], judged: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    evidence = [_evidence(kind, tallies[kind]) for kind in control.entries if kind in tallies]
    expectations = [judged[expectation.id] for expectation in control.expects]
    if any(one["state"] == Met.MISSING for one in expectations):
        status = Status.MISSING
    else:
        shown = evidence or any(one["state"] == Met.MET for one in expectations)
        status = Status.EVIDENCE if shown else Status.NONE
    return {
        "id": control.id,
        "title": control.title,
        "area": control.area.title,
        "status": str(status),
        "evidence": evidence,
        "expectations": expectations,
        "not_written_yet": sorted(str(kind) for kind in control.entries if kind in UNWRITTEN),
    }


def _evidence(kind: EntryType, tally: Tally) -> dict[str, Any]:
    return {
        "type": str(kind),
        "label": LABELS[kind],
        "count": tally.count,
        "first": {"index": tally.first.index, "time": tally.first.time},
        "last": {"index": tally.last.index, "time": tally.last.time},
    }


def _judge(connection: Connection, stretch: Stretch, expected: Expectation, asked: ReportRequest) -> dict[str, Any]:
    state, detail = _state(connection, stretch, expected, asked)
    return {
        "id": expected.id,
        "title": expected.title,
        "entries": [str(kind) for kind in expected.entries],
        "state": str(state),
        "detail": detail,
        "remedy": expected.remedy if state is Met.MISSING else "",
    }


def _state(connection: Connection, stretch: Stretch, expected: Expectation, asked: ReportRequest) -> tuple[Met, str]:
    if expected.gateway and asked.tenant != DEFAULT_TENANT:
        return Met.OPERATOR, "Kept by the gateway's operator: ask for the operator's report."
    if expected.when and not stretch.count(expected.when):
        untold = " Of entries of the period that were dropped nobody can tell." if stretch.dropped() else ""
        return Met.NOT_APPLICABLE, f"Expected only beside: {_words(expected.when)}.{untold}"
    if expected.every_days is None:
        where = stretch.whole() if expected.ever else stretch
        count = where.count(expected.entries)
        period = "so far" if expected.ever else "in the period"
        if count >= expected.at_least:
            return Met.MET, f"{count:,} {period}."
        return Met.MISSING, _unwritten(expected) or f"{count:,} {period}; expected at least {expected.at_least:,}."
    end = min(asked.until, asked.now)
    gaps = silences(connection, stretch, expected.entries, expected.every_days, asked.since, end)
    if gaps:
        shown = "; ".join(
            f"{format_time(gap.since)[:10]} to {format_time(gap.until)[:10]} ({gap.days:.0f} days)"
            for gap in gaps[:_SILENCES_MAX]
        )
        more = f"; {len(gaps) - _SILENCES_MAX} more" if len(gaps) > _SILENCES_MAX else ""
        detail = f"None for more than {expected.every_days} days: {shown}{more}."
        return Met.MISSING, _unwritten(expected) or detail
    if stretch.whole().last_of(expected.entries) is None:
        return Met.NOT_DUE, f"None yet; due within {expected.every_days} days of the log's beginning."
    return Met.MET, f"Never more than {expected.every_days} days apart."


def _unwritten(expected: Expectation) -> str:
    if not UNWRITTEN.issuperset(expected.entries):
        return ""
    return f"This version of Handrail writes no such entry ({_words(expected.entries)}): it must be shown otherwise."


def _words(kinds: Iterable[EntryType]) -> str:
    return ", ".join(LABELS[kind] for kind in kinds)
