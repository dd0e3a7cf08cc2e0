"""``handrail retention``: drop what the log need not keep any more, archive it first, and hold what must stay.

These commands work on the database itself, as the role that owns its tables: the gateway's own role can drop nothing.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from sqlalchemy import Engine

from audit import archive as partitions
from audit.archive import ArchivedPartition
from audit.checkpoint import VerifierKey
from audit.database import make_engine
from audit.dropping import ENTRIES, NOT_ARCHIVED
from audit.epochs import EpochKeys
from audit.errors import ArchiveRefused
from audit.history import facts_of
from audit.holds import EntriesHold, Held, in_force, lifting, setting
from audit.log import Log
from audit.reader import Reader
from audit.retained import PARTITION
from audit.retention import Partition, Retention, State, months_before, survey
from audit.worm import S3Archive
from gateway.cli.asking import ask_for
from gateway.cli.audit import log_keys, must_hold_a_log
from gateway.cli.command import command, group, noun
from gateway.cli.exits import Exit, Stop, unreadable
from gateway.cli.options import Config, Yes
from gateway.cli.output import Output
from gateway.entries import EntryType
from gateway.errors import HandrailError
from gateway.model import DEFAULT_TENANT
from gateway.ports import Append, Purpose
from gateway.settings import Settings, load
from keys.keyset import Keyset
from keys.stores.file import FileKeyStore
from keys.stores.master import VARIABLE, MasterKey

Result = TypeVar("Result")
Owner = Annotated[
    str | None,
    typer.Option("--database-url", help="As the tables' owner. Default: the gateway's own; so HANDRAIL_DATABASE__URL."),
]

_NAME: Final = "retention"
"""The ``gateway`` of the entries that these commands write."""
_CASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,63}")
_WORDS: Final = {
    State.YOUNG: "younger than that",
    State.HELD: "kept by a legal hold",
    State.VALUES: "kept: values behind their entries are",
    State.DUE: "to be dropped",
    State.DROPPED: "dropped",
}

app = noun("retention")
hold = group("Keep entries beyond their retention, for a case.")
app.add_typer(hold, name="hold")


@command(app, example="retention status", good="it was shown", unreachable="the database cannot be reached")
def status(out: Output, config: Config = None, database_url: Owner = None) -> None:
    """Show which partitions of the log are due, held and dropped."""
    settings = _settings(config, database_url)
    cut = months_before(time.time(), settings.log.retention_months)
    found, holds = _reading(settings, lambda reader: _surveyed(reader, cut))
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
    settings = _settings(config, database_url)
    cut = months_before(time.time(), settings.log.retention_months)
    found, holds = _reading(settings, lambda reader: _surveyed(reader, cut))
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
        out.line(f"Dropped {len(dropped)} partition(s); {deleted} entries were deleted, their hashes are kept.")
        for one, why in refused:
            out.line(f"entries {one.first} to {one.end - 1} stay: {why}", style="red")

    out.show(document, show)
    return Exit.NEGATIVE if refused else Exit.GOOD


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
    settings = _settings(config, database_url)
    cut = months_before(time.time(), settings.log.retention_months)
    found, _ = _reading(settings, lambda reader: _surveyed(reader, cut))
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
                    kept.append(partitions.verify(_bytes(file), keys))
                    advance(number)
        else:
            settings = _settings(config, database_url)
            store = _must_archive(settings)
            said = _reading(settings, _archived)
            with out.progress("verifying", len(said)) as advance:
                for number, facts in enumerate(said, start=1):
                    kept.append(_verified(store, settings.log.origin, facts, keys))
                    advance(number)
    except HandrailError as exc:
        _show_archived(out, kept, exc.detail)
        return Exit.NEGATIVE
    _show_archived(out, kept, "")
    return Exit.GOOD


@command(hold, "set", example="retention hold set --case 2026/17 --context c-42", good="the hold is in force")
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
    held = Held(first=first, last=last, tenant=tenant, context_id=context, plan_id=plan, principal=principal)
    if everything == bool(held.facts()):
        hint = "Give --first and --last, --context, --plan, --principal or --tenant, or --everything."
        raise Stop("it is not said what to hold", hint)
    if first is not None and last is not None and last < first:
        raise Stop("--last is before --first", "A hold on no entry would keep nothing.")
    settings = _settings(config, database_url)
    hold_id, entry = setting(held, case)
    (index,) = asyncio.run(_appended(settings, Append([entry])))
    document = {"hold": hold_id, "case": case, "held": held.facts(), "index": index}
    out.show(document, lambda: out.line(f"Hold {hold_id} is in force on {held} (entry {index})."))


@command(
    hold, example="retention hold lift 5f0c1e7a9b3d2468", good="the hold is no more", negative="there is no such hold"
)
def lift(
    out: Output,
    hold_id: Annotated[str, typer.Argument(metavar="HOLD", help="Its id.")],
    config: Config = None,
    database_url: Owner = None,
) -> None:
    """End a hold; what it kept is dropped the next time that the retention is applied."""
    settings = _settings(config, database_url)
    known = {one.hold_id: one for one in _reading(settings, _holds)}
    if hold_id not in known:
        raise Stop(f"{hold_id}: no such hold is in force", "'handrail retention hold list' shows them.", Exit.NEGATIVE)
    (index,) = asyncio.run(_appended(settings, Append([lifting(known[hold_id])])))
    out.show({"hold": hold_id, "index": index}, lambda: out.line(f"Hold {hold_id} is no more (entry {index})."))


@command(hold, "list", example="retention hold list", good="they were listed")
def list_(out: Output, config: Config = None, database_url: Owner = None) -> None:
    """List the holds in force."""
    found = _reading(_settings(config, database_url), _holds)
    document = {"holds": [_hold(one) for one in found]}
    rows = ([one.hold_id, one.case, str(one.held), one.time, one.index] for one in found)
    out.show(document, lambda: out.table(["hold", "case", "on", "since", "entry"], rows, "No hold is in force."))


# --- the log ---------------------------------------------------------------------------------------------------------


def _settings(config: Path | None, database_url: str | None) -> Settings:
    settings = load(config)
    if database_url is None:
        return settings
    database = settings.database.model_copy(update={"url": database_url})
    return settings.model_copy(update={"database": database})


def _reading(settings: Settings, work: Callable[[Reader], Result]) -> Result:
    engine = make_engine(settings.database_url)
    try:
        must_hold_a_log(engine)
        return work(Reader(engine))
    finally:
        engine.dispose()


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Engine, Log, list[VerifierKey]]]:
    """The log, for writing, with the gateway's own keys; nothing is made that is not there."""
    file = settings.keys.master_key_file or settings.home / "master.key"
    if VARIABLE not in os.environ and not file.is_file():
        raise Stop(f"{file}: there is no master key", f"Set HANDRAIL_HOME to the gateway's own, or give {VARIABLE}.")
    master = MasterKey.load(file)
    keyset = Keyset(FileKeyStore(settings.home / "keys", master), settings.keys)
    keyset.reload()
    engine = make_engine(settings.database_url)
    try:
        must_hold_a_log(engine)
        log = Log(engine, settings.log, keyset, EpochKeys(settings.home / "epochs", master.derive("epoch")), _NAME)
        await log.start()
        try:
            raw = [key.raw for key in keyset.public_bytes(Purpose.CHECKPOINT)]
            yield engine, log, [VerifierKey(settings.log.origin, one) for one in raw]
        finally:
            await log.close()
    finally:
        engine.dispose()


async def _appended(settings: Settings, item: Append) -> list[int]:
    async with _opened(settings) as (_, log, _):
        return list(await log.append(item))


@asynccontextmanager
async def _retention(settings: Settings) -> AsyncIterator[Retention]:
    store = _must_archive(settings) if settings.archive.bucket else None
    async with _opened(settings) as (engine, log, keys):
        months, lock = settings.log.retention_months, settings.archive.lock_months
        yield Retention(engine, log, keys, months, store, lock, time.time)


async def _apply(
    out: Output, settings: Settings, due: list[Partition]
) -> tuple[list[Partition], int, list[tuple[Partition, str]]]:
    dropped: list[Partition] = []
    refused: list[tuple[Partition, str]] = []
    async with _retention(settings) as retention:
        deleted = await retention.sweep()
        with out.progress("dropping", len(due)) as advance:
            for number, one in enumerate(due, start=1):
                try:
                    deleted += await retention.drop(one.number)
                    dropped.append(one)
                except ArchiveRefused as exc:
                    refused.append((one, exc.detail))
                advance(number)
    return dropped, deleted, refused


async def _archive(out: Output, settings: Settings, wanted: list[Partition], kept: list[ArchivedPartition]) -> str:
    """Why it stopped; empty where it did not."""
    _must_archive(settings)
    async with _retention(settings) as retention:
        with out.progress("archiving", len(wanted)) as advance:
            for number, one in enumerate(wanted, start=1):
                try:
                    kept.append(await retention.put_away(one.number))
                except ArchiveRefused as exc:
                    return exc.detail
                advance(number)
    return ""


# --- the archive -----------------------------------------------------------------------------------------------------


def _must_archive(settings: Settings) -> S3Archive:
    if settings.archive.bucket is None:
        raise Stop("no archive is configured", "Set [archive] bucket: one with object lock.")
    try:
        return S3Archive.open(settings.archive)
    except ArchiveRefused as exc:
        hint = "Object lock has to be enabled, and the credentials found as the AWS tools find them."
        raise Stop(exc.detail, hint, Exit.NEGATIVE) from None


def _archived(reader: Reader) -> list[dict[str, Any]]:
    """What the log says of each archived partition that it dropped."""
    with reader.connect() as connection:
        found = [facts for _, facts in facts_of(connection, DEFAULT_TENANT, {EntryType.RETENTION_APPLIED}, -1)]
    return [facts for facts in found if facts.get("what") == ENTRIES and facts.get("archive") != NOT_ARCHIVED]


def _verified(store: S3Archive, origin: str, facts: dict[str, Any], keys: list[VerifierKey]) -> ArchivedPartition:
    name = partitions.object_name(origin, facts["partition"])
    version = str(facts.get("archive_version", ""))
    found = partitions.verify(store.get(name, version), keys, origin)
    kept = store.head(name, version)
    if found.sha256 != facts["archive"] or found.root.hex() != facts["root"]:
        raise ArchiveRefused(f"{name}: not what the log says was archived")
    if kept is None or not kept.locked:
        raise ArchiveRefused(f"{name}: no lock is on it any more")
    return found


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise unreadable(file, exc) from None


# --- what is shown ---------------------------------------------------------------------------------------------------


def _surveyed(reader: Reader, cut: str) -> tuple[list[Partition], list[EntriesHold]]:
    with reader.connect() as connection:
        return list(survey(connection, cut)), in_force(connection)


def _holds(reader: Reader) -> list[EntriesHold]:
    with reader.connect() as connection:
        return in_force(connection)


def _range(one: Partition) -> dict[str, Any]:
    return {"first": one.first, "last": one.end - 1}


def _hold(one: EntriesHold) -> dict[str, Any]:
    return {"hold": one.hold_id, "case": one.case, "held": one.held.facts(), "since": one.time, "index": one.index}


def _runs(found: list[Partition]) -> list[list[Partition]]:
    """Neighbours that stand alike."""
    runs: list[list[Partition]] = []
    for one in found:
        if runs and (runs[-1][-1].state, runs[-1][-1].holds) == (one.state, one.holds):
            runs[-1].append(one)
        else:
            runs.append([one])
    return runs


def _show_survey(out: Output, settings: Settings, cut: str, found: list[Partition], holds: list[EntriesHold]) -> None:
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
        "holds": [_hold(one) for one in holds],
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
        out.table(["entries", "from", "to", "SHA-256"], rows, "Nothing.")
        if why:
            out.section(f"It stopped there: {why}", style="red")
        else:
            out.section(
                f"{len(kept)} partition(s): every entry is under a checkpoint that the log signed.", style="green"
            )

    out.show(document, show)
