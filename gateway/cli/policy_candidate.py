"""``handrail policy shadow`` and ``handrail policy canary``: a candidate bundle beside the one that decides."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from gateway.cli.candidates import Brought, brought
from gateway.cli.command import command, group
from gateway.cli.connect import Session
from gateway.cli.differences import show_differences
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Key
from gateway.cli.output import Output
from gateway.cli.proposals import show_proposal, signing_key
from gateway.cli.times import duration
from gateway.policy.replay_report import markdown
from gateway.rendering import moment
from gateway.two_person import RULES, Kind

shadow = group("Have a bundle judge live traffic beside the one that decides, without effect.")
canary = group("Have a bundle decide for some of the principals, by two people's word.")

_DAY: Final = 86_400
_LONGEST: Final = 14 * _DAY
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown for a pull-request comment.")]


@command(shadow, example="policy shadow start policy.bundle --for 7d", good="it is shadowed")
def start(
    session: Session,
    bundle: Brought,
    lasts: Annotated[str, typer.Option("--for", help="How long: 7d, 12h. At most 14d.")] = "7d",
) -> Exit:
    """Have a bundle judge what the one that decides judges; it has no effect, so one person is enough."""
    seconds = _lasting(lasts, _LONGEST)
    digest = str(brought(session, bundle)["digest"])
    found = session.client.policy_shadow()
    one = found["shadow"]
    if one is not None and one["in_force"] and one["digest"] == digest:
        _started(session.out, found, "is shadowed already, and stays so")
        return Exit.GOOD
    _started(session.out, session.client.start_policy_shadow(digest, lasts_seconds=seconds), "is shadowed")
    return Exit.GOOD


@command(shadow, "show", example="policy shadow show", good="it was shown")
def show_shadow(session: Session, markdown_: Markdown = False) -> None:
    """Show what the shadowed bundle would have decided, over all gateways; also of the last one that ended."""
    found = session.client.policy_shadow()
    one = found["shadow"]
    facts = [] if one is None else [("shadowed", one["digest"]), ("by", one["by"]), ("until", _until(one))]
    facts += [] if one is None else [("problem", one["problem"])]
    _show(session.out, found, facts, "No bundle was shadowed.", "Policy shadow" if markdown_ else None)


@command(shadow, "stop", example="policy shadow stop", good="it ended", negative="no bundle is shadowed")
def stop_shadow(session: Session) -> Exit:
    """End the shadow before its time; what it counted stays."""
    if not (session.client.policy_shadow()["shadow"] or {}).get("in_force"):
        raise Stop("no bundle is shadowed", "'handrail policy shadow start BUNDLE' begins.", Exit.NEGATIVE)
    ended = session.client.stop_policy_shadow()
    session.out.show(ended, lambda: session.out.line("The shadow is ended; 'policy shadow show' has what it counted."))
    return Exit.GOOD


@command(
    canary,
    example="policy canary propose policy.bundle --percent 5",
    good="",
    waiting="it waits for a second person, who runs: handrail proposals activate ID",
)
def propose(
    session: Session,
    bundle: Brought,
    percent: Annotated[int, typer.Option(min=1, max=100, help="For how many principals in a hundred it decides.")],
    lasts: Annotated[str, typer.Option("--for", help="How long: 1d, 12h. At most 14d.")] = "1d",
    key: Key = None,
) -> Exit:
    """Propose that a bundle decide for some of the principals."""
    seconds = _lasting(lasts, RULES[Kind.POLICY_CANARY].standing_max_seconds or 0)
    history = session.client.policy_bundles()["activations"]
    if not history:
        raise Stop("no bundle decides here yet", "'handrail policy propose BUNDLE' proposes one.")
    signing = signing_key(session, key)
    digest = str(brought(session, bundle)["digest"])
    document = {"digest": digest, "active": history[0]["digest"], "percent": percent, "lasts_seconds": seconds}
    made = session.client.propose(str(Kind.POLICY_CANARY), document, subject=digest, key=signing)

    def people() -> None:
        show_proposal(session.out, made)
        session.out.section(f"Now somebody else: handrail proposals activate {made.get('id')}")

    session.out.show(made, people)
    return Exit.WAITING


@command(canary, "show", example="policy canary show", good="it was shown", negative="it stopped itself")
def show_canary(session: Session, markdown_: Markdown = False) -> Exit:
    """Show the canary in force, or the last one, and what came of it."""
    found = session.client.policy_canary()
    one = found["canary"]
    facts: list[tuple[str, Any]] = []
    if one is not None:
        recent = found["comparison"]["recent"]
        facts = [
            ("candidate", one["digest"]),
            ("beside", one["active"]),
            ("percent", one["percent"]),
            ("until", _until(one)),
            ("proposal", one["proposal"]),
            ("stopped itself", one["stopped"]),
            ("problem", one["problem"]),
            ("newest", f"{recent['sample']} decisions"),
            ("denied", f"{recent['denied']}, by the active bundle {recent['denied_active']}"),
            ("errors", f"{recent['errors']}, of the active bundle {recent['errors_active']}"),
        ]
    _show(session.out, found, facts, "There was no canary.", "Policy canary" if markdown_ else None)
    return Exit.NEGATIVE if one is not None and one["in_force"] and one["stopped"] else Exit.GOOD


@command(
    canary,
    "stop",
    example="policy canary stop",
    good="the active bundle decides for everybody",
    negative="no canary is in force",
)
def stop_canary(session: Session) -> Exit:
    """End the canary: the active bundle decides for everybody at once; one person is enough."""
    one = session.client.policy_canary()["canary"]
    if one is None or not one["in_force"]:
        raise Stop("no canary is in force", "'handrail policy canary show' has the last one.", Exit.NEGATIVE)
    ended = session.client.withdraw(str(one["proposal"]))
    session.out.show(ended, lambda: session.out.line("The canary is over: the active bundle decides for everybody."))
    return Exit.GOOD


def _started(out: Output, found: dict[str, Any], how: str) -> None:
    one = found["shadow"]
    out.show(found, lambda: out.line(f"{one['digest']} {how} until {moment(one['until'])}."))


def _lasting(lasts: str, longest: int) -> int:
    seconds = duration(lasts, "--for")
    if seconds > longest:
        raise Stop(f"--for {lasts}: at most {longest // _DAY}d", "Begin again when it is over.")
    return seconds


def _until(one: Mapping[str, Any]) -> str:
    return moment(one["until"]) if one["in_force"] else "over"


def _show(out: Output, found: dict[str, Any], facts: list[tuple[str, Any]], none: str, title: str | None) -> None:
    counted = found["comparison"]
    if title is not None and not out.json:
        out.raw(markdown(counted, f"of {len(found['gateways'])} gateways", title=title, what="live decision"))
        return

    def people() -> None:
        if not facts:
            out.line(none)
            return
        out.facts(
            [
                *facts,
                ("gateways", ", ".join(found["gateways"])),
                ("decisions", f"{counted['decisions']:,} compared, {counted['unchanged']:,} the same"),
                ("no answer", ", ".join(f"{code} {count:,}" for code, count in counted["faults"].items())),
                ("left out", f"{counted['shed']:,}" if counted["shed"] else ""),
                ("not comparable", f"{counted['not_comparable']:,}" if counted["not_comparable"] else ""),
            ]
        )
        out.line("")
        show_differences(out, counted, "Nothing was compared yet.")

    out.show(found, people)
