"""``handrail freeze``: stop something at once. One person is enough; two lift it (``handrail unfreeze``)."""

from typing import Annotated, Any

import typer

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit
from gateway.cli.output import Output
from gateway.freeze import Cause, Scope
from gateway.rendering import moment

app = noun("freeze")

CauseOption = Annotated[Cause, typer.Option("--cause", help="Why, as a code that the log keeps.")]
Why = Annotated[str | None, typer.Option("--why", help="Why, in words: erasable, and in no entry.")]
_WAITING = "it holds in the gateway that was asked, and everywhere once its log can be written"


@command(app, "all", example="freeze all --cause key_compromised", good="nothing runs", waiting=_WAITING)
def all_(session: Session, cause: CauseOption = Cause.OTHER, why: Why = None) -> Exit:
    """Stop everything of the tenant; of the gateway's own tenant, everything."""
    return _set(session, Scope.ALL, None, cause, why)


@command(app, example="freeze hand git --cause hand_poisoned", good="no step runs on it", waiting=_WAITING)
def hand(
    session: Session,
    hand_id: Annotated[str, typer.Argument(metavar="HAND", help="As 'hands list' shows it.")],
    cause: CauseOption = Cause.OTHER,
    why: Why = None,
) -> Exit:
    """Stop every step on a hand, and end its processes."""
    return _set(session, Scope.HAND, hand_id, cause, why)


@command(app, example="freeze principal ada --cause access_stolen", good="it does nothing", waiting=_WAITING)
def principal(
    session: Session,
    principal_id: Annotated[str, typer.Argument(metavar="PRINCIPAL", help="As 'principals list' shows it.")],
    cause: CauseOption = Cause.OTHER,
    why: Why = None,
) -> Exit:
    """Stop a principal: its plans, and everything else that it may do."""
    return _set(session, Scope.PRINCIPAL, principal_id, cause, why)


@command(app, example="freeze context journey-7 --cause agent_runaway", good="it goes no further", waiting=_WAITING)
def context(
    session: Session,
    context_id: Annotated[str, typer.Argument(metavar="CONTEXT", help="As plans and entries name it.")],
    cause: CauseOption = Cause.OTHER,
    why: Why = None,
) -> Exit:
    """Stop one user journey."""
    return _set(session, Scope.CONTEXT, context_id, cause, why)


@command(app, "list", example="freeze list", good="it was listed")
def list_(
    session: Session,
    all_: Annotated[bool, typer.Option("--all", help="Those that were lifted, too.")] = False,
) -> None:
    """List what is frozen, oldest first."""
    found = session.client.freezes(lifted=all_)
    session.out.show({"freezes": found}, lambda: _show(session.out, found))


def _set(session: Session, scope: Scope, subject: str | None, cause: Cause, why: str | None) -> Exit:
    made = session.client.freeze(str(scope), subject, cause=str(cause), why=why)
    session.out.show(made, lambda: _made(session.out, made))
    return Exit.GOOD if made.get("recorded") else Exit.WAITING


def _made(out: Output, made: dict[str, Any]) -> None:
    out.facts(
        [
            ("freeze", made.get("id")),
            ("stopped", f"{made.get('scope')} {made.get('subject') or ''}".strip()),
            ("named in entries", made.get("pseudonym")),
            ("of every tenant", "yes" if made.get("every_tenant") else "no"),
            ("steps that ran", made.get("running")),
            ("requests that waited", made.get("held")),
        ]
    )
    if not made.get("recorded"):
        out.note("The log cannot be written: it holds in this gateway now, and in all others once the log is back.")
    out.section(f"Two people lift it. The first runs: handrail unfreeze {made.get('id')}")


def _show(out: Output, found: list[dict[str, Any]]) -> None:
    rows = (
        [
            one.get("id"),
            f"{one.get('scope')} {one.get('subject') or ''}".strip(),
            one.get("cause"),
            one.get("by"),
            moment(one.get("at")),
            one.get("running"),
            one.get("held"),
            "lifted" if one.get("lifted") else "in force" if one.get("recorded") else "in force here, not on record",
        ]
        for one in found
    )
    heads = ["id", "what", "cause", "by", "since", "ran", "waited", "state"]
    out.table(heads, rows, "Nothing is frozen.")
