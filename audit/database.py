"""How Handrail opens a database: durable commits, bounded waits, one transaction meaning on both engines."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from audit.authorizer import authorize, authorize_owner
from audit.driver import Driver
from audit.errors import LogUnavailable
from audit.moved import OpenFiles, database_file

WRITE: Final = "handrail_write"
"""Execution option of a connection whose transactions take SQLite's write lock at once, instead of failing later when
a read transaction turns into a write."""
LOCK_MILLISECONDS: Final = 1_500
"""How long a statement waits for another's lock; below the two seconds in which an append must be answered."""
STATEMENT_MILLISECONDS: Final = 10_000
CACHE_BYTES: Final = 4 << 20
"""SQLite's pages in memory, for each connection. Every commit of another connection empties it, so that what a reader
keeps is of no use to its next read while the log is written; the writer's commits take no longer with so much than with
eight times as much (docs/performance.md). What is not in it the operating system has."""
_FILES: Final = "handrail_files"
"""Under which a pooled connection keeps its :class:`OpenFiles`."""
_POOL: Final = "handrail_pool"
"""Under which a connection keeps the pool that it was opened for."""
_AUTHORIZER: Final = "handrail_authorizer"
"""Under which a connection to SQLite keeps what it is guarded by."""

_PRAGMAS: Final = (
    f"PRAGMA busy_timeout = {LOCK_MILLISECONDS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    f"PRAGMA cache_size = -{CACHE_BYTES >> 10}",
    "PRAGMA wal_autocheckpoint = 4000",
)
# A server that vanished is noticed within seconds.
_POSTGRES: Final[dict[str, Any]] = {
    "connect_timeout": 2,
    "keepalives_idle": 3,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 8_000,
}
_POSTGRES_SESSION: Final = (
    f"SET lock_timeout = {LOCK_MILLISECONDS}",
    f"SET statement_timeout = {STATEMENT_MILLISECONDS}",
    "SET idle_in_transaction_session_timeout = 15000",
    "SET synchronous_commit = on",
)


def make_engine(url: str) -> Engine:
    """The engine of a gateway for ``sqlite:///FILE`` or ``postgresql+psycopg://...``."""
    if url.startswith("sqlite"):
        engine = create_engine(url)
    else:
        engine = create_engine(url, connect_args=dict(_POSTGRES), pool_pre_ping=True)
    configure(engine)
    return engine


def make_owner(url: str) -> Engine:
    """The engine of whoever owns the tables: for applying the retention, and for copying a log.

    On SQLite its connections may do what a gateway's may not (``audit.rights.DROPPABLE``); on PostgreSQL that is up to
    the role in ``url``.
    """
    if not url.startswith("sqlite"):
        return make_engine(url)
    engine = create_engine(url)
    configure(engine)
    event.listen(engine, "connect", _as_owner)
    return engine


def unusable(url: str, error: SQLAlchemyError) -> LogUnavailable:
    """What a database driver said, with the address and without the password."""
    where = make_url(url).render_as_string(hide_password=True)
    said = str(getattr(error, "orig", None) or type(error).__name__).strip().split("\n")[0]
    return LogUnavailable(f"{where}: {said}")


def configure(engine: Engine) -> None:
    """Give an engine the session settings of :func:`make_engine`. Does nothing the second time."""
    if engine.dialect.name == "sqlite":
        if not event.contains(engine, "connect", _connect_sqlite):
            opening = _Opening(engine)
            event.listen(engine, "do_connect", opening.before)
            event.listen(engine, "connect", _connect_sqlite)
            event.listen(engine, "connect", opening.after)
            event.listen(engine, "begin", _begin_sqlite)
            _close_late(engine)
            engine.dispose()
    elif not event.contains(engine, "connect", _connect_postgres):
        event.listen(engine, "connect", _connect_postgres)
        _close_late(engine)
        engine.dispose()


def _close_late(engine: Engine) -> None:
    """Have a connection closed that comes back after its engine was disposed of, from a thread that waited for the
    database. SQLAlchemy would put it into the pool that nobody has any more, open until that is collected."""

    def opened(_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info[_POOL] = engine.pool

    def back(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        if record.info.get(_POOL, engine.pool) is not engine.pool:
            record.close()

    event.listen(engine, "connect", opened)
    event.listen(engine, "checkin", back)


def writing(connection: Connection) -> Connection:
    """The same connection, its transactions taking the write lock first."""
    return connection.execution_options(**{WRITE: True})


@contextmanager
def changing_schema(connection: Connection) -> Iterator[None]:
    """Lift the authorizer (:mod:`audit.authorizer`) for the length of the block: for migrations, not for a gateway's
    work. Does nothing on PostgreSQL, where the owner's role is what may do that."""
    raw = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        raw.set_authorizer(None)
    try:
        yield
    finally:
        if isinstance(raw, sqlite3.Connection):
            raw.set_authorizer(connection.info[_AUTHORIZER])


def is_full_or_busy(error: DBAPIError) -> bool:
    """Whether SQLite itself says that a failed COMMIT left nothing: no room, or no lock."""
    original = error.orig
    if not isinstance(original, sqlite3.Error):
        return False
    code = getattr(original, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_conflict(error: SQLAlchemyError) -> bool:
    """Whether PostgreSQL gave up this transaction in favour of another (40001, 40P01): trying again is right."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in {"40001", "40P01"}


class _Opening:
    """Makes the database where there never was one, and from then on only opens it: a file that went missing must not
    be answered with an empty one in its place.
    """

    def __init__(self, engine: Engine) -> None:
        self._file = database_file(engine)
        self._made = False

    def before(
        self, _dialect: object, record: ConnectionPoolEntry, arguments: list[Any], settings: dict[str, Any]
    ) -> None:
        if self._file is None:
            return
        if not self._made:
            _make_private(self._file)
        record.info[_FILES] = OpenFiles(self._file)
        if self._made:
            arguments[0] = f"{self._file.as_uri()}?mode=rw"
            settings["uri"] = True

    def after(self, _dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        self._made = True
        files: OpenFiles | None = record.info.get(_FILES)
        if files is not None and files.missing:  # this connection made it
            record.info[_FILES] = OpenFiles(files.database)


def _make_private(file: Path) -> None:
    """A database that is not there yet is made for its owner alone; its write-ahead log takes after it. What keeps it
    from being made, SQLite says in a moment."""
    with suppress(OSError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def open_files(connection: Connection) -> OpenFiles | None:
    """Which files a connection to a SQLite database on disk opened; ``None`` for any other."""
    found: OpenFiles | None = connection.info.get(_FILES)
    return found


def _connect_sqlite(dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    # The driver's own implicit transactions are off: BEGIN is ours, so that SAVEPOINT and DDL are transactional.
    dbapi_connection.isolation_level = None
    _execute(dbapi_connection, _PRAGMAS)
    _require_wal(dbapi_connection)
    _guard(dbapi_connection, record, authorize)


def _as_owner(dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    _guard(dbapi_connection, record, authorize_owner)


def _guard(dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry, authorizer: Callable[..., int]) -> None:
    if isinstance(dbapi_connection, sqlite3.Connection):
        record.info[_AUTHORIZER] = authorizer
        dbapi_connection.set_authorizer(authorizer)


def _require_wal(dbapi_connection: DBAPIConnection) -> None:
    """A file system without shared memory leaves the journal as it was; commits are then durable in another way than
    the one that was tried (docs/durability.md)."""
    cursor = dbapi_connection.cursor()
    cursor.execute("PRAGMA journal_mode")
    (mode,) = cursor.fetchone() or ("",)
    cursor.close()
    if mode not in {"wal", "memory"}:
        raise sqlite3.OperationalError(f"the journal stays {mode}: this file system has no write-ahead log")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(WRITE, False)
    Driver(connection).execute("BEGIN IMMEDIATE" if write else "BEGIN")


def _connect_postgres(dbapi_connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    _execute(dbapi_connection, _POSTGRES_SESSION)
    dbapi_connection.commit()


def _execute(dbapi_connection: DBAPIConnection, statements: tuple[str, ...]) -> None:
    cursor = dbapi_connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()
