"""Statements on the driver's own cursor.

The writer runs the same ten statements in every commit, and what SQLAlchemy does around each costs several times what
the database does for it. So they are compiled once and run on the cursor of the connection that SQLAlchemy opened and
whose transaction it holds. Errors are SQLAlchemy's: whoever catches them need not know.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Dialect,
    Executable,
    Float,
    Insert,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    insert,
)
from sqlalchemy.exc import DBAPIError

from audit.errors import AuditError
from gateway.reasons import Reason

CHUNK_MAX: Final = 128
"""Rows in one SQLite statement: 128 x 17 columns stay far below its 32,766 parameters."""

_ARRAYS: Final = (
    (SmallInteger, "int2"),
    (BigInteger, "int8"),
    (Integer, "int4"),
    (Boolean, "bool"),
    (Float, "float8"),
    (String, "text"),
    (LargeBinary, "bytea"),
)


class Driver:
    """The cursor of one connection. Belongs to the connection's thread, and dies with the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor = connection.connection.cursor()
        self._errors = connection.dialect.loaded_dbapi.Error

    def execute(self, text: str, parameters: Any = ()) -> int:
        """Run ``text``; returns how many rows it touched.

        Raises:
            DBAPIError: as SQLAlchemy would.
        """
        try:
            self._cursor.execute(text, parameters)
        except self._errors as exc:
            raise self._translated(text, exc) from exc
        return int(self._cursor.rowcount)

    def execute_each(self, text: str, rows: Sequence[Any]) -> int:
        """Run ``text`` once for each of ``rows``."""
        if len(rows) > 1 and self._connection.dialect.name == "postgresql":
            try:
                self._cursor.executemany(text, rows)  # one pipeline, not a round trip each
            except self._errors as exc:
                raise self._translated(text, exc) from exc
            return int(self._cursor.rowcount)
        return sum(self.execute(text, row) for row in rows)

    def fetch(self, text: str, parameters: Any = ()) -> list[Any]:
        """The rows that ``text`` finds, as tuples."""
        self.execute(text, parameters)
        return list(self._cursor.fetchall())

    def _translated(self, text: str, error: Exception) -> BaseException:
        dialect = self._connection.dialect
        raw = self._connection.connection
        lost = dialect.is_disconnect(error, raw, self._cursor)  # type: ignore[arg-type]
        if lost:
            self._connection.invalidate(error)
        return DBAPIError.instance(
            text, None, error, self._errors, hide_parameters=True, connection_invalidated=lost, dialect=dialect
        )


class BulkInsert:
    """Inserts rows given as tuples in the order of ``columns``, in as few statements as can be.

    ``executemany`` on SQLite lets go of the interpreter's lock and asks for it again at every row; while the event loop
    is busy, each of those can cost a millisecond and more. So SQLite gets multi-row VALUES, in chunks of powers of two:
    a handful of texts, prepared once by the driver, serves every batch. PostgreSQL gets one array per column: one short
    text, one round trip and one conversion per column whatever the number of rows.

    A row that does not fit leaves those before it in SQLite's transaction (``OR FAIL``), and whoever runs the statement
    rolls the transaction back. To be able to take back one statement of many rows, SQLite would copy each page before
    it changes it, to a file once there are sixteen: as many writes again as the commit itself.

    Args:
        suffix: what follows the rows (``ON CONFLICT ...``).
    """

    def __init__(self, dialect: Dialect, table: Table, columns: Sequence[str], suffix: str = "") -> None:
        arrays_only = dialect.name == "postgresql"
        head = f"INSERT {'' if arrays_only else 'OR FAIL '}INTO {table.name} ({', '.join(columns)})"
        self._text: str | None = None
        self._texts: dict[int, str] = {}
        if arrays_only:
            arrays = ", ".join(f"%b::{_array(table, name)}[]" for name in columns)
            self._text = f"{head} SELECT * FROM unnest({arrays}) {suffix}".rstrip()  # noqa: S608
            return
        row = f"({', '.join(['?'] * len(columns))})"
        size = 1
        while size <= CHUNK_MAX:
            self._texts[size] = f"{head} VALUES {', '.join([row] * size)} {suffix}".rstrip()
            size *= 2

    def execute(self, driver: Driver, rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert ``rows`` in order; returns how many went in."""
        if not rows:
            return 0
        if self._text is not None:
            return driver.execute(self._text, tuple(map(list, zip(*rows, strict=True))))
        if len(rows) == 1:
            return driver.execute(self._texts[1], rows[0])
        start, left, inserted = 0, len(rows), 0
        while left:
            size = min(CHUNK_MAX, 1 << (left.bit_length() - 1))
            inserted += driver.execute(self._texts[size], tuple(chain.from_iterable(rows[start : start + size])))
            start, left = start + size, left - size
        return inserted


class Statements:
    """Core statements of one dialect, compiled at their first use. Parameters are text, numbers, bytes, booleans and
    nothing else: what both drivers take as it is.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._known: WeakKeyDictionary[Executable, dict[tuple[str, ...], BulkInsert | _Text]] = WeakKeyDictionary()
        self._guards: WeakKeyDictionary[Executable, dict[tuple[str, ...], BulkInsert]] = WeakKeyDictionary()

    def run(self, driver: Driver, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute ``statement`` for all of ``rows``, which have the same names in the same order."""
        names = tuple(rows[0])
        by_names = self._known.setdefault(statement, {})
        prepared = by_names.get(names)
        if prepared is None:
            prepared = by_names[names] = self._prepare(statement, names)
        if isinstance(prepared, BulkInsert):
            prepared.execute(driver, [tuple(row.values()) for row in rows])
        else:
            driver.execute_each(prepared.text, [prepared.arranged(row) for row in rows])

    def insert_first(self, driver: Driver, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> int:
        """Insert those of ``rows`` that are the first of their key; returns how many were.

        A conflict is then a count and not an error, which on PostgreSQL would spoil the transaction. Only key conflicts
        are; a row that breaks another constraint is still an error.
        """
        names = tuple(rows[0])
        by_names = self._guards.setdefault(statement, {})
        prepared = by_names.get(names)
        if prepared is None:
            if not self._is_plain(statement):
                raise AuditError(Reason.INTERNAL, "a guard must be a plain insert")
            table = _table(statement)
            prepared = by_names[names] = BulkInsert(self._dialect, table, names, "ON CONFLICT DO NOTHING")
        return prepared.execute(driver, [tuple(row.values()) for row in rows])

    def _prepare(self, statement: Executable, names: tuple[str, ...]) -> "BulkInsert | _Text":
        if isinstance(statement, Insert) and self._is_plain(statement):
            return BulkInsert(self._dialect, _table(statement), names)
        compiled: Any = statement.compile(dialect=self._dialect, column_keys=list(names))  # type: ignore[attr-defined]
        if compiled.insert_prefetch or compiled.update_prefetch:
            raise AuditError(Reason.INTERNAL, "a statement leaves a column to a default of ours")
        positions = tuple(compiled.positiontup) if compiled.positional else None
        return _Text(str(compiled), positions, dict(compiled.params))

    def _is_plain(self, statement: Insert) -> bool:
        """Whether the statement is ``insert(table)`` and no more; everything a row holds is then in its parameters."""
        plain = insert(_table(statement)).compile(dialect=self._dialect)
        return str(statement.compile(dialect=self._dialect)) == str(plain)


class _Text:
    """A compiled statement, and where its parameters go."""

    __slots__ = ("_constants", "_positions", "text")

    def __init__(self, text: str, positions: tuple[str, ...] | None, constants: Mapping[str, Any]) -> None:
        self.text = text
        self._positions = positions
        self._constants = constants

    def arranged(self, row: Mapping[str, Any]) -> Any:
        """What the driver wants: values in order, or by name."""
        values = {**self._constants, **row}
        return values if self._positions is None else tuple([values[name] for name in self._positions])


def _table(statement: Insert) -> Table:
    table = statement.table
    if not isinstance(table, Table):
        raise AuditError(Reason.INTERNAL, "an insert into something else than a table")
    return table


def _array(table: Table, column: str) -> str:
    kind = table.c[column].type
    return next(name for known, name in _ARRAYS if isinstance(kind, known))
