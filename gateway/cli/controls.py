"""``handrail controls``: evidence by control, access reviews, and the posture of a configuration."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from audit.assurance.catalogue import Framework, areas, catalogues
from audit.assurance.report import SAMPLES_MAX
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.cli.saving import Force, refuse_existing, save
from gateway.cli.times import moment
from gateway.posture.model import Severity, State
from gateway.reports.access import access_review as access_document
from gateway.reports.controls import STATUSES, controls_report
from gateway.reports.csv import csv
from gateway.reports.document import Document
from gateway.reports.html import html
from gateway.reports.markdown import markdown
from gateway.reports.oscal import oscal
from gateway.reports.processing import record_of_processing
from gateway.reports.responsibilities import responsibilities as matrix_of
from gateway.reports.responsibilities import responsibility_matrix
from gateway.times import format_time

app = noun("controls")


class Format(StrEnum):
    """How a report is shown."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"
    MARKDOWN = "markdown"
    CSV = "csv"


class ReportFormat(StrEnum):
    """How evidence by control is shown."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"
    MARKDOWN = "markdown"
    CSV = "csv"
    OSCAL = "oscal"


Shown = Annotated[
    Format | None,
    typer.Option(
        "--format", metavar="FORMAT", help="table, json, html, markdown or csv. Default: as --out ends, or table."
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Write it to this file.")]
From = Annotated[str | None, typer.Option("--from", help="Beginning: 2026-01-31, or 90d. Default: of the log.")]
To = Annotated[str | None, typer.Option("--to", help="End, not included. Default: now.")]
Frameworks = Annotated[list[Framework] | None, typer.Option("--framework", help="Only these. Repeat. Default: all.")]


@command(
    app,
    example="controls report --framework gdpr --from 90d --out gdpr.html",
    good="nothing that is expected is missing",
    negative="something is",
)
def report(
    session: Session,
    framework: Annotated[Framework, typer.Option(help="Whose controls.")],
    from_: From = None,
    to: To = None,
    samples: Annotated[int, typer.Option(min=0, max=SAMPLES_MAX, help="Entries with proofs, of each type.")] = 2,
    format_: Annotated[
        ReportFormat | None,
        typer.Option(
            "--format", metavar="FORMAT", help="table, json, html, markdown, csv or oscal. Default as elsewhere."
        ),
    ] = None,
    out_file: Out = None,
    force: Force = False,
) -> Exit:
    """Say for each control what the log shows and what it lacks; asking is recorded."""
    out = session.out
    chosen = ReportFormat(_chosen(format_, out_file, force=force))
    with out.progress("reading the log", None) as advance:
        found = session.client.controls_report_watched(str(framework), advance, **_period(from_, to), samples=samples)
    if chosen is ReportFormat.OSCAL:
        _deliver(out, json.dumps(oscal(found), indent=2) + "\n", out_file, force=force)
    else:
        _show(out, found, controls_report, Format(chosen), out_file, force=force)
    if out_file is not None or chosen is ReportFormat.TABLE:
        counted = ", ".join(f"{found['summary'][status]} {words}" for status, words in STATUSES.items())
        _remark(out, f"{len(found['controls'])} controls: {counted}.")
    return Exit.NEGATIVE if found["summary"]["missing"] else Exit.GOOD


@command(app, example="controls access-review --format csv --out review.csv", good="it was drawn up")
def access_review(
    session: Session,
    at: Annotated[str | None, typer.Option(help="A date or time of the past, or 30d. Default: now.")] = None,
    format_: Shown = None,
    out_file: Out = None,
    force: Force = False,
) -> None:
    """Say who could do what; of now, it is recorded as an access review."""
    chosen = Format(_chosen(format_, out_file, force=force))
    found = session.client.access_review(None if at is None else format_time(moment(at, "--at", time.time())))
    _show(session.out, found, access_document, chosen, out_file, force=force)


@command(app, example="controls processing-record --format markdown --out processing.md", good="it was drawn up")
def processing_record(
    session: Session,
    from_: From = None,
    to: To = None,
    format_: Shown = None,
    out_file: Out = None,
    force: Force = False,
) -> None:
    """Draw up the record of processing activities (GDPR, article 30); asking is recorded."""
    chosen = Format(_chosen(format_, out_file, force=force))
    with session.out.progress("reading the log", None) as advance:
        found = session.client.processing_record_watched(advance, **_period(from_, to))
    _show(session.out, found, record_of_processing, chosen, out_file, force=force)


@command(app, example="controls responsibilities --framework ai-act --format markdown", good="it was shown")
def responsibilities(
    out: Output,
    framework: Frameworks = None,
    format_: Shown = None,
    out_file: Out = None,
    force: Force = False,
) -> None:
    """Say who answers for what: the provider of the brain, the operators of the gateway and of a hand."""
    chosen = Format(_chosen(format_, out_file, force=force))
    known = catalogues()
    found = matrix_of(areas(), [known[name] for name in framework or tuple(Framework)])
    _show(out, found, responsibility_matrix, chosen, out_file, force=force, private=False)


class FailOn(StrEnum):
    """The least severity that makes a scan fail."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    NONE = "none"


@command(
    app,
    example="controls scan --config handrail.toml --fail-on medium",
    good="no check failed, or none that counts",
    negative="a check failed, or could not be made",
)
def scan(
    out: Output,
    config: Config = None,
    framework: Frameworks = None,
    fail_on: Annotated[FailOn, typer.Option(help="The least severity that makes it exit 1.")] = FailOn.LOW,
) -> Exit:
    """Check this machine's configuration, home and database against the controls; it needs no gateway."""
    from gateway.posture.scan import scan as look  # noqa: PLC0415 - loads every part of a gateway
    from gateway.settings import load  # noqa: PLC0415

    wanted = framework or list(Framework)
    findings = [one for one in look(load(config), wanted) if one.controls or framework is None]
    document = {"findings": [asdict(one) for one in findings]}
    out.show(
        document,
        lambda: out.table(
            ["check", "state", "severity", "found", "to do", "controls"],
            (
                [one.check, str(one.state), str(one.severity), one.detail, one.remedy, _ids(one.controls)]
                for one in findings
            ),
        ),
    )
    if fail_on is FailOn.NONE:
        return Exit.GOOD
    least = list(Severity).index(Severity(fail_on))
    failed = [one for one in findings if one.state in {State.FAIL, State.UNKNOWN}]
    return Exit.NEGATIVE if any(list(Severity).index(one.severity) >= least for one in failed) else Exit.GOOD


def _ids(controls: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{framework} {', '.join(ids)}" for framework, ids in controls.items())


_WRITERS: Final[Mapping[Format, Callable[[Document], str | bytes]]] = {
    Format.HTML: html,
    Format.MARKDOWN: markdown,
    Format.CSV: csv,
}


_SUFFIXES: Final = {".html": Format.HTML, ".md": Format.MARKDOWN, ".csv": Format.CSV}


def _chosen(format_: Format | ReportFormat | None, file: Path | None, *, force: bool) -> str:
    """As what a report is shown. What is wrong is said before anybody is asked, and the question is on record."""
    if file is None:
        return format_ or Format.TABLE
    refuse_existing(file, force=force)
    if format_ == Format.TABLE:
        raise Stop("--out takes no table", "Give --format html, markdown, csv or json.")
    return format_ or _SUFFIXES.get(file.suffix, Format.JSON)


def _period(since: str | None, until: str | None) -> dict[str, str | None]:
    now = time.time()
    found = {"from": since, "to": until}
    times = {name: None if text is None else moment(text, f"--{name}", now) for name, text in found.items()}
    begin, end = times["from"], times["to"]
    if begin is not None and begin >= (now if end is None else end):
        raise Stop("--from is not before --to", "--from 90d means from ninety days ago.")
    return {name: None if value is None else format_time(value) for name, value in times.items()}


def _show(
    out: Output,
    found: dict[str, Any],
    build: Callable[[Mapping[str, Any]], Document],
    format_: Format,
    file: Path | None,
    *,
    force: bool,
    private: bool = True,
) -> None:
    """Print a report, or write it. ``--json`` wins over ``--format`` where it is printed."""
    if format_ is Format.JSON or (out.json and file is None):
        _deliver(out, json.dumps(found, indent=2) + "\n", file, force=force, private=private)
        return
    report_ = build(found)
    if format_ is Format.TABLE:
        _print(out, report_)
        return
    _deliver(out, _WRITERS[format_](report_), file, force=force, private=private)


def _deliver(out: Output, content: str | bytes, file: Path | None, *, force: bool, private: bool = True) -> None:
    if file is None:
        out.raw(content if isinstance(content, str) else content.decode())
        return
    save(file, content, force=force, private=private)
    out.show({"file": str(file)}, lambda: out.line(f"wrote {file}"))


def _remark(out: Output, text: str) -> None:
    if not out.json:
        out.note(text)


def _print(out: Output, report_: Document) -> None:
    """For a terminal: the sections without what is kept letter by letter."""
    out.line(report_.title, style="bold")
    out.facts(report_.facts)
    for section in report_.sections:
        out.section(f"{section.title}{f' [{section.mark}]' if section.mark else ''}", style="bold")
        for text in section.texts:
            out.line(text)
        for table in section.tables:
            out.table(list(table.columns), [list(row) for row in table.rows])
