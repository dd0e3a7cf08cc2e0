"""``handrail retention archive`` and ``verify-archive``: partitions of the log in a store that locks them."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from audit import archive as partitions
from audit.archive import ArchivedPartition
from audit.checkpoint import VerifierKey
from audit.dropping import ENTRIES, NOT_ARCHIVED
from audit.errors import ArchiveRefused
from audit.history import facts_of, renamings
from audit.reader import Reader
from audit.retention import Partition, State
from audit.worm import S3Archive
from gateway.cli.audit import log_keys
from gateway.cli.command import command, group
from gateway.cli.exits import Exit, unreadable
from gateway.cli.options import Config
from gateway.cli.output import Output, counted
from gateway.cli.retention_log import Owner, cut_of, must_archive, opened_retention, reading, settings_of, surveyed
from gateway.entries import EntryType
from gateway.errors import HandrailError
from gateway.model import DEFAULT_TENANT
from gateway.settings import Settings

app = group()


@command(
    app,
    example="retention archive",
    good="all that was asked for is in the archive",
    negative="the archive does not do as it must",
    unreachable="the database cannot be reached",
)
def archive(
    out: Output,
    config: Config = None,
    database_url: Owner = None,
    all_: Annotated[bool, typer.Option("--all", help="Every whole partition, also those that are not due.")] = False,
) -> Exit:
    """Put partitions into the archive and drop nothing; those that are there already are verified."""
    settings = settings_of(config, database_url)
    cut = cut_of(settings)
    found, _ = reading(settings, lambda reader: surveyed(reader, cut))
    wanted = [one for one in found if one.state is State.DUE or (all_ and one.state is not State.DROPPED)]
    kept: list[ArchivedPartition] = []
    why = asyncio.run(_archive(out, settings, wanted, kept))
    _show_archived(out, kept, why)
    return Exit.NEGATIVE if why else Exit.GOOD


@command(
    app,
    "verify-archive",
    example="retention verify-archive --trust trust.json",
    good="everything is there and holds",
    negative="something is not, or was changed",
    unreachable="the database cannot be reached",
)
def verify_archive(
    out: Output,
    trust: Annotated[Path, typer.Option(help="Trust document ('handrail keys trust'), from a channel you trust.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Saved partitions; no network, database or configuration."),
    ] = None,
    config: Config = None,
    database_url: Owner = None,
) -> Exit:
    """Verify archived partitions against the log's keys: files, or all that the log says were archived."""
    keys = [VerifierKey.parse(vkey) for vkey in log_keys(trust)]
    kept: list[ArchivedPartition] = []
    try:
        if files:
            with out.progress("verifying", len(files)) as advance:
                for number, file in enumerate(files, start=1):
                    kept.append(_sound(str(file), _bytes(file), keys))
                    advance(number)
        else:
            settings = settings_of(config, database_url)
            store = must_archive(settings)
            said = reading(settings, lambda reader: _archived(reader, settings.log.origin))
            with out.progress("verifying", len(said)) as advance:
                for number, (origin, facts) in enumerate(said, start=1):
                    kept.append(_verified(store, origin, facts, keys))
                    advance(number)
    except HandrailError as exc:
        _show_archived(out, kept, exc.detail)
        return Exit.NEGATIVE
    _show_archived(out, kept, "")
    return Exit.GOOD


async def _archive(out: Output, settings: Settings, wanted: list[Partition], kept: list[ArchivedPartition]) -> str:
    """Why it stopped; empty where it did not."""
    must_archive(settings)
    async with opened_retention(settings) as retention:
        with out.progress("archiving", len(wanted)) as advance:
            for number, one in enumerate(wanted, start=1):
                try:
                    kept.append(await retention.put_away(one.number))
                except ArchiveRefused as exc:
                    return exc.detail
                advance(number)
    return ""


def _archived(reader: Reader, origin: str) -> list[tuple[str, dict[str, Any]]]:
    """What the log says of each archived partition that it dropped, after the name that the log had then.

    Args:
        origin: its name today.
    """
    with reader.connect() as connection:
        renamed = renamings(connection)
        found = list(facts_of(connection, DEFAULT_TENANT, {EntryType.RETENTION_APPLIED}, -1))
    return [
        (next((name for at, name in renamed if at > index), origin), facts)
        for index, facts in found
        if facts.get("what") == ENTRIES and facts.get("archive") != NOT_ARCHIVED
    ]


def _verified(store: S3Archive, origin: str, facts: dict[str, Any], keys: list[VerifierKey]) -> ArchivedPartition:
    name = partitions.object_name(origin, facts["partition"])
    version = str(facts.get("archive_version", ""))
    found = _sound(name, store.get(name, version), keys, origin)
    kept = store.head(name, version)
    if found.sha256 != facts["archive"] or found.root.hex() != facts["root"]:
        raise ArchiveRefused(f"{name}: not what the log says was archived")
    if kept is None or not kept.locked:
        raise ArchiveRefused(f"{name}: no lock is on it any more")
    return found


def _sound(name: str, data: bytes, keys: list[VerifierKey], origin: str | None = None) -> ArchivedPartition:
    """Raises ``ArchiveRefused`` naming the file or object."""
    try:
        return partitions.verify(data, keys, origin)
    except HandrailError as exc:
        raise ArchiveRefused(f"{name}: {exc.detail}") from None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise unreadable(file, exc) from None


def _show_archived(out: Output, kept: list[ArchivedPartition], why: str) -> None:
    document = {
        "verified": not why,
        "why": why or None,
        "partitions": [
            {
                "first": one.first,
                "last": one.last,
                "from": one.first_time,
                "to": one.last_time,
                "sha256": one.sha256,
                "root": one.root.hex(),
                "tree_size": one.checkpoint.tree_size,
            }
            for one in kept
        ],
    }

    def show() -> None:
        rows = ([f"{one.first} to {one.last}", one.first_time, one.last_time, one.sha256] for one in kept)
        if kept:
            out.table(["entries", "from", "to", "SHA-256"], rows)
        if why:
            out.section(f"It stopped there, {counted(len(kept), 'partition')} being good: {why}", style="red")
        elif not kept:
            out.line("There is no partition to look at.")
        else:
            out.section(
                f"{counted(len(kept), 'partition')}: every entry is under a checkpoint that the log signed.",
                style="green",
            )

    out.show(document, show)
