"""What SQLite itself finds wrong with its file: fsck reads rows, and a damaged page or index may show it other ones."""

import sqlite3
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

REPORTS_MAX: Final = 16
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})


def reports(connection: Connection) -> Iterator[str]:
    """What ``PRAGMA integrity_check`` says of pages, and of indexes that do not hold what their tables hold."""
    for line in connection.execute(text(f"PRAGMA integrity_check({REPORTS_MAX})")).scalars():
        if line != "ok":
            yield str(line)


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
