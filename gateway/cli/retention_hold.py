"""``handrail retention hold``: legal holds on entries."""

import asyncio
import re
from typing import Annotated, Any, Final

import typer

from audit.holds import Held, lifting, setting
from gateway.cli.command import command, group
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.cli.pseudonyms import pseudonym
from gateway.cli.retention_log import (
    Owner,
    appended,
    dropped_before,
    hold_views,
    holds_of,
    not_there_words,
    not_there_yet,
    reading,
    settings_of,
)
from gateway.ports import Append

_CASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,63}")

app = group("Keep entries beyond their retention, for a case.")


@command(app, "set", example="retention hold set --case 2026/17 --context c-42", good="the hold is in force")
def set_(
    out: Output,
    case: Annotated[str, typer.Option(help="Your reference for it; it goes into the log, so name nobody.")],
    config: Config = None,
    database_url: Owner = None,
    first: Annotated[int | None, typer.Option(min=0, help="From this log index on.")] = None,
    last: Annotated[int | None, typer.Option(min=0, help="Up to this log index.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Entries of this tenant.")] = None,
    context: Annotated[str | None, typer.Option(help="Entries of this context.")] = None,
    plan: Annotated[str | None, typer.Option(help="Entries of this plan.")] = None,
    principal: Annotated[str | None, typer.Option(help="Pseudonym, as entries show it.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Every entry, without any of the others.")] = False,
) -> None:
    """Keep every partition with an entry that fits all that is given, until the hold is lifted."""
    if _CASE.fullmatch(case) is None:
        raise Stop(f"--case {case}: not a reference", "Use letters, digits and ./:_- (64 at most).")
    held = Held(first=first, last=last, tenant=tenant, context_id=context, plan_id=plan, principal=pseudonym(principal))
    if everything == bool(held.facts()):
        hint = "Give --first and --last, --context, --plan, --principal or --tenant, or --everything."
        raise Stop("it is not said what to hold", hint)
    if first is not None and last is not None and last < first:
        raise Stop("--last is before --first", "A hold on no entry would keep nothing.")
    settings = settings_of(config, database_url)
    hold_id, entry = setting(held, case)
    (index,) = asyncio.run(appended(settings, Append([entry])))
    late = reading(settings, lambda reader: dropped_before(reader, held, index))
    later = not_there_yet(held, index + 1)
    document = {
        "hold": hold_id,
        "case": case,
        "held": held.facts(),
        "index": index,
        "too_late": [{"first": start, "last": end} for start, end in late],
        "not_there_yet": later,
    }

    def show() -> None:
        out.line(f"Hold {hold_id} is in force on {held} (entry {index}).")
        if later is not None:
            text = f"The log has {index + 1} entries: {not_there_words(later)} the hold is on what is still to come."
            out.line(f"{text} If you mistyped, lift it and set it again.", style="yellow")
        for start, end in late:
            out.line(f"Too late for entries {start} to {end}: they were dropped before.", style="red")

    out.show(document, show)


@command(
    app, example="retention hold lift 5f0c1e7a9b3d2468", good="the hold is no more", negative="there is no such hold"
)
def lift(
    out: Output,
    hold_id: Annotated[str, typer.Argument(metavar="HOLD", help="Its id.")],
    config: Config = None,
    database_url: Owner = None,
) -> None:
    """End a hold; what it kept is dropped the next time that the retention is applied."""
    settings = settings_of(config, database_url)
    known = {one.hold_id: one for one in reading(settings, holds_of)}
    if hold_id not in known:
        raise Stop(f"{hold_id}: no such hold is in force", "'handrail retention hold list' shows them.", Exit.NEGATIVE)
    (index,) = asyncio.run(appended(settings, Append([lifting(known[hold_id])])))
    out.show({"hold": hold_id, "index": index}, lambda: out.line(f"Hold {hold_id} is no more (entry {index})."))


@command(app, "list", example="retention hold list", good="they were listed")
def list_(out: Output, config: Config = None, database_url: Owner = None) -> None:
    """List the holds in force, and which of the places that they name the log does not have yet."""
    found = reading(settings_of(config, database_url), hold_views)

    def show() -> None:
        rows = ([one["hold"], one["case"], _on(one), one["since"], one["index"]] for one in found)
        out.table(["hold", "case", "on", "since", "entry"], rows, "No hold is in force.")

    out.show({"holds": found}, show)


def _on(view: dict[str, Any]) -> str:
    """What a hold is on, for people."""
    later = view["not_there_yet"]
    return f"{Held(**view['held'])}" + ("" if later is None else f" ({not_there_words(later)}: not in the log yet)")
