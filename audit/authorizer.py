"""What SQLite lets the gateway's own connections do: rows, but not take away what can be erased, which is the eraser's
(``audit.eraser``), nor let go of entries, which is the owner's, and nothing that changes the schema that guards them.

SQLite has no roles. An authorizer (sqlite.org/c3ref/set_authorizer.html) is asked while a statement is prepared, so a
statement injected into the gateway can no more drop a trigger, shadow a table or rewrite the schema than PostgreSQL's
application role can, nor say that a partition was dropped and delete it. Another program that opens the file has no
authorizer: keep the file to the gateway's own user.
"""

import sqlite3
from typing import Final

from audit.rights import DROPPABLE, ERASABLE

_ROWS: Final = {sqlite3.SQLITE_INSERT: "INSERT", sqlite3.SQLITE_UPDATE: "UPDATE", sqlite3.SQLITE_DELETE: "DELETE"}
_HARMLESS: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_RECURSIVE,
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
    }
)
_LOOKING: Final = frozenset(
    {
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
        "wal_checkpoint",
    }
)
"""Pragmas whose argument says what to look at, not what to change."""


def authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    """``SQLITE_OK`` or ``SQLITE_DENY`` for one step of a statement. Anything that is not known is denied."""
    if _ROWS.get(action) in DROPPABLE.get(first or "", ()):
        return sqlite3.SQLITE_DENY
    return authorize_owner(action, first, second, database, trigger)


def authorize_owner(
    action: int, first: str | None, second: str | None, database: str | None, _trigger: str | None
) -> int:
    """The same for the owner of the tables, who applies the retention and copies a log: the triggers alone say what of
    the log may be deleted."""
    if action in _HARMLESS:
        allowed = True
    elif action == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
        # Asked for when a table-valued function (json_each) declares its columns, and nothing is written. A statement
        # that does it is refused by SQLite itself, unless the pragma writable_schema is on, and that is denied below.
        allowed = database == "main"
    elif action in _ROWS:
        table = first or ""
        withheld = _ROWS[action] in ERASABLE.get(table, ())
        allowed = database == "main" and not table.startswith("sqlite_") and not withheld
    elif action == sqlite3.SQLITE_FUNCTION:
        allowed = second != "load_extension"
    elif action == sqlite3.SQLITE_PRAGMA:
        allowed = second is None or (first or "").lower() in _LOOKING
    else:
        allowed = False
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
