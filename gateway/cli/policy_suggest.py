"""``handrail policy suggest``: grants and allowlists drafted from what was seen, for a pull request."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.candidates import Candidate, candidate
from gateway.cli.command import command, group
from gateway.cli.connect import Session
from gateway.cli.exits import Exit
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.cli.policy_replay import Since, Until, Window
from gateway.cli.saving import Force, make_directory, refuse_existing, save
from gateway.errors import HandrailError
from gateway.evaluation import read
from gateway.policy.allowlists import merged as merged_allowlists
from gateway.policy.bundle import ROOT, Bundle
from gateway.policy.inspection import inspect
from gateway.policy.suggest import Draft, merged
from gateway.settings import load as load_settings

app = group()


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
    bundle: Candidate = None,
    by_role: Annotated[bool, typer.Option("--by-role", help="Lines for roles instead of single principals.")] = False,
    file: Annotated[
        Path | None, typer.Option("--out", help="Write the bundle's grants/data.json with the new lines here.")
    ] = None,
    allowlists: Annotated[
        Path | None,
        typer.Option(
            "--allowlists-out",
            help="Make this directory, with data.json of the rules hosts and arguments in it.",
        ),
    ] = None,
    force: Force = False,
    config: Config = None,
) -> Exit:
    """Draft the narrowest grants for what was denied for want of one, and allowlists of what was used; read them."""
    if file is not None:
        refuse_existing(file, force=force)
    if allowlists is not None:
        refuse_existing(allowlists, force=force, directory=True)
    window = Window.of(since or "7d", until)
    chosen = candidate(session, bundle, load_settings(config).policy)
    data = chosen.data.get(ROOT, {})
    draft = asyncio.run(_draft(session, chosen, window, by_role=by_role))
    document = draft.document(data)
    if file is not None and draft.table():
        _write(file, merged(data.get("grants", {}), draft.table()), force=force)
        document["file"] = str(file)
    if allowlists is not None:
        _make(allowlists, merged_allowlists(data, document["allowlists"]), force=force)
        document["directory"] = str(allowlists)
        document["files"] = [str(allowlists / name) for name in merged_allowlists(data, document["allowlists"])]
    session.out.show(document, lambda: _show(session.out, document))
    if file is not None and not draft.table():
        session.out.note(f"{file} was not written: there is nothing to add.", "yellow")
    return Exit.GOOD if draft.table() else Exit.NEGATIVE


async def _draft(session: Session, chosen: Bundle, window: Window, *, by_role: bool) -> Draft:
    places = (await inspect(chosen)).reasons
    draft = Draft(lambda code: str(places.get(code, {}).get("severity", "")), by_role)
    with session.out.progress("reading", None) as advance:
        known: set[Any] = set()
        async for page in window.from_gateway(session.connection):
            seen = set()
            for line in page.lines:
                seen.add(line.get("commitment"))
                if line.get("commitment") in known:
                    continue
                if line.get("fault") == "erased":
                    draft.erased += 1
                    continue
                try:
                    draft.add(read(line.get("evaluation")))
                except HandrailError:
                    draft.unreadable += 1
            known = seen  # an evaluation's entries stand together: on one page, or on two that follow each other
            advance(page.done, page.total)
    return draft


def _write(file: Path, data: Mapping[str, Any], *, force: bool) -> None:
    save(file, json.dumps(data, indent=2, ensure_ascii=False) + "\n", force=force, private=False)


def _make(directory: Path, files: Mapping[str, Mapping[str, Any]], *, force: bool) -> None:
    for name, data in files.items():
        make_directory((directory / name).parent)
        _write(directory / name, data, force=force)


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
    if document["erased"] or document["unreadable"]:
        out.line(
            f"Not looked at: {document['erased']:,} erased evaluations, {document['unreadable']:,} that do not hold."
        )
    if document["not_told_apart"]:
        out.line(f"{document['not_told_apart']:,} more steps were not told apart.")
    if document["table"]:
        out.section("Lines for handrail/grants/data.json, table:", style="bold")
        out.block(document["table"])
    _show_allowlists(out, document["allowlists"])
    for name in (document.get("file"), *document.get("files", ())):
        if name is not None:
            out.line(f"Written: {name}")


def _show_allowlists(out: Output, found: Mapping[str, Any]) -> None:
    if found["seen"]:
        out.section("Where URLs led and paths began:", style="bold")
        out.table(
            ["hand", "action", "argument", "seen", "steps"],
            (
                [one["hand"], one["action"], one.get("pointer", one["role"]), one["value"], f"{one['steps']:,}"]
                for one in found["seen"]
            ),
        )
    if found["not_plain"]:
        out.line(f"{found['not_plain']:,} arguments were no plain URL or path, and are not shown.")
    for name in ("hosts", "arguments"):
        lines = found[name]["hands"] if name == "arguments" else found[name]
        if lines:
            out.section(f"Lines for handrail/{name}/data.json:", style="bold")
            out.block(found[name])
