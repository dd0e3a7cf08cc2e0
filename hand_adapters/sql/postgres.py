"""A connection to PostgreSQL, through psycopg."""

import re
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, cast

import psycopg
from psycopg import errors
from psycopg.types.string import TextLoader
from sqlglot import exp

from hand_adapters.sql.reading import Statement
from hand_adapters.sql.rows import Collected
from hand_adapters.sql.session import (
    DatabaseLost,
    DatabaseRefused,
    DatabaseTimedOut,
    Failure,
    Limits,
    Outcome,
    failure_of,
)

_AS_TEXT: Final = (
    "cidr", "date", "inet", "interval", "numeric", "time", "timestamp", "timestamptz", "timetz", "uuid",
)  # fmt: skip
"""Types whose text says more than Python's of the same name: all digits, any year, infinity."""
_TIMESTAMPS: Final = {1114, 1184}
"""OIDs of ``timestamp`` and ``timestamptz``."""
_TIMESTAMP: Final = re.compile(r"(\d+-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)(\+00)?")
_ATTRIBUTES: Final = """
    SELECT count(*) FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (schema, name, attribute)
    JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = wanted.attribute AND NOT a.attisdropped
"""
_ROW_FUNCTIONS: Final = """
    SELECT count(*) FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
    WHERE p.proname = ANY($1::text[]) AND n.nspname = ANY($2::text[]) AND t.typtype IN ('c', 'p', 'd')
"""
"""Functions outside of the database's own that take a row: their name after a dot calls them."""


class PostgresSession:
    """``session.Session``."""

    def __init__(self, connection: psycopg.Connection[Any], schemas: tuple[str, ...]) -> None:
        self._connection = connection
        self._schemas = list(schemas)
        # Functions and operators of pg_catalog come first; temporary tables last, and never for a name without schema.
        self._path = ", ".join(f'"{name}"' for name in ("pg_catalog", *schemas, "pg_temp"))
        self._lock = threading.Lock()
        self._cancelled = False
        for name in _AS_TEXT:
            connection.adapters.register_loader(name, TextLoader)

    @classmethod
    def connect(
        cls,
        address: str,
        *,
        host: str,
        port: int,
        name: str,
        user: str,
        password: str | None,
        tls: bool,
        ca_file: Path | None,
        schemas: tuple[str, ...],
        seconds: float,
    ) -> "PostgresSession":
        """Connect to the very ``address``; a certificate has to be ``host``'s.

        Raises:
            DatabaseLost: no connection; it says nothing about the password.
        """
        try:
            connection = psycopg.connect(
                host=host,
                hostaddr=address,
                port=port,
                dbname=name,
                user=user,
                password=password or "",
                passfile="/nonexistent",
                sslmode="verify-full" if tls else "disable",
                sslrootcert=str(ca_file) if ca_file is not None else "system" if tls else "",
                sslcert="",
                sslkey="",
                gssencmode="disable",
                require_auth="scram-sha-256" if password else "none",
                target_session_attrs="any",
                options="",
                client_encoding="UTF8",
                application_name="handrail",
                connect_timeout=max(2, int(seconds)),
                autocommit=True,
                prepare_threshold=None,
            )
        except psycopg.Error as exc:
            raise DatabaseLost(str(exc).partition("\n")[0][:300]) from None
        return cls(connection, schemas)

    def run(
        self, statement: Statement, values: Mapping[str, Any], limits: Limits, sending: Callable[[], None]
    ) -> Outcome:
        """See ``session.Session``."""
        changes = bool(statement.facts.changes)
        cursor = psycopg.RawCursor(self._connection)
        try:
            self._begin(cursor, statement, limits, changes=changes)
        except psycopg.Error as exc:
            raise DatabaseLost(type(exc).__name__) from None
        sending()
        try:
            with self._lock:
                if self._cancelled:
                    raise DatabaseTimedOut
            outcome = self._run(cursor, statement, [values[name] for name in statement.parameters], limits)
            cursor.execute("COMMIT" if changes else "ROLLBACK")
        except DatabaseRefused:
            self._undo()
            raise
        except errors.QueryCanceled:
            self._undo()
            raise DatabaseTimedOut from None
        except psycopg.Error as exc:
            if self._connection.closed or self._connection.broken or (exc.sqlstate is None and _lost(exc)):
                raise DatabaseLost(type(exc).__name__) from None
            self._undo()
            code = exc.sqlstate or "-"
            message = exc.diag.message_primary or type(exc).__name__
            raise DatabaseRefused(failure_of(code), code, message) from None
        return outcome

    def _begin(self, cursor: "psycopg.RawCursor[Any]", statement: Statement, limits: Limits, *, changes: bool) -> None:
        milliseconds = str(max(1, int(limits.seconds * 1000)))
        local = {
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
            "idle_in_transaction_session_timeout": "60000",
            "search_path": self._path,
            "standard_conforming_strings": "on",
            "TimeZone": "UTC",
            "DateStyle": "ISO",
            "IntervalStyle": "iso_8601",
            "bytea_output": "hex",
        }
        cursor.execute("BEGIN READ WRITE" if changes else "BEGIN READ ONLY")
        sets = ", ".join(
            f"pg_catalog.set_config(${2 * index + 1}, ${2 * index + 2}, true)" for index in range(len(local))
        )
        cursor.execute(f"SELECT {sets}".encode(), [part for pair in local.items() for part in pair])
        attributes = statement.facts.attributes
        if attributes:
            # ``row.name`` calls a function of that name where there is no such column; here it has to be a column.
            found = cursor.execute(_ATTRIBUTES, [list(part) for part in zip(*attributes, strict=True)]).fetchone()
            if found is None or found[0] < len(attributes):
                self._undo()
                raise DatabaseRefused(Failure.STATEMENT, "42703", "a column that has a prefix does not exist")
        if statement.facts.members:
            # Of other rows than tables' only the database knows the columns; here no function may have such a name.
            found = cursor.execute(_ROW_FUNCTIONS, [list(statement.facts.members), self._schemas]).fetchone()
            if found is None or found[0]:
                self._undo()
                raise DatabaseRefused(Failure.STATEMENT, "42883", "a name after a row is that of a function")

    def _run(
        self, cursor: "psycopg.RawCursor[Any]", statement: Statement, values: list[Any], limits: Limits
    ) -> Outcome:
        text = statement.text.encode()
        changing = isinstance(statement.tree, exp.Insert | exp.Update | exp.Delete)
        if changing and not statement.tree.args.get("returning"):
            cursor.execute(text, values)
            _check_changed(cursor.rowcount, limits)
            return Outcome((), (), truncated=False, changed=cursor.rowcount)
        collected: Collected | None = None
        stamps: list[bool] = []
        number = 0
        # The stream holds the connection until it is closed, and ends what the database still has to send.
        rows = cast("Generator[Any, None, None]", cursor.stream(text, values))
        with closing(rows) as stream:
            for row in stream:
                number += 1
                if collected is None:
                    collected = Collected([column.name for column in cursor.description or ()], limits)
                    stamps = [column.type_code in _TIMESTAMPS for column in cursor.description or ()]
                if not collected.take(map(_shown, row, stamps)) and not changing:
                    break
                if changing:
                    _check_changed(number, limits)
        if collected is None:
            collected = Collected([column.name for column in cursor.description or ()], limits)
        return Outcome(collected.columns, collected.rows, collected.truncated, number if changing else None)

    def _undo(self) -> None:
        """Roll back; where that cannot be said, the connection's end does it."""
        try:
            self._connection.rollback()
        except psycopg.Error:
            self._connection.close()

    def cancel(self) -> None:
        """See ``session.Session``."""
        with self._lock:
            self._cancelled = True
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=2.0)

    def clean(self) -> bool:
        """See ``session.Session``."""
        if self._cancelled or self._connection.closed:
            return False
        try:
            self._connection.execute("DISCARD ALL")
        except psycopg.Error:
            return False
        return True

    def close(self) -> None:
        """See ``session.Session``."""
        self._connection.close()


def _check_changed(number: int, limits: Limits) -> None:
    if number > limits.changed_rows_max:
        message = f"it would change more than {limits.changed_rows_max} rows"
        raise DatabaseRefused(Failure.TOO_MANY_ROWS, "-", message)


def _lost(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def _shown(found: Any, stamp: bool) -> Any:  # noqa: FBT001 - one of two columns of a map
    if not stamp or not isinstance(found, str):
        return found
    parts = _TIMESTAMP.fullmatch(found)
    return found if parts is None else f"{parts[1]}T{parts[2]}{'Z' if parts[3] else ''}"
