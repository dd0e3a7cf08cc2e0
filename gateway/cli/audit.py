"""``handrail audit``: query the log, and check it for tampering."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit
from gateway.cli.output import Output

app = noun("Query the log, and check it for tampering.")

Config = Annotated[
    Path | None, typer.Option("--config", help="handrail.toml. Default: HANDRAIL_CONFIG, ./handrail.toml.")
]


@command(app)
def query(
    session: Session,
    type_: Annotated[str | None, typer.Option("--type", help="Code or words: POLDNY, 'policy denied'.")] = None,
    effect: Annotated[str | None, typer.Option(help="allow, ask or deny.")] = None,
    context: Annotated[str | None, typer.Option(help="Context id.")] = None,
    plan: Annotated[str | None, typer.Option(help="Plan id.")] = None,
    hand: Annotated[str | None, typer.Option()] = None,
    action: Annotated[str | None, typer.Option()] = None,
    principal: Annotated[str | None, typer.Option(help="Pseudonym, as entries show it.")] = None,
    reason: Annotated[str | None, typer.Option(help="Reason code.")] = None,
    after: Annotated[int | None, typer.Option(min=0, help="Only entries after this index.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Entries on one page.")] = None,
) -> None:
    """List entries, oldest first. The query itself is recorded."""
    page = session.client.audit_entries(
        type=type_, effect=effect, context=context, plan=plan, hand=hand, action=action, principal=principal,
        reason=reason, after=after, limit=limit,
    )  # fmt: skip
    session.out.show(page, lambda: _show(session.out, page))


@command(app)
def fsck(out: Output, config: Config = None) -> Exit:
    """Read the whole log from the database and recompute everything that can be. Exit 1 names each faulty entry."""
    from audit import fsck as checker  # noqa: PLC0415 - a query needs no database
    from audit.database import make_engine  # noqa: PLC0415
    from gateway.settings import load  # noqa: PLC0415

    engine = make_engine(load(config).database_url)
    try:
        with out.progress("checking the log", None) as advance:
            report = checker.check(engine, progress=advance)
    finally:
        engine.dispose()
    document = report.document()
    out.show(document, lambda: _show_faults(out, document))
    return Exit.GOOD if report.sound else Exit.NEGATIVE


def _show(out: Output, page: dict[str, Any]) -> None:
    rows = []
    for item in page.get("entries") or []:
        entry = item.get("entry") or {}
        step = " ".join(str(entry[name]) for name in ("step_id", "hand", "action") if entry.get(name))
        rows.append(
            [item.get("index"), entry.get("time"), item.get("label"), step, entry.get("effect"), entry.get("reasons")]
        )
    out.table(["index", "time", "what", "step", "effect", "reasons"], rows, "No entry matches.")
    out.line(f"\ncovers a log of {page.get('tree_size')} entries")
    if page.get("next") is not None:
        out.note(f"More: --after {page['next']}")


def _show_faults(out: Output, document: dict[str, Any]) -> None:
    out.block(document)
