"""``handrail retention``: drop what the log need not keep any more, archive it first, and hold what must stay.

These commands work on the database itself, as the role that owns its tables: the gateway's own role can drop nothing.
"""

import asyncio
from typing import Annotated, Any, Final

import typer

from audit.errors import ArchiveRefused
from audit.holds import EntriesAreHeld
from audit.retained import PARTITION
from audit.retention import Partition, State
from gateway.cli import retention_archive, retention_hold
from gateway.cli.asking import ask_for
from gateway.cli.command import command, noun
from gateway.cli.exits import Exit
from gateway.cli.options import Config, Yes
from gateway.cli.output import Output, counted
from gateway.cli.retention_log import Owner, cut_of, opened_retention, reading, settings_of, surveyed
from gateway.settings import Settings

_WORDS: Final = {
    State.YOUNG: "younger than that",
    State.HELD: "kept by a legal hold",
    State.VALUES: "kept: values behind their entries are",
    State.DUE: "to be dropped",
    State.DROPPED: "dropped",
}

app = noun("retention")
app.add_typer(retention_archive.app)
app.add_typer(retention_hold.app, name="hold")


@command(app, example="retention status", good="it was shown", unreachable="the database cannot be reached")
def status(out: Output, config: Config = None, database_url: Owner = None) -> None:
    """Show which partitions of the log are due, held and dropped."""
    settings = settings_of(config, database_url)
    cut = cut_of(settings)
    found, holds = reading(settings, lambda reader: surveyed(reader, cut))
    _show_survey(out, settings, cut, found, holds)


@command(
    app,
    example="retention apply --dry-run",
    good="nothing is due any more",
    negative="a partition that is due was not dropped",
    unreachable="the database cannot be reached",
)
def apply(
    out: Output,
    config: Config = None,
    database_url: Owner = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be dropped.")] = False,
    yes: Yes = False,
) -> Exit:
    """Drop the partitions that are due: verified, archived where an archive is configured, on record, then deleted.

    Nothing brings dropped entries back but an archive. It can be stopped at any time and run again.
    """
    settings = settings_of(config, database_url)
    cut = cut_of(settings)
    found, holds = reading(settings, lambda reader: surveyed(reader, cut))
    due = [one for one in found if one.state is State.DUE]
    if dry_run:
        _show_survey(out, settings, cut, found, holds)
        return Exit.GOOD
    if due and not yes:
        first = "archive and drop" if settings.archive.bucket else "drop, with no archive of them,"
        to = f"{first} {len(due) * PARTITION} entries, all older than {cut}"
        ask_for("drop", out, to=to, unasked="Look at --dry-run, then run it again with --yes.")
    dropped, deleted, refused = asyncio.run(_apply(out, settings, due))
    document = {
        "older_than": cut,
        "dropped": [_range(one) for one in dropped],
        "deleted": deleted,
        "refused": [{**_range(one), "why": why} for one, why in refused],
    }

    def show() -> None:
        gone = counted(deleted, "entry was", "entries were")
        out.line(f"Dropped {counted(len(dropped), 'partition')}; {gone} deleted, the hashes are kept.")
        for one, why in refused:
            out.line(f"entries {one.first} to {one.end - 1} stay: {why}", style="red")

    out.show(document, show)
    return Exit.NEGATIVE if refused else Exit.GOOD


async def _apply(
    out: Output, settings: Settings, due: list[Partition]
) -> tuple[list[Partition], int, list[tuple[Partition, str]]]:
    dropped: list[Partition] = []
    refused: list[tuple[Partition, str]] = []
    async with opened_retention(settings) as retention:
        deleted = await retention.sweep()
        with out.progress("dropping", len(due)) as advance:
            for number, one in enumerate(due, start=1):
                try:
                    deleted += await retention.drop(one.number)
                    dropped.append(one)
                except ArchiveRefused as exc:
                    refused.append((one, exc.detail))
                except EntriesAreHeld as exc:
                    refused.append((one, str(exc)))
                advance(number)
    return dropped, deleted, refused


def _range(one: Partition) -> dict[str, Any]:
    return {"first": one.first, "last": one.end - 1}


def _runs(found: list[Partition]) -> list[list[Partition]]:
    """Neighbours that stand alike."""
    runs: list[list[Partition]] = []
    for one in found:
        if runs and (runs[-1][-1].state, runs[-1][-1].holds) == (one.state, one.holds):
            runs[-1].append(one)
        else:
            runs.append([one])
    return runs


def _show_survey(
    out: Output, settings: Settings, cut: str, found: list[Partition], holds: list[dict[str, Any]]
) -> None:
    runs = _runs(found)
    document = {
        "retention_months": settings.log.retention_months,
        "older_than": cut,
        "archive": settings.archive.bucket,
        "partition": PARTITION,
        "states": {str(state): sum(one.state is state for one in found) for state in State},
        "partitions": [
            {"first": run[0].first, "last": run[-1].end - 1, "state": str(run[0].state), "holds": list(run[0].holds)}
            for run in runs
        ],
        "holds": holds,
    }

    def show() -> None:
        out.facts(
            [
                ("retention", f"{settings.log.retention_months} months: what is older than {cut} is over"),
                ("archive", settings.archive.bucket or "none: what is dropped is gone"),
                ("holds in force", str(len(holds))),
            ]
        )
        out.section(f"Whole partitions ({PARTITION} entries each):")
        rows = (
            [f"{run[0].first} to {run[-1].end - 1}", len(run), _WORDS[run[0].state], list(run[0].holds)] for run in runs
        )
        out.table(["entries", "partitions", "are", "holds"], rows, "The log has no whole partition yet.")

    out.show(document, show)
