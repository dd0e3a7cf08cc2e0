"""What SQLite itself finds wrong with its file: fsck reads rows, and a damaged page or index may show it other ones."""

import sqlite3
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, Float, Integer, LargeBinary, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from audit.tables import metadata

REPORTS_MAX: Final = 16
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})


def reports(connection: Connection) -> Iterator[str]:
    """What ``PRAGMA integrity_check`` says of pages, and of indexes that do not hold what their tables hold."""
    for line in connection.execute(text(f"PRAGMA integrity_check({REPORTS_MAX})")).scalars():
        if line != "ok":
            yield str(line)


def mistyped(connection: Connection) -> Iterator[str]:
    """Columns that hold a value of a type that nobody can have written there: SQLite keeps each value's type beside it,
    a flipped bit makes a number of a blob, and ``integrity_check`` says nothing of it.
    """
    for table in metadata.sorted_tables:
        wrong = {
            column.name: func.typeof(column).not_in([*_stored_as(column.type), *(["null"] if column.nullable else [])])
            for column in table.columns
        }
        found = select(*(func.max(expression).label(name) for name, expression in wrong.items())).select_from(table)
        row = connection.execute(found).mappings().one()
        yield from (f"{table.name}.{name}" for name in wrong if row[name])


def _stored_as(kind: object) -> tuple[str, ...]:
    if isinstance(kind, LargeBinary):
        return ("blob",)
    if isinstance(kind, Integer):
        return ("integer",)
    return ("real", "integer") if isinstance(kind, Float) else ("text",)


def is_reported_by(error: SQLAlchemyError | UnicodeDecodeError) -> bool:
    """Whether the file is at fault, rather than the way to it."""
    if isinstance(error, UnicodeDecodeError):
        return True
    original = getattr(error, "orig", None)
    if not isinstance(original, sqlite3.DatabaseError):
        return False
    code = getattr(original, "sqlite_errorcode", None)
    # Text that is not UTF-8 is an error of Python's module, which has no code of SQLite's.
    return code is None or code & 0xFF in _DAMAGED
