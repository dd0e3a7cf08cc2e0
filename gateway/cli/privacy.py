"""``handrail privacy``: what is held about a person, its erasure, and the holds against one."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from handrail.errors import HandrailProblem

from gateway.cli.asking import ask_for
from gateway.cli.command import command, group, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.output import Output
from gateway.cli.saving import Force, refuse_existing, save
from gateway.privacy.requests import HoldCode
from gateway.reasons import Reason
from gateway.rendering import moment
from gateway.times import format_time

app = noun("privacy")
hold_app = group("Set, list and lift legal holds: what must not be erased.")
app.add_typer(hold_app, name="hold")

Person = Annotated[str, typer.Argument(metavar="PERSON", help="A principal's id, or as calls name people.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_OTHERWISE: Final = "Give the principal's id, or the name as calls have it; case and blanks around it do not matter."
_POLL_SECONDS: Final = 0.5
_WAIT_SECONDS: Final = 60.0


@command(app, example="privacy access ann@example.com --out ann.json", good="it was exported")
def access(
    session: Session,
    person: Person,
    out: Annotated[Path | None, typer.Option(help="File for the export. Default: print it.")] = None,
    page: Annotated[bool, typer.Option("--page", help="A page for the person to read (Markdown), not JSON.")] = False,
    force: Force = False,
) -> None:
    """Export everything held about a person, which is itself put on record."""
    if out is not None:
        refuse_existing(out, force=force)
    with _explained(f"nothing is held about {person}", _OTHERWISE):
        found = session.client.privacy_access(person, page=page)
    if out is None:
        shown = {"page": found.decode()} if page else json.loads(found)
        session.out.show(shown, lambda: _show_export(session.out, shown))
        return
    save(out, found, force=force, private=True)
    document = {"file": str(out), "bytes": len(found)}
    session.out.show(document, lambda: session.out.line(f"{len(found)} bytes saved in {out}. Look before you send it."))


@command(
    app,
    example="privacy erase ann@example.com",
    good="everything is erased",
    negative="nothing was erased",
    waiting="it is under way",
)
def erase(
    session: Session,
    person: Person,
    yes: Yes = False,
    acts: Annotated[
        bool, typer.Option("--acts", help="Also answers and changes in office: evidence about others.")
    ] = False,
) -> Exit:
    """Erase what is held about a person; shows what will go first and asks for the word 'erase'."""
    shown = session.client.privacy_preview(person)
    if not any(value for name, value in shown.items() if name != "person"):
        raise _absent(f"nothing is held about {person}", _OTHERWISE)
    if not session.out.json:
        _show_preview(session.out, shown, acts=acts)
    if not yes:
        ask_for("erase", session.out, to="destroy it for ever", unasked="Give --yes.")
    found = session.client.privacy_erase(person, acts=acts)
    until = time.monotonic() + _WAIT_SECONDS
    while found.get("state") != "done" and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
        found = session.client.privacy_erasure(str(found.get("erasure_id")))
    session.out.show(found, lambda: _show_erasure(session.out, found))
    return Exit.GOOD if found.get("state") == "done" else Exit.WAITING


@command(app, example="privacy erasure ID", good="it is done", waiting="it is under way")
def erasure(
    session: Session, erasure_id: Annotated[str, typer.Argument(metavar="ID", help="As 'privacy erase' shows it.")]
) -> Exit:
    """Show how far an erasure is, and the entry that proves it."""
    found = session.client.privacy_erasure(erasure_id)
    session.out.show(found, lambda: _show_erasure(session.out, found))
    return Exit.GOOD if found.get("state") == "done" else Exit.WAITING


@command(hold_app, "set", example="privacy hold set ann@example.com --code legal_claim", good="it is held")
def set_(
    session: Session,
    person: Person,
    code: Annotated[HoldCode, typer.Option(help="Why (GDPR art. 17(3)).")],
    until: Annotated[
        str | None, typer.Option(help="Day on which it ends, as 2027-01-31. Default: when lifted.")
    ] = None,
) -> None:
    """Keep a person's data from being erased, and from ending by its age."""
    found = session.client.privacy_hold(person, str(code), until=None if until is None else _day(until))
    session.out.show(found, lambda: session.out.line(f"{person} is held: {found.get('hold_id')}."))


@command(hold_app, "list", example="privacy hold list", good="they were listed")
def list_(session: Session) -> None:
    """List the holds that were not lifted."""
    found = session.client.privacy_holds()
    session.out.show(
        {"holds": found},
        lambda: session.out.table(
            ["hold", "person", "why", "set", "until", "state"],
            (
                [
                    item.get("hold_id"),
                    item.get("person") or "unknown: restored",
                    item.get("code"),
                    moment(item.get("set_at")),
                    moment(item.get("until")) if item.get("until") else "it is lifted",
                    "active" if item.get("in_force") else "ended",
                ]
                for item in found
            ),
            "No hold.",
        ),
    )


@command(hold_app, example="privacy hold lift ID", good="it was lifted")
def lift(
    session: Session, hold_id: Annotated[str, typer.Argument(metavar="ID", help="As 'privacy hold list' shows it.")]
) -> None:
    """End a hold."""
    with _explained(f"{hold_id}: there is no such hold", "'handrail privacy hold list' shows those that there are."):
        found = session.client.privacy_lift(hold_id)
    session.out.show(found, lambda: session.out.line(f"Hold {hold_id} is lifted."))


def _absent(text: str, hint: str) -> Stop:
    return Stop(text, hint, Exit.NEGATIVE, code=Reason.REQUEST_NOT_FOUND)


@contextmanager
def _explained(text: str, hint: str) -> Iterator[None]:
    """Says of what is not there what it is: an officer may see all of the tenant, so there is nothing to keep back."""
    try:
        yield
    except HandrailProblem as problem:
        if problem.code != Reason.REQUEST_NOT_FOUND:
            raise
        raise _absent(text, hint) from None


def _show_export(out: Output, shown: dict[str, Any]) -> None:
    if "page" in shown:
        for line in shown["page"].splitlines():
            out.line(line)
    else:
        out.block(shown)


def _day(text: str) -> str:
    try:
        return format_time(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise Stop(f"{text}: not a day", "Write it as 2027-01-31.") from None


def _show_preview(out: Output, shown: dict[str, Any], *, acts: bool) -> None:
    rows = shown.get("rows") or {}
    out.facts(
        [
            ("values", shown.get("values")),
            ("of them shared", shown.get("shared")),
            ("data keys", shown.get("keys")),
            ("rows", [f"{name}: {count}" for name, count in rows.items()]),
            ("acts in office", f"{shown.get('acts')} ({'go too' if acts else 'stay, as evidence'})"),
            ("principal", "will be revoked" if shown.get("principal") else None),
            ("plans under way", shown.get("plans_under_way")),
            ("holds", [item.get("hold_id") for item in shown.get("holds") or []]),
        ]
    )
    if shown.get("shared"):
        out.note(
            "Values that concern somebody else, too, are destroyed with it: they can be read by nobody's key alone."
        )


def _show_erasure(out: Output, found: dict[str, Any]) -> None:
    out.facts(
        [
            ("erasure", found.get("erasure_id")),
            ("state", found.get("state")),
            ("values destroyed", found.get("values")),
            ("keys destroyed", found.get("keys")),
            ("requested", f"entry {found.get('requested_index')}"),
            ("proof", f"entry {found.get('done_index')}" if found.get("done_index") is not None else None),
        ]
    )
