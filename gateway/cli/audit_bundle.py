"""``handrail audit verify-bundle``: the stand-alone verifier, and a second decision by the enclosed policies."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from audit.verifier import report as reports
from audit.verifier.__main__ import from_arguments
from audit.verifier.check import verify
from audit.verifier.errors import EvidenceError
from audit.verifier.report import Report, Verdict
from gateway.cli.audit_redecide import Redecided, redecide
from gateway.cli.command import command, group
from gateway.cli.exits import Code, Exit, Stop, unreadable
from gateway.cli.options import PostQuantum
from gateway.cli.output import Output
from gateway.settings import load as load_settings

app = group()

_EXITS: Final = {
    reports.Exit.HOLDS: Exit.GOOD,
    reports.Exit.FAILED: Exit.NEGATIVE,
    reports.Exit.OPEN: Exit.WAITING,
}


@command(
    app,
    "verify-bundle",
    example="audit verify-bundle evidence.tar --key handrail.local/log+1a2b3c4d+AbCd...",
    good="everything in it holds",
    negative="something does not hold; each thing is named",
    waiting="nothing is wrong, but not everything that was asked is shown",
)
def verify_bundle(
    out: Output,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The file of evidence.", show_default=False)],
    key: Annotated[
        list[str] | None, typer.Option(metavar="VKEY", help="The log's verifier key, from a channel you trust. Repeat.")
    ] = None,
    trust: Annotated[Path | None, typer.Option(help="Trust document ('handrail keys trust').")] = None,
    witness: Annotated[list[str] | None, typer.Option(metavar="VKEY", help="A witness's verifier key. Repeat.")] = None,
    quorum: Annotated[int | None, typer.Option(min=1, help="How many must have cosigned. Default: all.")] = None,
    kept: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint that you kept; the log must still begin so. Repeat.")
    ] = None,
    post_quantum: PostQuantum = False,
    redecide_: Annotated[
        bool, typer.Option("--redecide", help="Decide each recorded step again by the enclosed policies.")
    ] = False,
    engine: Annotated[Literal["embedded", "opa"], typer.Option(help="What decides again.")] = "embedded",
) -> Exit:
    """Check a bundle of evidence, from files alone; no gateway is asked."""
    try:
        asked = from_arguments(key or [], trust, witness or [], quorum, kept or [], post_quantum)
    except EvidenceError as exc:
        raise _unusable(exc) from None
    except OSError as exc:
        raise unreadable(exc.filename, exc) from None
    try:
        with out.progress("checking", None), bundle.open("rb") as stream:
            report = verify(stream, asked)
    except EvidenceError as exc:
        raise _unusable(exc) from None
    except OSError as exc:
        raise unreadable(bundle, exc) from None
    again: list[Redecided] = []
    if redecide_ and report.exit is not reports.Exit.FAILED:
        with out.progress("deciding again", None):
            again = asyncio.run(redecide(bundle, engine, os.cpu_count() or 1, load_settings(None).policy))
        _conclude(report, again)
    document: dict[str, Any] = report.document()
    if redecide_:
        document["redecided"] = [one.document() for one in again]
    out.show(document, lambda: _show(out, report))
    return _EXITS[report.exit]


def _unusable(exc: EvidenceError) -> Stop:
    """What the reader gave beside the bundle is none, or is not enough for what was asked."""
    hint = "See 'handrail audit verify-bundle --help'; 'handrail keys trust' saves a gateway's trust document."
    return Stop(str(exc), hint, code=Code.FILE)


def _conclude(report: Report, again: list[Redecided]) -> None:
    """What deciding again shows."""
    same = sum(one.same for one in again)
    for one in again:
        for text in one.differences:
            report.failed("decisions", text)
        for text in one.open:
            report.add(Verdict.OPEN, "decisions", text)
    if same:
        report.proved(
            "decisions", f"{same} recorded decisions are what the enclosed policies decide on the same input."
        )
    elif not any(one.differences or one.open for one in again):
        text = "no evaluation is enclosed that could be decided again: ask for a bundle with --with-payloads."
        report.add(Verdict.OPEN, "decisions", text)


def _show(out: Output, report: Report) -> None:
    for line in report.lines():
        style = "green" if report.exit is reports.Exit.HOLDS else "red" if report.exit is reports.Exit.FAILED else ""
        out.line(line, style if line.startswith("VERDICT") else "")
