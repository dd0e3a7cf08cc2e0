"""``handrail verify``: receipts and people's answers, offline, from files alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from handrail import (
    MalformedError,
    ReceiptReport,
    Trust,
    VerificationError,
    VerifiedAnswer,
    verify_answers,
    verify_receipt,
)
from handrail.strict import parse

from gateway.cli.command import command, noun
from gateway.cli.exits import Exit, Stop, unreadable
from gateway.cli.log_notes import Needed, Witness, quorum
from gateway.cli.options import PostQuantum, both_required
from gateway.cli.output import Output, counted
from gateway.rendering import moment

app = noun("verify")

Result = ReceiptReport | list[VerifiedAnswer] | VerificationError | MalformedError
Approvers = dict[str, list[dict[str, str]]]
_KEYS = "Give a JWK that the approver gave you, or save 'handrail principals keys ID --json'."


@command(app, example="verify receipts/*.json --trust trust.json", good="every file holds", negative="one does not")
def verify(
    out: Output,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Files of receipts or answers.", show_default=False)
    ],
    trust: Annotated[Path, typer.Option(help="Trust document ('handrail keys trust'), from a channel you trust.")],
    approver: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=FILE", help="An approver's public keys: a JWK, or 'principals keys --json'."),
    ] = None,
    witness: Witness = None,
    needed: Needed = None,
    post_quantum: PostQuantum = False,
    steps: Annotated[bool, typer.Option("--steps", help="Show each numbered step of a receipt.")] = False,
) -> Exit:
    """Verify files of receipts and answers against a trust document; no network is used.

    Whose key is whose is for you to say (--approver, --witness): what the gateway says of it is what you are checking.
    """
    trusted = replace(Trust.load(trust), quorum=quorum(witness, needed))
    if post_quantum:
        trusted = both_required(trusted)
    approvers = _approvers(approver or [])
    checked: list[tuple[Path, Result]] = []
    with out.progress("verifying", len(files)) as advance:
        for number, file in enumerate(files, start=1):
            checked.append((file, _check(file, trusted, approvers)))
            advance(number)
    receipts = [(file, result) for file, result in checked if not _of_answers(result)]
    answers = [(file, result) for file, result in checked if _of_answers(result)]
    document: dict[str, Any] = {"origin": trusted.origin, "receipts": [_document(*one) for one in receipts]}
    if answers:
        document["answers"] = [_document(*one) for one in answers]
    out.show(document, lambda: _show(out, receipts, answers, steps))
    return Exit.NEGATIVE if any(_fails(result) for _, result in checked) else Exit.GOOD


def _of_answers(result: Result) -> bool:
    return isinstance(result, list | MalformedError)


def _fails(result: Result) -> bool:
    return isinstance(result, VerificationError | MalformedError)


def _approvers(given: Sequence[str]) -> Approvers:
    found: Approvers = {}
    for one in given:
        name, mark, file = one.partition("=")
        if not name or not mark:
            raise Stop(f"--approver {one}: not ID=FILE", "Name whose keys are in the file: --approver bob=bob.json.")
        try:
            document = parse(Path(file).read_bytes())
        except OSError as exc:
            raise unreadable(file, exc) from None
        except MalformedError as exc:
            raise Stop(f"{file}: {exc}", _KEYS) from None
        listed = document.get("security_keys") if isinstance(document, dict) else None
        keys: list[Any] = [document]
        if isinstance(listed, list):
            keys = [key.get("jwk") for key in listed if isinstance(key, dict)]
        if not keys or not all(isinstance(key, dict) and "kty" in key for key in keys):
            raise Stop(f"{file}: no public keys in it", _KEYS)
        found.setdefault(name, []).extend(keys)
    return found


def _check(file: Path, trust: Trust, approvers: Approvers) -> Result:
    try:
        raw = file.read_bytes()
    except OSError as exc:
        raise unreadable(file, exc) from None
    try:
        document = parse(raw)
    except MalformedError:
        document = None
    if isinstance(document, dict) and "receipt" not in document and {"answers", "attested_by"} & document.keys():
        try:
            return verify_answers(raw, trust, approvers)
        except MalformedError as exc:
            return exc
    try:
        return verify_receipt(raw, trust)
    except VerificationError as exc:
        return exc


def _document(file: Path, result: Result) -> dict[str, Any]:
    if isinstance(result, ReceiptReport):
        return {"file": str(file), "verified": True, **result.document()}
    if isinstance(result, list):
        return {"file": str(file), "verified": True, "answers": [answer.document() for answer in result]}
    if isinstance(result, MalformedError):
        return {"file": str(file), "verified": False, "reason": str(result)}
    failed = {"number": result.step, "title": result.title, "reason": result.reason}
    return {"file": str(file), "verified": False, "failed_step": failed}


def _show(out: Output, receipts: list[tuple[Path, Result]], answers: list[tuple[Path, Result]], steps: bool) -> None:
    if receipts:
        _show_receipts(out, receipts, steps)
    if answers:
        _show_answers(out, answers)


def _show_receipts(out: Output, checked: list[tuple[Path, Result]], steps: bool) -> None:
    out.table(
        ["file", "verified", "step", "call", "status", "log", "what is wrong"],
        (
            [file.name, "ok", result.step_id, f"{result.hand} {result.action}", result.status,
             f"{result.log_index} of {result.tree_size}", ""]
            if isinstance(result, ReceiptReport)
            else [file.name, "failed", "", "", "", "", str(result)]
            for file, result in checked
        ),
    )  # fmt: skip
    if steps:
        for file, result in checked:
            if isinstance(result, ReceiptReport):
                out.section(f"{file}", style="bold")
                for step in result.steps:
                    out.line(f"  {step.number}. {step.text}")
    _count(out, checked, "receipt")


def _show_answers(out: Output, checked: list[tuple[Path, Result]]) -> None:
    rows: list[list[Any]] = []
    for file, result in checked:
        if isinstance(result, list):
            rows += [
                [file.name, "ok", one.answer, one.approver, one.attested_by, moment(one.issued_at),
                 f"{one.binding['hand']} {one.binding['action']}", one.binding["args_sha256"], one.log_index, ""]
                for one in result
            ]  # fmt: skip
        else:
            rows.append([file.name, "failed", *[""] * 7, str(result)])
    names = ["file", "verified", "answer", "approver", "signed by", "at", "call", "SHA-256 of its args", "log", "what is wrong"]  # fmt: skip # noqa: E501
    out.table(names, rows)
    _count(out, checked, "file of answers", "files of answers")


def _count(out: Output, checked: list[tuple[Path, Result]], one: str, many: str = "") -> None:
    good = sum(not _fails(result) for _, result in checked)
    holds = "holds" if len(checked) == 1 else "hold"
    style = "green" if good == len(checked) else "red"
    out.section(f"{good} of {counted(len(checked), one, many)} {holds}.", style=style)
