"""``handrail audit export``: take the log out, as evidence or as lines for other tools."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from handrail.errors import UnexpectedReply, Unreachable
from handrail.views import Download

from audit.export import unfinished
from audit.export.lines import FORMATS, Format
from gateway.cli.command import command, group
from gateway.cli.connect import Session
from gateway.cli.exits import Code, Stop
from gateway.cli.pseudonyms import pseudonym
from gateway.cli.saving import Force, Unfinished
from gateway.cli.scope import within
from gateway.cli.times import wire_time

app = group()


@command(
    app,
    example="audit export --format bundle --since 30d --out evidence.tar",
    good="it was saved whole",
    unreachable="the gateway cannot be reached, or went away; --resume goes on",
    waiting="it was stopped; --resume goes on",
)
def export(
    session: Session,
    out_: Annotated[Path, typer.Option("--out", help="The file to write (mode 0600).", show_default=False)],
    format_: Annotated[
        Format, typer.Option("--format", help="bundle: evidence to verify offline. The others: a line for each entry.")
    ] = Format.BUNDLE,
    since: Annotated[str | None, typer.Option(help="From then on: 30d, 12h, or a date or time.")] = None,
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    first: Annotated[int | None, typer.Option(min=0, help="From this log index on.")] = None,
    end: Annotated[int | None, typer.Option(min=0, help="Up to, not including, this log index.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Code or words: POLDNY, 'policy denied'.")] = None,
    effect: Annotated[str | None, typer.Option(help="allow, ask or deny.")] = None,
    context: Annotated[str | None, typer.Option(help="Context id.")] = None,
    plan: Annotated[str | None, typer.Option(help="Plan id.")] = None,
    hand: Annotated[str | None, typer.Option(help="Hand id.")] = None,
    action: Annotated[str | None, typer.Option(help="Action of a hand.")] = None,
    principal: Annotated[str | None, typer.Option(help="Pseudonym, as entries show it.")] = None,
    reason: Annotated[str | None, typer.Option(help="Reason code.")] = None,
    step: Annotated[str | None, typer.Option(help="Step id.")] = None,
    control: Annotated[str | None, typer.Option(help="A control, as entries name it: 'gdpr:5(2)'.")] = None,
    policy: Annotated[str | None, typer.Option(help="Digest of the policy bundle that decided.")] = None,
    with_payloads: Annotated[
        bool, typer.Option("--with-payloads", help="Open the values that entries commit to; guard the file (bundle).")
    ] = False,
    kept: Annotated[
        list[int] | None,
        typer.Option(help="Size of a checkpoint that you kept, to be compared with (bundle). Repeat."),
    ] = None,
    uncosigned: Annotated[
        bool,
        typer.Option("--uncosigned", help="Take in what is newer than the witnesses' newest word, too (bundle)."),
    ] = False,
    wait: Annotated[
        int | None, typer.Option(min=0, help="Wait so many seconds for witnesses to cosign all of it (bundle).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with one that broke off.")] = False,
    force: Force = False,
) -> None:
    """Export entries and what shows that they are genuine; the export itself is recorded."""
    now = time.time()
    request: dict[str, Any] = {
        "url": session.connection.url, "format": str(format_), "since": since, "until": until, "first": first,
        "end": end, "type": type_, "effect": effect, "context": context, "plan": plan, "hand": hand, "action": action,
        "principal": pseudonym(principal), "reason": reason, "step": step, "control": control, "policy": policy,
        "payloads": "true" if with_payloads else None,
        "kept": ",".join(map(str, kept)) if kept else None,
        "uncosigned": "true" if uncosigned else None, "wait": wait,
    }  # fmt: skip
    file = Unfinished(out_)
    moments = {"since": wire_time(since, "--since", now), "until": wire_time(until, "--until", now)}
    asked = {**request, **moments}
    if resume:
        asked = {**request, **file.resume(request)["moments"], **_place(file, format_, request)}
    else:
        file.begin({**request, "moments": moments}, force=force)
    del asked["url"]
    try:
        download = _fetch(session, file, asked, request)
    except BaseException:
        if not resume:
            file.discard_if_empty()
        raise
    file.finish(force=force)
    document = {
        "file": str(out_), "format": str(format_), "bytes": file.size, "tree_size": download.tree_size,
        "cosignatures": download.cosignatures, "cosignatures_needed": download.needed, "later": download.later,
        "hands": None if download.hands is None else list(download.hands),
    }  # fmt: skip

    def show() -> None:
        session.out.line(f"{out_}: {file.size:,} bytes ({format_})")
        if download.hands is not None:
            session.out.line(f"It is {within(download.hands)}.", style="yellow")
        if format_ is Format.BUNDLE:
            _show_head(session, download)
        if format_ is Format.BUNDLE:
            session.out.line(f"Check it: handrail audit verify-bundle {out_} --trust FILE")
        else:
            session.out.line("It carries no proof; --format bundle does.")

    session.out.show(document, show)


def _show_head(session: Session, download: Download) -> None:
    """Under whose word the bundle is, and what that leaves out."""
    if not download.needed:
        return
    enough = download.cosignatures >= download.needed
    session.out.line(
        f"Its checkpoint of {download.tree_size:,} entries is cosigned by {download.cosignatures} witnesses; "
        f"{download.needed} are asked for.",
        style="" if enough else "yellow",
    )
    if download.later:
        session.out.line(
            f"{download.later:,} later entries that you asked for are left out: witnesses have not cosigned those yet.",
            style="yellow",
        )
        session.out.note("--wait 30 waits for them, and --uncosigned takes them in without.")
    elif not enough:
        session.out.note("Ask again in some seconds, or with --wait 30.")


def _place(file: Unfinished, kind: Format, request: dict[str, Any]) -> dict[str, Any]:
    """From where an export that broke off is gone on with."""
    kept = file.resume(request)
    if kept.get("tree_size") is None:
        return {}
    if kind is Format.BUNDLE:
        begun = {name: kept[name] for name in ("tree_size", "checkpoint") if kept.get(name) is not None}
        # What chose the checkpoint has chosen.
        chosen = {"uncosigned": None, "wait": None, **begun}
        keys_sha256 = file.cut(unfinished.goes_on)
        if not file.size:
            return chosen
        return {**chosen, "offset": file.size, "sha256": file.sha256(), "keys_sha256": keys_sha256}
    line = file.cut_to_last_line()
    try:
        after = FORMATS[kind].index(line)
    except (ValueError, LookupError, TypeError):
        # There is no line of an entry yet: at most the line of names that a table begins with, which comes again.
        file.empty()
        return {"tree_size": kept["tree_size"]}
    return {"tree_size": kept["tree_size"], "after": after}


def _fetch(session: Session, file: Unfinished, asked: dict[str, Any], request: dict[str, Any]) -> Download:
    """Write what comes, and return what was said of it. What has come stays where it breaks off."""
    lines = asked["format"] != Format.BUNDLE
    moments = {name: asked[name] for name in ("since", "until")}
    came = 0
    try:
        with session.client.audit_export(**asked) as download:
            file.remember(request, moments=moments, tree_size=download.tree_size, checkpoint=download.checkpoint)
            head = int(bool(lines and FORMATS[Format(asked["format"])].head and asked.get("after") is None))
            title = "exporting entries" if lines else "exporting bytes"
            with (
                session.out.progress(title, download.entries if lines else None) as advance,
                file.growing() as stream,
            ):
                for piece in download.pieces:
                    stream.write(piece)
                    came += piece.count(b"\n") if lines else len(piece)
                    advance(max(0, came - head) if lines else came)
    except KeyboardInterrupt:
        raise file.broke_off() from None
    except (Unreachable, UnexpectedReply):
        session.out.note("It broke off. What came is kept: the same command with --resume goes on.")
        raise
    if lines and came - head != download.entries:
        raise Stop(
            f"{file.file}: {came - head} entries came, and {download.entries} were promised",
            "Tell the gateway's operator. What came is kept beside the name that you gave.",
            code=Code.UNEXPECTED_REPLY,
        )
    return download
