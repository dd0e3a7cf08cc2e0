"""A connection to a file of SQLite. The library itself is told what the analysis found, and does nothing else."""

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlglot import exp

from hand_adapters.sql.facts import EVERY
from hand_adapters.sql.reading import Statement
from hand_adapters.sql.rows import Collected
from hand_adapters.sql.session import (
    DatabaseLost,
    DatabaseRefused,
    DatabaseTimedOut,
    Failure,
    Limits,
    Outcome,
)
from hand_adapters.sql.words import FUNCTIONS

_VALUE_MAX: Final = 67_108_864
"""Bytes of one value or row."""
_STEPS: Final = 10_000
"""Instructions of SQLite's machine between two looks at the clock."""
_OPERATORS: Final = frozenset({"like", "glob", "->", "->>", "regexp"})
"""Functions that operators call."""
_FAILURES: Final = {
    "SQLITE_CONSTRAINT": Failure.CONSTRAINT,
    "SQLITE_AUTH": Failure.PERMISSION,
    "SQLITE_PERM": Failure.PERMISSION,
    "SQLITE_READONLY": Failure.READ_ONLY,
    "SQLITE_BUSY": Failure.LOCKED,
    "SQLITE_LOCKED": Failure.LOCKED,
    "SQLITE_ERROR": Failure.STATEMENT,
    "SQLITE_RANGE": Failure.STATEMENT,
    "SQLITE_MISMATCH": Failure.STATEMENT,
    "SQLITE_TOOBIG": Failure.STATEMENT,
}


class SqliteSession:
    """``session.Session``."""

    def __init__(self, connection: sqlite3.Connection, functions: frozenset[str]) -> None:
        self._connection = connection
        self._functions = FUNCTIONS["sqlite"] | functions
        self._cancelled = threading.Event()

    @classmethod
    def connect(cls, path: Path, *, writes: bool, functions: frozenset[str]) -> "SqliteSession":
        """Open a file that is there.

        Raises:
            DatabaseLost: it cannot be opened.
        """
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode={'rw' if writes else 'ro'}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=0,
            )
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_MAX)
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.Error as exc:
            raise DatabaseLost(_code(exc)) from None
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        return cls(connection, functions)

    def run(
        self, statement: Statement, values: Mapping[str, Any], limits: Limits, sending: Callable[[], None]
    ) -> Outcome:
        """See ``session.Session``."""
        changes = bool(statement.facts.changes)
        ends = time.monotonic() + limits.seconds
        connection = self._connection
        self._set(limits, ends, changes=changes)
        sending()
        try:
            connection.execute("BEGIN IMMEDIATE" if changes else "BEGIN")
            connection.set_authorizer(Authorizer(statement, self._functions))
            try:
                outcome = self._run(statement, values, limits)
            finally:
                connection.set_authorizer(None)
            connection.execute("COMMIT" if changes else "ROLLBACK")
        except sqlite3.Error as exc:
            self._undo()
            code = _code(exc)
            if code == "SQLITE_INTERRUPT":
                raise DatabaseTimedOut from None
            if code.startswith("SQLITE_IOERR"):
                raise DatabaseLost(code) from None  # what of it is on the disk, the next who opens the file will see
            primary = "_".join(code.split("_")[:2])
            raise DatabaseRefused(_FAILURES.get(primary, Failure.OTHER), code, str(exc)) from None
        except OverflowError:
            self._undo()
            raise DatabaseRefused(Failure.STATEMENT, "-", "a number is too large for this database") from None
        except DatabaseRefused:
            self._undo()
            raise
        finally:
            connection.set_progress_handler(None, 0)
        return outcome

    def _set(self, limits: Limits, ends: float, *, changes: bool) -> None:
        try:
            self._connection.execute(f"PRAGMA busy_timeout = {max(1, int(limits.seconds * 1000))}")
            self._connection.execute(f"PRAGMA query_only = {'OFF' if changes else 'ON'}")
        except sqlite3.Error as exc:
            raise DatabaseLost(_code(exc)) from None
        self._connection.set_progress_handler(lambda: self._cancelled.is_set() or time.monotonic() > ends, _STEPS)

    def _run(self, statement: Statement, values: Mapping[str, Any], limits: Limits) -> Outcome:
        changing = isinstance(statement.tree, exp.Insert | exp.Update | exp.Delete)
        before = self._connection.total_changes
        cursor = self._connection.execute(statement.text, {name: values[name] for name in statement.parameters})
        collected = Collected([column[0] for column in cursor.description or ()], limits)
        for row in cursor:
            if not collected.take(row) and not changing:
                break
        cursor.close()
        changed = self._connection.total_changes - before if changing else None
        if changed is not None and changed > limits.changed_rows_max:
            message = f"it would change more than {limits.changed_rows_max} rows"
            raise DatabaseRefused(Failure.TOO_MANY_ROWS, "-", message)
        return Outcome(collected.columns, collected.rows, collected.truncated, changed)

    def _undo(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def cancel(self) -> None:
        """See ``session.Session``."""
        self._cancelled.set()

    def clean(self) -> bool:
        """See ``session.Session``. Nothing of a statement that is taken outlives its transaction."""
        return not self._cancelled.is_set() and not self._connection.in_transaction

    def close(self) -> None:
        """See ``session.Session``."""
        self._connection.close()


class Authorizer:
    """SQLite's own question, for each thing that a statement would touch: is it among what was analysed?

    What views and triggers of the file do is theirs: SQLite names them as the source, and they were named themselves.
    It names a query of WITH in the same way, and what that does is the statement's own.
    """

    def __init__(self, statement: Statement, functions: frozenset[str]) -> None:
        facts = statement.facts
        self._functions = functions | _OPERATORS
        self._reads = {_fold(one) for one in facts.tables}
        self._columns = {_fold(one) for one in facts.columns}
        self._queries = {_fold(one.alias) for one in statement.tree.find_all(exp.CTE, exp.Subquery) if one.alias}
        self._changes = {(change.verb, _fold(change.table)): change for change in facts.changes}

    def __call__(self, action: int, one: str | None, two: str | None, schema: str | None, source: str | None) -> int:
        """See ``sqlite3_set_authorizer``."""
        return sqlite3.SQLITE_OK if self._permits(action, one, two, schema, source) else sqlite3.SQLITE_DENY

    def _permits(self, action: int, one: str | None, two: str | None, schema: str | None, source: str | None) -> bool:
        if action in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE}:
            return True
        if source is not None and _fold(source) in self._queries:
            source = None
        if action == sqlite3.SQLITE_FUNCTION:
            return source is not None or (two or "").lower() in self._functions
        if action not in {sqlite3.SQLITE_READ, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}:
            return False
        if source is not None:
            return schema in {"main", None}
        table = _fold(f"{schema or 'main'}.{one}")
        if action == sqlite3.SQLITE_READ and not two and schema is None and _fold(one or "") in self._queries:
            return True  # the rows of a query of the statement are counted
        if action == sqlite3.SQLITE_READ:
            return table in self._reads and (not two or self._is_read(table, two))
        verb = {sqlite3.SQLITE_INSERT: "insert", sqlite3.SQLITE_UPDATE: "update"}.get(action, "delete")
        change = self._changes.get((verb, table))
        if change is None:
            return False
        return verb != "update" or (two or "").lower() in {column.lower() for column in change.columns}

    def _is_read(self, table: str, column: str) -> bool:
        return not {_fold(f"{table}.{column}"), f"{table}.{EVERY}"}.isdisjoint(self._columns)


def _fold(name: str) -> str:
    return name.lower()


def _code(error: sqlite3.Error) -> str:
    return str(getattr(error, "sqlite_errorname", "SQLITE_ERROR"))
