"""Many rows in few statements.

``executemany`` on SQLite lets go of the interpreter's lock and asks for it again at every row; while the event loop is
busy, each of those can cost a millisecond and more. So SQLite gets multi-row VALUES, in chunks of powers of two: a
handful of texts, prepared once by the driver, serves every batch. PostgreSQL gets one array per column: one short
text, one round trip and one conversion per column whatever the number of rows.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Dialect, Float, LargeBinary, SmallInteger, String, Table

CHUNK_MAX: Final = 128
"""Rows in one SQLite statement: 128 x 16 columns stay far below its 32,766 parameters."""

_ARRAYS: Final = (
    (SmallInteger, "int2"),
    (BigInteger, "int8"),
    (Float, "float8"),
    (String, "text"),
    (LargeBinary, "bytea"),
)


class BulkInsert:
    """Inserts rows given as tuples in the order of ``columns``.

    Args:
        suffix: what follows the rows (``ON CONFLICT ...``).
    """

    def __init__(self, dialect: Dialect, table: Table, columns: Sequence[str], suffix: str = "") -> None:
        head = f"INSERT INTO {table.name} ({', '.join(columns)})"
        self._text: str | None = None
        self._texts: dict[int, str] = {}
        if dialect.name == "postgresql":
            arrays = ", ".join(f"%b::{_array(table, name)}[]" for name in columns)
            self._text = f"{head} SELECT * FROM unnest({arrays}) {suffix}".rstrip()  # noqa: S608
            return
        row = f"({', '.join(['?'] * len(columns))})"
        size = 1
        while size <= CHUNK_MAX:
            self._texts[size] = f"{head} VALUES {', '.join([row] * size)} {suffix}".rstrip()
            size *= 2

    def execute(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert ``rows`` in order."""
        if not rows:
            return
        if self._text is not None:
            connection.exec_driver_sql(self._text, tuple(map(list, zip(*rows, strict=True))))
            return
        start, left = 0, len(rows)
        while left:
            size = min(CHUNK_MAX, 1 << (left.bit_length() - 1))
            parameters = tuple(chain.from_iterable(rows[start : start + size]))
            connection.exec_driver_sql(self._texts[size], parameters)
            start, left = start + size, left - size


def _array(table: Table, column: str) -> str:
    kind = table.c[column].type
    return next(name for known, name in _ARRAYS if isinstance(kind, known))
