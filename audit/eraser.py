"""The connection that erases: it may delete from the side table and move its keys to another epoch, and nothing else.

On PostgreSQL that is a role of its own (``deploy/postgres/eraser-role.sql``), where one is configured. On SQLite, which
has no roles, it is an authorizer on connections of their own.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, delete, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from audit.database import configure, make_engine, writing
from audit.errors import LogUnavailable
from audit.tables import data_keys, erasures, holds, key_buckets, payload_keys, payloads

DELETE_AT_ONCE: Final = 1_000
"""Rows in one transaction: the log's writer waits for no longer one."""
HOLDS_LOCK: Final = 4_714_368_250_718
"""Of PostgreSQL's advisory locks: taken by whoever sets a hold (a trigger of ``migrations.defences``) and by whoever
deletes what is past its time, so that neither comes between the other's look and act."""

DELETES_FROM: Final = frozenset({payloads.name, payload_keys.name, data_keys.name, key_buckets.name})
UPDATES: Final[Mapping[str, frozenset[str]]] = {
    data_keys.name: frozenset({"subject", "bucket", "wrapped"}),
    key_buckets.name: frozenset({"epoch", "wrapped"}),
    holds.name: frozenset({"subject", "epoch", "wrapped"}),
    erasures.name: frozenset({"payloads"}),
}
_HARMLESS: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_PRAGMA,
    }
)


def make_eraser(url: str) -> Engine:
    """The engine that erases, for ``sqlite:///FILE`` or ``postgresql+psycopg://...``."""
    if not url.startswith("sqlite"):
        return make_engine(url)
    engine = create_engine(url)
    configure(engine)
    event.listen(engine, "connect", _restrict)
    return engine


@contextmanager
def erasing(engine: Engine) -> Iterator[Connection]:
    """One transaction. Raises ``LogUnavailable`` for whatever the database says."""
    try:
        with writing(engine.connect()) as connection, connection.begin():
            yield connection
    except SQLAlchemyError as exc:
        raise LogUnavailable(f"erasing: {type(exc).__name__}") from exc


def no_hold_is_set(connection: Connection) -> None:
    """Wait for whoever is setting a hold, and let nobody set one until the transaction ends.

    On SQLite the transaction has done so by beginning: there is one writer at a time.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:the_lock)"), {"the_lock": HOLDS_LOCK})


def delete_values(connection: Connection, commitments: Sequence[str]) -> int:
    """Delete some payloads; returns how many were there."""
    gone = connection.execute(delete(payloads).where(payloads.c.commitment.in_(commitments))).rowcount
    connection.execute(delete(payload_keys).where(payload_keys.c.commitment.in_(commitments)))
    return int(gone)


def truncate_wal(engine: Engine) -> bool:
    """Whether nothing is left in SQLite's write-ahead log; somebody who reads keeps it from being emptied.

    PostgreSQL recycles its log by itself; what is in there is sealed under keys that are gone.
    """
    if engine.dialect.name != "sqlite":
        return True
    try:
        raw = engine.raw_connection()
        try:
            cursor = raw.cursor()
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            row = cursor.fetchone()
            return row is not None and row[0] == 0
        finally:
            raw.close()
    except (SQLAlchemyError, sqlite3.Error) as exc:
        raise LogUnavailable(f"erasing: {type(exc).__name__}") from exc


def _restrict(dbapi_connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    dbapi_connection.set_authorizer(_authorize)


def _authorize(action: int, table: str | None, column: str | None, _database: str | None, _by: str | None) -> int:
    if action in _HARMLESS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_DELETE and table in DELETES_FROM:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_UPDATE and table is not None and column in UPDATES.get(table, ()):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
