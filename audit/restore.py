"""A restore opens a new origin.

A log that is put back from a backup has lost what came after it, and under its old name it would be a rollback. So the
restored log gets another origin. Its tree begins with the entries of the backup, unchanged, and the first entry under
the new name (``BACKUP_RESTORED``) says what the log was called, the newest checkpoint of it that is known, and which
entries are lost. Every proof to a checkpoint of the old origin up to the backup's size stays valid, and whoever kept
one can ask for a consistency proof into the new log. Messages signed for the old origin are refused by their audience.
"""

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Executable, Table, func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from audit.backup import DATABASE, Manifest, Progress, claimed, copy, nothing, reading, refuse_existing, sound, verify
from audit.checkpoint import VerifierKey, checkpoint_text
from audit.database import make_owner, writing
from audit.entry import COLUMNS, build
from audit.errors import BackupRefused, LogUnavailable
from audit.history import former_origins
from audit.reader import load_frontier
from audit.tables import checkpoints, entries, head
from gateway.entries import EntryDraft, EntryType
from gateway.files import sync_directory
from gateway.model import DEFAULT_TENANT

_LOCK: Final = 0x48414E46
"""PostgreSQL advisory lock: of restores into one database, one fills it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The new log.

    Attributes:
        origin: its name.
        gateway: id of the gateway that will serve it.
        time: RFC 3339.
        controls: entry type -> what it is evidence for.
        sign: a note text -> the note, signed under the new name.
        keys: verifier keys of the new name.
        also: what is entered after the first entry.
        adopt: statements by which what was under way becomes that gateway's.
    """

    origin: str
    gateway: str
    time: str
    controls: Mapping[EntryType, Sequence[str]]
    sign: Callable[[str], str]
    keys: Sequence[VerifierKey]
    also: Sequence[EntryDraft] = ()
    adopt: Sequence[Executable] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it.

    Attributes:
        size: entries that came from the backup; the index of the first entry under the new name.
        known: size of the newest checkpoint of the old log that is known.
        checkpoint: of the new log.
    """

    manifest: Manifest
    size: int
    known: int
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup to restore, and what is known of its log.

    Attributes:
        keys: verifier keys of the old log, from elsewhere than the backup.
        kept: checkpoints of the old log that somebody kept.
        schema: the version of the tables that this program has.
    """

    directory: Path
    keys: Sequence[VerifierKey]
    kept: Sequence[str]
    schema: str


def restore(
    backup: Backup,
    url: str,
    tables: Sequence[Table],
    prepare: Callable[[Engine], None],
    opening: Opening,
    progress: Progress = nothing,
) -> Restored:
    """Put a backup into an empty database, as a log of another name.

    Args:
        url: ``sqlite:///FILE``, where there is no such file, or a PostgreSQL database without tables or rows.
        tables: what is copied, in an order in which foreign keys hold.
        prepare: makes the tables in an empty database.

    Raises:
        BackupRefused: the backup or a kept checkpoint does not hold, the target is not empty, or the name is not new.
        LogUnavailable: the database cannot be written.
    """
    manifest = verify(backup.directory, backup.keys, backup.kept, progress)
    if manifest.schema != backup.schema:
        raise BackupRefused(f"its tables are at {manifest.schema}, this program's at {backup.schema}")
    newest = max([manifest.checkpoint, *backup.kept], key=lambda note: claimed(note, backup.keys).tree_size)
    known = claimed(newest, backup.keys)
    if known.origin != manifest.origin:
        raise BackupRefused(f"a kept checkpoint is of the log {known.origin}")
    facts: dict[str, str | int] = {
        "origin": manifest.origin,
        "size": manifest.size,
        "root": manifest.root,
        "backup": manifest.digest,
        "known_size": known.tree_size,
        "known_root": known.root.hex(),
        "checkpoint": newest,
        "lost": known.tree_size - manifest.size,
    }
    with reading(backup.directory / DATABASE) as source, source.connect() as reader:
        if opening.origin in {manifest.origin, *former_origins(reader)}:
            raise BackupRefused(f"{opening.origin}: the log had this name before; a restored log needs a new one")

        def fill(engine: Engine) -> str:
            prepare(engine)
            with writing(engine.connect()) as writer, writer.begin():
                return _fill(reader, writer, tables, manifest, facts, opening, progress)

        try:
            note = _into_file(url, fill, backup, opening) if url.startswith("sqlite") else _into_server(url, fill)
        except SQLAlchemyError as exc:
            raise LogUnavailable(type(exc).__name__) from exc
    return Restored(manifest, manifest.size, known.tree_size, note)


def _into_file(url: str, fill: Callable[[Engine], str], backup: Backup, opening: Opening) -> str:
    """Into a file that has its name when it is whole."""
    file = Path(url.removeprefix("sqlite:///"))
    refuse_existing(file)
    work = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        engine = make_owner(f"sqlite:///{work}")
        try:
            note = fill(engine)
            sound(engine, [*backup.keys, *opening.keys], [note])
        finally:
            engine.dispose()
        with work.open("rb") as stream:
            os.fsync(stream.fileno())
        try:
            os.link(work, file)
        except FileExistsError:
            raise BackupRefused(f"{file}: exists already") from None
        sync_directory(file.parent)
    finally:
        for left in file.parent.glob(f"{work.name}*"):
            left.unlink()
    return note


def _into_server(url: str, fill: Callable[[Engine], str]) -> str:
    """Into an empty database: all rows in one transaction, so that a gateway finds the whole log or none."""
    engine = make_owner(url)
    try:
        with engine.connect() as connection:
            for name in inspect(connection).get_table_names():
                if name != "alembic_version" and connection.execute(text(f'SELECT 1 FROM "{name}" LIMIT 1')).first():  # noqa: S608
                    raise BackupRefused(f"the database is not empty: table {name} has rows")
        try:
            return fill(engine)
        except IntegrityError as exc:
            raise BackupRefused("the database is not empty: somebody else wrote to it meanwhile") from exc
    finally:
        engine.dispose()


def _fill(
    reader: Connection,
    writer: Connection,
    tables: Sequence[Table],
    manifest: Manifest,
    facts: Mapping[str, str | int],
    opening: Opening,
    progress: Progress,
) -> str:
    if writer.dialect.name == "postgresql":
        writer.execute(text("SET LOCAL statement_timeout = 0"))
        if not writer.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar():
            raise BackupRefused("the database is not empty: another restore is filling it")
    for table in tables:
        # Looked at again inside the transaction: two restores into one database must not mix.
        if writer.execute(select(func.count()).select_from(table)).scalar_one():
            raise BackupRefused(f"the database is not empty: table {table.name} has rows")
    copy(reader, writer, [table for table in tables if table is not head], progress)
    held = select(checkpoints.c.tree_size).where(checkpoints.c.tree_size == manifest.size)
    if writer.execute(held).first() is None:  # then every entry of the old name has a checkpoint of that name above it
        writer.execute(insert(checkpoints).values(tree_size=manifest.size, note=manifest.checkpoint))
    for statement in opening.adopt:
        writer.execute(statement)
    edge = load_frontier(writer, manifest.size)
    for draft in (EntryDraft(EntryType.BACKUP_RESTORED, DEFAULT_TENANT, facts=facts), *opening.also):
        controls = opening.controls[draft.type]
        built = build(draft, time=opening.time, origin=opening.origin, gateway=opening.gateway, controls=controls)
        row: dict[str, Any] = dict(zip(COLUMNS, built.columns, strict=True))
        row |= {"idx": edge.size, "reasons": built.reasons, "body": built.body, "fields": built.fields}
        hashes = b"".join((built.leaf, *edge.append(built.leaf)))
        writer.execute(insert(entries).values(row | {"hashes": hashes}))
    writer.execute(insert(head).values(id=1, tree_size=edge.size, root=edge.root(), origin=opening.origin))
    note = opening.sign(checkpoint_text(opening.origin, edge.size, edge.root()))
    writer.execute(insert(checkpoints).values(tree_size=edge.size, note=note))
    return note
