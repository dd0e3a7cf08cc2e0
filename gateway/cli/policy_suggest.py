"""``handrail policy suggest``: grants drafted from what was seen, for a pull request."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.output import Output
from gateway.cli.policy_replay import Since, Until, Window
from gateway.cli.saving import Force, refuse_existing, save
from gateway.errors import HandrailError
from gateway.evaluation import read
from gateway.policy.bundle import load
from gateway.policy.engine import bundle_directory
from gateway.policy.inspection import inspect
from gateway.policy.suggest import Draft, merged
from gateway.settings import load as load_settings

app = noun("Draft grants from what was seen.")

GRANTS = Path("handrail/grants/data.json")


@command(
    app,
    example="policy suggest --since 7d --out data.json",
    good="there are lines to add",
    negative="nothing was denied for want of a grant alone, so nothing was drafted",
)
def suggest(
    session: Session,
    since: Since = None,
    until: Until = None,
    bundle: Annotated[Path | None, typer.Option(help="The bundle to draft for. Default: the configured.")] = None,
    by_role: Annotated[bool, typer.Option("--by-role", help="Lines for roles instead of single principals.")] = False,
    file: Annotated[
        Path | None, typer.Option("--out", help="Write the bundle's grants/data.json with the new lines here.")
    ] = None,
    force: Force = False,
    config: Annotated[Path | None, typer.Option("--config", help="handrail.toml.")] = None,
) -> Exit:
    """Draft the narrowest grants that would have covered what was denied for want of one; read every line of it."""
    if file is not None:
        refuse_existing(file, force=force)
    directory = bundle or bundle_directory(load_settings(config).policy)
    window = Window.of(since or "7d", until)
    draft = asyncio.run(_draft(session, directory, window, by_role=by_role))
    document = draft.document()
    if file is not None and draft.table():
        save(file, _grants(directory / GRANTS, draft), force=force, private=False)
        document["file"] = str(file)
    session.out.show(document, lambda: _show(session.out, document))
    if file is not None and not draft.table():
        session.out.note(f"{file} was not written: there is nothing to add.", "yellow")
    return Exit.GOOD if draft.table() else Exit.NEGATIVE


async def _draft(session: Session, directory: Path, window: Window, *, by_role: bool) -> Draft:
    places = (await inspect(load(directory))).reasons
    draft = Draft(lambda code: str(places.get(code, {}).get("severity", "")), by_role)
    with session.out.progress("reading", None) as advance:
        known: set[Any] = set()
        async for page in window.from_gateway(session.connection):
            seen = set()
            for line in page.lines:
                seen.add(line.get("commitment"))
                if line.get("commitment") in known or "evaluation" not in line:
                    continue
                try:
                    draft.add(read(line["evaluation"]))
                except HandrailError:
                    continue
            known = seen  # an evaluation's entries stand together: on one page, or on two that follow each other
            advance(page.done, page.total)
    return draft


def _grants(grants: Path, draft: Draft) -> str:
    """The bundle's grants with the drafted lines among them."""
    try:
        data = json.loads(grants.read_bytes())
    except (OSError, ValueError):
        raise Stop(f"{grants}: there are no grants to add to", "Leave --out away to see the lines alone.") from None
    return json.dumps(merged(data, draft.table()), indent=2) + "\n"


def _show(out: Output, document: dict[str, Any]) -> None:
    out.table(
        ["who", "hand", "action", "environment", "steps"],
        ([one["who"], one["hand"], one["action"], one["environment"], f"{one['steps']:,}"] for one in document["seen"]),
        "Nothing was denied for want of a grant alone.",
    )
    out.line(f"{document['covered']:,} steps needed nothing new.")
    if document["left_out"]:
        out.section("Left out:", style="bold")
        out.table(
            ["hand", "action", "reasons", "steps", "why"],
            (
                [one["hand"], one["action"], one["reasons"], f"{one['steps']:,}", one["why"]]
                for one in document["left_out"]
            ),
        )
    if document["not_told_apart"]:
        out.line(f"{document['not_told_apart']:,} more steps were not told apart.")
    if document["table"]:
        out.section("Lines for handrail/grants/data.json, table:", style="bold")
        out.block(document["table"])
