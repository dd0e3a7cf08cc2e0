"""``handrail approvals``: list, watch, show, approve and refuse held steps."""

import json
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from handrail import SigningKey, check_shown
from handrail.views import ApprovalPage, ApprovalView

from gateway.cli.asking import ask_for
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Key, Yes
from gateway.cli.output import Output, counted
from gateway.cli.saving import Force, save
from gateway.rendering import moment, render, standing

app = noun("approvals")

ApprovalId = Annotated[str, typer.Argument(metavar="ID", help="As 'approvals list' shows it.")]


@command(app, "list", example="approvals list --limit 5", good="they were listed")
def list_(
    session: Session,
    all_: Annotated[bool, typer.Option("--all", help="Answered ones too.")] = False,
    after: Annotated[str | None, typer.Option(help="Only those that follow this one.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Requests on one page.")] = None,
) -> None:
    """List approval requests that wait for an answer, newest first."""
    page = session.client.approvals(status=None if all_ else "open", after=after, limit=limit)
    session.out.show(page, lambda: _show_page(session.out, page))


@command(app, example="approvals approve ID", good="the call was allowed", waiting="more approvers are needed")
def approve(session: Session, approval_id: ApprovalId, key: Key = None, yes: Yes = False) -> Exit:
    """Allow one exact call; shows it first and asks for the word 'approve'."""
    return _answer(session, approval_id, key, yes, "approve")


@command(app, example="approvals refuse ID", good="the call was refused")
def refuse(session: Session, approval_id: ApprovalId, key: Key = None, yes: Yes = False) -> Exit:
    """Refuse one exact call; shows it first and asks for the word 'refuse'."""
    return _answer(session, approval_id, key, yes, "refuse")


@command(
    app,
    example="approvals show ID --whole",
    good="it was granted",
    negative="it was refused, expired or voided",
    waiting="it waits for an answer",
)
def show(
    session: Session,
    approval_id: ApprovalId,
    whole: Annotated[bool, typer.Option("--whole", help="Cut no value, however long.")] = False,
) -> Exit:
    """Show one request: the exact call, its reasons, who asked, and how far it is."""
    shown = session.client.approval(approval_id)
    if shown.get("args") is not None:
        check_shown(dict(shown))
    session.out.show(shown, lambda: session.out.raw(render(shown, whole=whole).text(session.out.width)))
    return _standing(shown.get("status"))


@command(app, example="approvals answers ID --out answers.json", good="they were saved", waiting="nobody has answered")
def answers(
    session: Session,
    approval_id: ApprovalId,
    out: Annotated[Path, typer.Option(help="File for the answers.")],
    force: Force = False,
) -> Exit:
    """Save the answers to a request, each with its proof, as a private file for 'handrail verify'."""
    found = {"approval_id": approval_id, "answers": session.client.answers(approval_id)}
    if not found["answers"]:
        session.out.note("Nobody has answered this request yet.")
        return Exit.WAITING
    save(out, json.dumps(found), force=force, private=True)
    document = {"file": str(out), "answers": len(found["answers"])}
    session.out.show(document, lambda: session.out.line(f"{counted(len(found['answers']), 'answer')} saved in {out}."))
    return Exit.GOOD


@command(app, example="approvals watch --for 60", good="the time is over, or it was interrupted")
def watch(
    session: Session,
    seconds: Annotated[float | None, typer.Option("--for", min=0, help="Stop after so many seconds.")] = None,
    interval: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
) -> Exit:
    """Print each request that waits, as it comes, until interrupted; with --json one document a line."""
    ends_at = None if seconds is None else time.monotonic() + seconds
    known: set[str] = set()
    try:
        while True:
            for request in _new(session, known):
                known.add(str(request["id"]))
                if session.out.json:
                    session.out.raw(json.dumps(request))
                else:
                    _show_page(session.out, {"approvals": [request]})
            if ends_at is not None and time.monotonic() + interval > ends_at:
                return Exit.GOOD
            time.sleep(interval)
    except KeyboardInterrupt:
        return Exit.GOOD


def _new(session: Session, known: set[str]) -> list[ApprovalView]:
    """Requests not seen before, oldest first. They come newest first, so a page with a known one ends the search."""
    found: list[ApprovalView] = []
    after: str | None = None
    while True:
        page = session.client.approvals(status="open", after=after)
        fresh = [request for request in page["approvals"] if request["id"] not in known]
        found += fresh
        after = page.get("next")
        if after is None or len(fresh) < len(page["approvals"]):
            return found[::-1]


def _show_page(out: Output, page: ApprovalPage) -> None:
    rows = (
        [
            item.get("id"),
            item.get("status") if item.get("asked", 1) == 1 else f"{item.get('status')}, asked anew",
            item.get("hand"),
            item.get("action"),
            item.get("requested_by"),
            moment(item.get("expires_at")),
            "\n".join(str(reason.get("message") or reason.get("code")) for reason in item.get("reasons", [])),
        ]
        for item in page["approvals"]
    )
    columns = ["id", "status", "hand", "action", "asked by", "expires", "why"]
    out.table(columns, rows, "Nothing waits for an approval.")
    if page.get("next") is not None:
        out.note(f"More: --after {page['next']}")


def _answer(
    session: Session, approval_id: str, key: Path | None, yes: bool, answer: Literal["approve", "refuse"]
) -> Exit:
    key_file = key or session.connection.key_file
    signing_key = SigningKey.load(key_file) if key_file is not None else None
    shown = session.client.approval(approval_id)
    _check_open(shown)
    # Not only before signing: a person must not be shown a call that is not the one bound.
    check_shown(dict(shown))
    if not session.out.json:
        session.out.raw(render(shown).text(session.out.width))
    if not yes:
        unasked = f"Read the call with 'approvals show', then give --yes to {answer} it."
        ask_for(answer, session.out, to=f"{answer} this exact call", unasked=unasked)
    # The document that was shown is the one signed; fetching it again would sign what nobody saw.
    answered = session.client.answer(shown, answer, signing_key)
    session.out.show(answered, lambda: session.out.line(f"{approval_id}: {answered.get('status')}"))
    if signing_key is None:
        session.out.note("Attested by the gateway: you have no enrolled key here (--key FILE).", "yellow")
    return Exit.WAITING if answered.get("status") == "open" else Exit.GOOD


def _check_open(shown: ApprovalView) -> None:
    """Whether there is anything to answer: nobody is shown a call and asked for a word in vain."""
    successor = shown.get("successor")
    if shown.get("status") == "open" and shown.get("your_answer") is None:
        return
    look = f"handrail approvals show {successor or shown.get('id')}"
    hint = f"The call is asked about anew: {look}" if successor else f"What it was, and who answered: {look}"
    raise Stop(" ".join(("You can no longer answer this request.", *standing(shown))), hint, Exit.NEGATIVE)


def _standing(status: Any) -> Exit:
    return {"open": Exit.WAITING, "granted": Exit.GOOD}.get(str(status), Exit.NEGATIVE)
