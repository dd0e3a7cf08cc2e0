"""``handrail policy observe``: hands on which only critical denials are enforced, for a time, by two people's word."""

from typing import Annotated, Any

import typer

from gateway.cli.command import command, group
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.hands import hand_named
from gateway.cli.options import Key
from gateway.cli.output import Output
from gateway.cli.proposals import show_proposal, signing_key
from gateway.cli.times import duration
from gateway.rendering import moment
from gateway.two_person import RULES, Kind

app = group("Observe a hand: record everything, enforce only what is critical.")

Hand = Annotated[str, typer.Argument(metavar="HAND", help="As 'hands list' shows it.")]


@command(
    app,
    example="policy observe propose git --for 7d",
    good="",
    waiting="it waits for a second person, who runs: handrail proposals activate ID",
)
def propose(
    session: Session,
    hand: Hand,
    lasts: Annotated[str, typer.Option("--for", help="How long: 7d, 12h. At most 14d.")] = "7d",
    key: Key = None,
) -> Exit:
    """Propose to observe a hand for a time."""
    seconds = duration(lasts, "--for")
    longest = RULES[Kind.POLICY_OBSERVE].standing_max_seconds or 0
    if seconds > longest:
        raise Stop(f"--for {lasts}: at most {longest // 86_400}d", "Propose it again when it is over.")
    document = {"hand": hand, "lasts_seconds": seconds}
    signing = signing_key(session, key)
    with hand_named(session, hand):
        made = session.client.propose(str(Kind.POLICY_OBSERVE), document, subject=hand, key=signing)
    session.out.show(made, lambda: _proposed(session.out, made))
    return Exit.WAITING


@command(app, example="policy observe show", good="it was shown")
def show(session: Session) -> None:
    """Show which hands are observed, until when, and how many steps were let go because of it."""
    observed = session.client.policy_rollout()["observed"]
    session.out.show({"observed": observed}, lambda: _show(session.out, observed))


@command(app, example="policy observe stop git", good="policy is enforced again", negative="the hand is not observed")
def stop(session: Session, hand: Hand) -> Exit:
    """Enforce policy on a hand again, at once; one person is enough."""
    found = [one for one in session.client.policy_rollout()["observed"] if one.get("hand") == hand]
    if not found:
        raise Stop(f"{hand} is not observed", "'handrail policy observe show' lists what is.", Exit.NEGATIVE)
    ended = session.client.withdraw(str(found[0]["proposal"]))
    session.out.show(ended, lambda: session.out.line(f"{hand}: policy is enforced again."))
    return Exit.GOOD


def _proposed(out: Output, made: dict[str, Any]) -> None:
    show_proposal(out, made)
    out.section(f"Now somebody else: handrail proposals activate {made.get('id')}")


def _show(out: Output, observed: list[dict[str, Any]]) -> None:
    rows = (
        [
            one.get("hand"),
            moment(one.get("until")),
            (one.get("let_go") or {}).get("deny"),
            (one.get("let_go") or {}).get("ask"),
            one.get("proposal"),
        ]
        for one in observed
    )
    out.table(
        ["hand", "observed until", "let go: denied", "let go: asked", "proposal"],
        rows,
        "No hand is observed: policy is enforced on all.",
    )
