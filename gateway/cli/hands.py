"""``handrail hands``: list hands, pin their manifests, check them, and declare one from an OpenAPI document."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Annotated, Any

import typer
from handrail import HandrailProblem

from gateway.cli import hands_check, hands_import, hands_listing, hands_openapi, hands_show, hands_slo
from gateway.cli.asking import ask_for
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Yes
from gateway.reasons import Reason
from hand_adapters.declared import State

app = noun("hands")
app.add_typer(hands_check.app)
app.add_typer(hands_import.app)
app.add_typer(hands_openapi.app)
app.add_typer(hands_listing.app)
app.add_typer(hands_slo.app)


@command(app, "list", example="hands list", good="they were listed")
def list_(
    session: Session,
    principal: Annotated[
        str | None, typer.Option(metavar="ID", help="Only what this principal is shown in lists of tools.")
    ] = None,
) -> None:
    """List the hands, their states and actions."""
    found = session.client.hands(principal)
    session.out.show(
        {"hands": found},
        lambda: session.out.table(
            ["id", "adapter", "state", "circuit", "trust", "actions", "problem"],
            (
                [
                    item.get("id"),
                    item.get("adapter"),
                    item.get("state"),
                    (item.get("load") or {}).get("circuit"),
                    item.get("trust"),
                    [str(action.get("name")) for action in item.get("actions") or []],
                    item.get("problem"),
                ]
                for item in found
            ),
            "No hands are configured. Declare one in handrail.toml: [hands.NAME].",
        ),
    )


@command(app, example="hands show git", good="it was shown")
def show(
    session: Session,
    hand_id: Annotated[str, typer.Argument(metavar="ID", help="As 'hands list' shows it.")],
) -> None:
    """Show what a hand offers, action by action, and how that differs from what was pinned."""
    with hand_named(session, hand_id):
        hand = session.client.hand(hand_id)

    def people() -> None:
        hands_show.show(session.out, hand, whole=True)
        hands_show.differences(session.out, hand)

    session.out.show(hand, people)


@command(app, example="hands pin git", good="it is pinned", negative="it offers nothing, or not what was reviewed")
def pin(
    session: Session,
    hand_id: Annotated[str, typer.Argument(metavar="ID", help="As 'hands list' shows it.")],
    digest: Annotated[
        str | None, typer.Option(help="Digest that you reviewed; pinning fails where another is offered.")
    ] = None,
    yes: Yes = False,
) -> Exit:
    """Pin what a hand offers now, after showing all of it, or how it differs from what was pinned."""
    with hand_named(session, hand_id):
        hand = session.client.hand(hand_id)
    offered = hand.get("offered_digest")
    if not isinstance(offered, str):
        why = hand.get("problem") or hand.get("state")
        hint = "Mend it at the hand; 'handrail hands list' shows when it offers something."
        raise Stop(f"{hand_id} offers nothing to pin: {why}", hint, Exit.NEGATIVE)
    if digest is not None and digest != offered:
        raise Stop(f"{hand_id} offers {offered}, not {digest}", "Review it again before pinning.", Exit.NEGATIVE)
    if offered == hand.get("pinned_digest"):
        session.out.show(hand, lambda: session.out.line(f"{hand_id} is pinned to what it offers already."))
        return Exit.GOOD
    if not session.out.json:
        hands_show.show(session.out, hand, whole=not hand.get("pinned_digest"))
        hands_show.differences(session.out, hand)
    if not yes and digest is None:
        ask_for("pin", session.out, to="pin this manifest", unasked="Give the reviewed --digest, or --yes.")
    document = session.client.pin_hand(hand_id, offered)
    session.out.show(document, lambda: session.out.line(f"{hand_id} is pinned to {offered}."))
    return Exit.GOOD


def instead_of(session: Session, named: Collection[str], without: Collection[str] = ()) -> str:
    """Which hands can be used in the place of some that cannot, and why those cannot; empty where the caller may see
    no hands.

    Args:
        without: adapters whose hands cannot.
    """
    hands = _hands(session)
    usable = ", ".join(
        name for name, hand in hands.items() if hand["state"] == State.PINNED and hand.get("adapter") not in without
    )
    told = [f"There are these hands: {usable}."] if usable else []
    told += (
        f"{name} is {hand['state']}: an operator looks at it with 'handrail hands show {name}'."
        for name, hand in hands.items()
        if name in named and hand["state"] != State.PINNED
    )
    return " ".join(told)


def _hands(session: Session) -> dict[str, dict[str, Any]]:
    """Each hand that the caller may see."""
    try:
        return {item["id"]: item for item in sorted(session.client.hands(), key=itemgetter("id"))}
    except HandrailProblem:
        return {}


@contextmanager
def hand_named(session: Session, hand_id: str) -> Iterator[None]:
    """Answer that there is no such hand with those that there are, where the caller may see any."""
    try:
        yield
    except HandrailProblem as exc:
        there = ", ".join(_hands(session)) if exc.code == Reason.REQUEST_NOT_FOUND else ""
        if not there:
            raise
        raise Stop(f"{hand_id}: no such hand", f"There are: {there}.", Exit.NEGATIVE) from None
