"""Many rows in few statements.

``executemany`` on SQLite lets go of the interpreter lock and asks for it again at every row; while the event loop is
busy, each of those can cost a millisecond and more. Rows are therefore sent as multi-row VALUES, in chunks of powers of
two, so that a handful of statement texts (prepared once by the driver) serves every batch.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection

CHUNK_MAX: Final = 128
"""Rows in one statement: 128 x 16 columns stay far below SQLite's 32,766 parameters and PostgreSQL's 65,535."""


class BulkInsert:
    """``INSERT INTO table (columns) VALUES ...`` for rows given as tuples in column order.

    Args:
        mark: the driver's positional parameter mark.
        suffix: what follows the rows (``ON CONFLICT ...``).
    """

    def __init__(self, table: str, columns: Sequence[str], mark: str, suffix: str = "") -> None:
        row = f"({', '.join([mark] * len(columns))})"
        self._texts: dict[int, str] = {}
        size = 1
        while size <= CHUNK_MAX:
            rows = ", ".join([row] * size)
            self._texts[size] = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {rows} {suffix}".rstrip()  # noqa: S608
            size *= 2

    def execute(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert ``rows`` in order."""
        start, left = 0, len(rows)
        while left:
            size = min(CHUNK_MAX, 1 << (left.bit_length() - 1))
            parameters = tuple(chain.from_iterable(rows[start : start + size]))
            connection.exec_driver_sql(self._texts[size], parameters)
            start, left = start + size, left - size
