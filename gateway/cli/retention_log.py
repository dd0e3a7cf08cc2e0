"""The log and the archive as ``handrail retention`` opens them: the database itself, with the gateway's keys."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from sqlalchemy import Connection, Engine, select

from audit.checkpoint import VerifierKey
from audit.database import make_engine, make_owner
from audit.epochs import EpochKeys
from audit.errors import ArchiveRefused
from audit.history import TREE_SIZE
from audit.holds import EntriesHold, Held, beyond, in_force, too_late
from audit.log import Log
from audit.reader import Reader
from audit.retention import Partition, Retention, months_before, survey
from audit.worm import S3Archive
from gateway.cli.audit import must_hold_a_log
from gateway.cli.exits import Exit, Stop
from gateway.keyring import services as key_services
from gateway.keyring import stores as key_stores
from gateway.ports import Append, Purpose
from gateway.settings import Settings, load
from keys.keyset import Keyset
from keys.stores.master import VARIABLE

Result = TypeVar("Result")
Owner = Annotated[
    str | None,
    typer.Option("--database-url", help="As the tables' owner. Default: the gateway's own, HANDRAIL_DATABASE__URL."),
]

_NAME: Final = "retention"
"""The ``gateway`` of the entries that these commands write."""


def settings_of(config: Path | None, database_url: str | None) -> Settings:
    """The settings, with the owner's database where one was given."""
    settings = load(config)
    if database_url is None:
        return settings
    database = settings.database.model_copy(update={"url": database_url})
    return settings.model_copy(update={"database": database})


def reading(settings: Settings, work: Callable[[Reader], Result]) -> Result:
    """What ``work`` reads of the log."""
    engine = make_engine(settings.database_url)
    try:
        must_hold_a_log(engine)
        return work(Reader(engine))
    finally:
        engine.dispose()


@asynccontextmanager
async def opened(
    settings: Settings, engine_of: Callable[[str], Engine] = make_engine
) -> AsyncIterator[tuple[Engine, Log, list[VerifierKey]]]:
    """The log, for writing, with the gateway's own keys; nothing is made that is not there, and no key signs that the
    log says is revoked.

    Args:
        engine_of: makes the engine of the database's URL; ``make_owner`` for what drops entries.
    """
    if not key_services.has_wrapper(settings):
        where = settings.master_key_file
        raise Stop(f"{where}: there is no master key", f"Set HANDRAIL_HOME to the gateway's own, or give {VARIABLE}.")
    root = key_stores.open_root(settings)
    engine = engine_of(settings.database_url)
    try:
        must_hold_a_log(engine)
        store = key_stores.open_store(settings, root, lambda: engine, key_stores.recorded(engine))
        keyset = Keyset(store, settings.keys, post_quantum=settings.log.post_quantum)
        keyset.reload()
        log = Log(engine, settings.log, keyset, EpochKeys(settings.epochs_directory, root.derive("epoch")), _NAME)
        await log.start()
        try:
            raw = [key.raw for key in keyset.public_bytes(Purpose.CHECKPOINT)]
            yield engine, log, [VerifierKey(settings.log.origin, one) for one in raw]
        finally:
            await log.close()
    finally:
        engine.dispose()


async def appended(settings: Settings, item: Append) -> list[int]:
    """Append to the log; returns the indices."""
    async with opened(settings) as (_, log, _):
        return list(await log.append(item))


@asynccontextmanager
async def opened_retention(settings: Settings) -> AsyncIterator[Retention]:
    """The retention of the configured log, with its archive."""
    store = must_archive(settings) if settings.archive.bucket else None
    async with opened(settings, make_owner) as (engine, log, keys):
        months, lock = settings.log.retention_months, settings.archive.lock_months
        yield Retention(engine, log, keys, months, store, lock, time.time)


def must_archive(settings: Settings) -> S3Archive:
    """The configured archive. Raises ``Stop`` where there is none, or it locks nothing."""
    if settings.archive.bucket is None:
        raise Stop("no archive is configured", "Set [archive] bucket: one with object lock.")
    try:
        return S3Archive.open(settings.archive)
    except ArchiveRefused as exc:
        hint = "Object lock has to be enabled, and the credentials found as the AWS tools find them."
        raise Stop(exc.detail, hint, Exit.NEGATIVE) from None


def cut_of(settings: Settings) -> str:
    """What is older than this is over."""
    return months_before(time.time(), settings.log.retention_months)


def surveyed(reader: Reader, cut: str) -> tuple[list[Partition], list[dict[str, Any]]]:
    """Every whole partition, and the holds in force as JSON."""
    with reader.connect() as connection:
        return list(survey(connection, cut)), _views(connection)


def holds_of(reader: Reader) -> list[EntriesHold]:
    """The holds in force."""
    with reader.connect() as connection:
        return in_force(connection)


def hold_views(reader: Reader) -> list[dict[str, Any]]:
    """The holds in force as JSON."""
    with reader.connect() as connection:
        return _views(connection)


def dropped_before(reader: Reader, held: Held, index: int) -> list[tuple[int, int]]:
    """Stretches for which a hold that was set at ``index`` is too late."""
    with reader.connect() as connection:
        return too_late(connection, held, index)


def not_there_yet(held: Held, size: int) -> dict[str, int | None] | None:
    """Which places of a hold a log of ``size`` entries does not have, as JSON."""
    found = beyond(held, size)
    return None if found is None else {"first": found[0], "last": found[1]}


def not_there_words(places: dict[str, int | None]) -> str:
    """The same for people."""
    first, last = places["first"], places["last"]
    return f"from entry {first} on" if last is None else f"entries {first} to {last}"


def _views(connection: Connection) -> list[dict[str, Any]]:
    size = connection.execute(select(TREE_SIZE)).scalar() or 0
    return [
        {
            "hold": one.hold_id,
            "case": one.case,
            "held": one.held.facts(),
            "since": one.time,
            "index": one.index,
            "not_there_yet": not_there_yet(one.held, size),
        }
        for one in in_force(connection)
    ]
