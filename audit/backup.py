"""Backups: a copy of the database in one snapshot, with a signed manifest. No key of the gateway is in it.

A backup is a directory: ``handrail.db`` (SQLite, whatever the gateway runs on), ``trust.json`` (public keys, for old
receipts), and ``manifest.note``, a signed note (C2SP signed-note) by the log's checkpoint key over::

    handrail-backup
    v1
    {canonical JSON: origin, size, root, checkpoint, digests, ...}

The second line is no number, so no checkpoint reads like a manifest. The manifest is written last and the directory is
renamed into place when everything in it is durable: what lies under the name that was asked for is whole.
"""

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, Table, create_engine, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from audit.checkpoint import Checkpoint, VerifierKey, checkpoint_text, note_text, parse_checkpoint, verify_note
from audit.database import changing_schema, make_owner, writing
from audit.errors import BackupRefused, LogUnavailable, NoteInvalid
from audit.findings import Finding
from audit.fsck import check
from audit.history import former_origins
from audit.tables import head
from gateway.canonical import canonical
from gateway.errors import HandrailError
from gateway.files import read_bounded, sync_directory, write

DATABASE: Final = "handrail.db"
TRUST: Final = "trust.json"
MANIFEST: Final = "manifest.note"
ROWS: Final = 1_000
"""Rows read and written at a time."""
_MAGIC: Final = "handrail-backup\nv1\n"
_MANIFEST_MAX_BYTES: Final = 65_536

Progress = Callable[[int, int], None]
"""Called with (rows or entries done, in all)."""


def nothing(_done: int, _all: int) -> None:
    """A :data:`Progress` that shows nothing."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself.

    Attributes:
        origin: of the log.
        former: names that the log had before it was restored from a backup, the oldest first.
        gateway: id of the gateway that made it.
        time: when the snapshot was taken (RFC 3339).
        schema: version of the tables.
        size: entries in it.
        root: of the tree of that size, hex.
        checkpoint: signed note of exactly that size.
        files: name -> SHA-256, hex.
        rows: table -> number of rows.
    """

    origin: str
    former: Sequence[str]
    gateway: str
    time: str
    schema: str
    size: int
    root: str
    checkpoint: str
    files: Mapping[str, str]
    rows: Mapping[str, int]

    def text(self) -> str:
        """The text of the note."""
        members = {item.name: getattr(self, item.name) for item in fields(self)}
        return f"{_MAGIC}{canonical(members).decode()}\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the text, hex: how entries name the backup."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    @classmethod
    def parse(cls, note: str, keys: Sequence[VerifierKey]) -> "Manifest":
        """Raises ``BackupRefused`` unless one of ``keys`` signed it, and it is a manifest."""
        try:
            said = verify_note(note, keys)
            members = json.loads(said.removeprefix(_MAGIC))
            manifest = cls(**members)
            fits = said == manifest.text() and all(
                isinstance(getattr(manifest, item.name), _TYPES.get(item.name, str)) for item in fields(cls)
            )
        except NoteInvalid as exc:
            raise BackupRefused(f"{MANIFEST}: {exc.detail}") from None
        except (ValueError, TypeError, AttributeError, HandrailError):
            fits = False
        if not fits:
            raise BackupRefused(f"{MANIFEST}: not a manifest")
        return manifest


_TYPES: Final[Mapping[str, type]] = {"size": int, "former": list, "files": dict, "rows": dict}


@dataclass(frozen=True, slots=True)
class BackupSource:
    """The living log that is backed up.

    Attributes:
        schema: version of its tables.
        sign: a note text -> the note, signed by the checkpoint key.
        keys: verifier keys of all its checkpoints.
        trust: the trust document.
    """

    engine: Engine
    origin: str
    gateway: str
    schema: str
    sign: Callable[[str], str]
    keys: Sequence[VerifierKey]
    trust: bytes


def create(
    source: BackupSource,
    out: Path,
    tables: Sequence[Table],
    prepare: Callable[[Engine], None],
    time: str,
    progress: Progress = nothing,
) -> Manifest:
    """Write a backup to ``out``, and check it before it has that name. The log goes on meanwhile.

    Args:
        tables: what is copied, in an order in which foreign keys hold.
        prepare: makes the tables in an empty database.

    Raises:
        BackupRefused: ``out`` is there, or the log is not sound (the first finding is named).
        LogUnavailable: the database cannot be read.
        OSError: ``out`` cannot be written.
    """
    refuse_existing(out)
    work = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    work.mkdir(mode=0o700)
    try:
        rows = _copy_out(source.engine, work / DATABASE, tables, prepare, progress)
        with reading(work / DATABASE) as copied:
            with copied.connect() as connection:
                row = connection.execute(select(head)).one_or_none()
                former = former_origins(connection)
            if row is None or row.origin != source.origin:
                raise BackupRefused("the database does not hold this log")
            checkpoint = source.sign(checkpoint_text(source.origin, row.tree_size, row.root))
            sound(copied, source.keys, [checkpoint], progress)
        write(work / TRUST, source.trust, replace=False)
        digests = {name: digest(work / name) for name in (DATABASE, TRUST)}
        manifest = Manifest(
            origin=source.origin,
            former=former,
            gateway=source.gateway,
            time=time,
            schema=source.schema,
            size=row.tree_size,
            root=row.root.hex(),
            checkpoint=checkpoint,
            files=digests,
            rows=rows,
        )
        write(work / MANIFEST, source.sign(manifest.text()).encode(), replace=False)
        sync_directory(work)
        refuse_existing(out)
        work.rename(out)
        sync_directory(out.parent)
    except SQLAlchemyError as exc:
        raise LogUnavailable(type(exc).__name__) from exc
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def names(directory: Path) -> list[str]:
    """What a backup *claims* that its log was called, the newest name first: whose keys must have signed it.

    Raises ``BackupRefused``.
    """
    try:
        members = json.loads(note_text(_note(directory)).removeprefix(_MAGIC))
        return [str(name) for name in (members["origin"], *members["former"])]
    except (NoteInvalid, ValueError, TypeError, KeyError):
        raise BackupRefused(f"{MANIFEST}: not a manifest") from None


def verify(
    directory: Path, keys: Sequence[VerifierKey], kept: Sequence[str] = (), progress: Progress = nothing
) -> Manifest:
    """Check a backup whole: signature, digests, and every entry, node and checkpoint of the log in it.

    Args:
        keys: verifier keys of the log, from elsewhere than the backup.
        kept: checkpoints of the log from elsewhere; those beyond the backup's size say nothing about it.

    Raises:
        BackupRefused: it is not whole, not signed by one of ``keys``, or its log is not sound.
    """
    manifest = Manifest.parse(_note(directory), keys)
    if set(manifest.files) != {DATABASE, TRUST}:
        raise BackupRefused(f"{MANIFEST}: names other files")
    for name, expected in manifest.files.items():
        try:
            found = digest(directory / name)
        except OSError as exc:
            raise BackupRefused(f"{name}: {exc.strerror}") from None
        if found != expected:
            raise BackupRefused(f"{name}: not what the manifest says")
    within = [note for note in kept if claimed(note, keys).tree_size <= manifest.size]
    with reading(directory / DATABASE) as engine:
        sound(engine, keys, [manifest.checkpoint, *within], progress)
        try:
            with engine.connect() as connection:
                row = connection.execute(select(head)).one_or_none()
        except SQLAlchemyError as exc:
            raise BackupRefused(f"{DATABASE}: {type(exc).__name__}") from None
    if row is None or (row.origin, row.tree_size, row.root.hex()) != (manifest.origin, manifest.size, manifest.root):
        raise BackupRefused(f"{DATABASE}: holds another log than the manifest says")
    return manifest


def _note(directory: Path) -> str:
    try:
        return read_bounded(directory / MANIFEST, _MANIFEST_MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError):
        raise BackupRefused(f"{directory}: no backup, or one that was never finished ({MANIFEST})") from None


def copy(
    source: Connection, target: Connection, tables: Sequence[Table], progress: Progress = nothing
) -> dict[str, int]:
    """Copy every row of ``tables``; returns how many there were of each."""
    counts = {
        str(table.name): int(source.execute(select(func.count()).select_from(table)).scalar_one()) for table in tables
    }
    done, total = 0, sum(counts.values())
    for table in tables:
        streamed = source.execution_options(yield_per=ROWS).execute(select(table))
        statement = insert(table)
        for part in streamed.mappings().partitions(ROWS):
            target.execute(statement, [dict(row) for row in part])
            done += len(part)
            progress(done, total)
    return counts


def _copy_out(
    source: Engine, file: Path, tables: Sequence[Table], prepare: Callable[[Engine], None], progress: Progress
) -> dict[str, int]:
    target = make_owner(f"sqlite:///{file}")
    try:
        prepare(target)
        with source.connect() as reader, writing(target.connect()) as writer:
            if source.dialect.name == "postgresql":
                reader.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with reader.begin(), writer.begin():
                if source.dialect.name == "postgresql":
                    reader.execute(text("SET LOCAL statement_timeout = 0"))
                counts = copy(reader, writer, tables, progress)
        with target.connect() as connection, changing_schema(connection):
            # One file, which can be read where nothing can be written.
            connection.connection.cursor().execute("PRAGMA journal_mode = DELETE")
    finally:
        target.dispose()
    return counts


@contextmanager
def reading(file: Path) -> Iterator[Engine]:
    """An engine on a SQLite file that nothing writes to, also where the medium is read-only."""
    engine = create_engine(f"sqlite:///file:{file.absolute().as_posix()}?mode=ro&immutable=1&uri=true")
    try:
        yield engine
    finally:
        engine.dispose()


def sound(engine: Engine, keys: Sequence[VerifierKey], kept: Sequence[str], progress: Progress = nothing) -> None:
    """Raises ``BackupRefused`` with the first finding of fsck."""
    try:
        found: Finding | None = next(check(engine, keys=keys, kept=kept, progress=progress), None)
    except LogUnavailable as exc:
        raise BackupRefused(f"the copy cannot be read: {exc.detail}") from None
    if found is not None:
        raise BackupRefused(f"the log is not sound: {found}")


def claimed(note: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """A checkpoint that somebody kept. Raises ``BackupRefused``."""
    try:
        return parse_checkpoint(verify_note(note, keys))
    except NoteInvalid as exc:
        raise BackupRefused(f"a kept checkpoint: {exc.detail}") from None


def digest(file: Path) -> str:
    """SHA-256 of a file, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def refuse_existing(file: Path) -> None:
    """Raises ``BackupRefused`` where something has that name."""
    if file.exists() or file.is_symlink():
        raise BackupRefused(f"{file}: exists already")
