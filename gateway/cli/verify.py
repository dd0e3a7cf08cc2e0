"""``handrail verify``: receipts, offline, from files alone."""

from pathlib import Path
from typing import Annotated, Any

import typer
from handrail import Report, Trust, VerificationError, verify_receipt

from gateway.cli.command import command, noun
from gateway.cli.exits import Exit, unreadable
from gateway.cli.output import Output

app = noun("Verify receipts offline, from files alone.")


@command(app, example="verify receipts/*.json --trust trust.json", good="every receipt holds", negative="one does not")
def verify(
    out: Output,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Receipt files.", show_default=False)],
    trust: Annotated[Path, typer.Option(help="Trust document ('handrail keys trust'), from a channel you trust.")],
    steps: Annotated[bool, typer.Option("--steps", help="Show each numbered step.")] = False,
) -> Exit:
    """Verify receipt files against a trust document; no network is used."""
    trusted = Trust.load(trust)
    checked: list[tuple[Path, Report | VerificationError]] = []
    with out.progress("verifying", len(files)) as advance:
        for number, file in enumerate(files, start=1):
            checked.append((file, _check(file, trusted)))
            advance(number)
    document = {"origin": trusted.origin, "receipts": [_document(file, result) for file, result in checked]}
    out.show(document, lambda: _show(out, checked, steps))
    return Exit.GOOD if all(isinstance(result, Report) for _, result in checked) else Exit.NEGATIVE


def _check(file: Path, trust: Trust) -> Report | VerificationError:
    try:
        raw = file.read_bytes()
    except OSError as exc:
        raise unreadable(file, exc) from None
    try:
        return verify_receipt(raw, trust)
    except VerificationError as exc:
        return exc


def _document(file: Path, result: Report | VerificationError) -> dict[str, Any]:
    if isinstance(result, Report):
        return {"file": str(file), "verified": True, **result.document()}
    failed = {"number": result.step, "title": result.title, "reason": result.reason}
    return {"file": str(file), "verified": False, "failed_step": failed}


def _show(out: Output, checked: list[tuple[Path, Report | VerificationError]], steps: bool) -> None:
    out.table(
        ["file", "verified", "step", "call", "status", "log", "what is wrong"],
        (
            [file.name, "ok", result.step_id, f"{result.hand} {result.action}", result.status,
             f"{result.log_index} of {result.tree_size}", ""]
            if isinstance(result, Report)
            else [file.name, "failed", "", "", "", "", str(result)]
            for file, result in checked
        ),
    )  # fmt: skip
    if steps:
        for file, result in checked:
            if isinstance(result, Report):
                out.section(f"{file}", style="bold")
                for step in result.steps:
                    out.line(f"  {step.number}. {step.text}")
    good = sum(isinstance(result, Report) for _, result in checked)
    out.section(f"{good} of {len(checked)} receipt(s) hold.", style="green" if good == len(checked) else "red")
