"""Whether the files of a SQLite database still bear its names. A commit into a file that was unlinked, or that another
one has replaced, succeeds and is lost with the last descriptor; SQLite notices only when it opens.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import Engine

_SUFFIXES: Final = ("", "-wal", "-shm")
"""The database, its write-ahead log, and the index of that; each is bound to the other two by name alone."""

Identity = tuple[int, int]
"""Device and inode."""


class OpenFiles:
    """Which files a connection has open, as far as names can tell.

    Make it before the connection is made: what bears the name both then and in the connection's first transaction is
    what SQLite opened in between.
    """

    def __init__(self, database: Path) -> None:
        self.database = database
        self._names = tuple(database.with_name(database.name + suffix) for suffix in _SUFFIXES)
        self._opened = _identity(database)
        self._known: tuple[Identity | None, ...] | None = None

    @property
    def missing(self) -> bool:
        """Whether there was no database to open."""
        return self._opened is None

    def in_place(self) -> bool:
        """Whether every name still means the file that it meant in the first transaction. Ask inside of one: the
        write-ahead log is opened by it.
        """
        now = tuple(map(_identity, self._names))
        if self._known is None:
            if now[0] != self._opened:
                return False
            self._known = now
        return self._known == now


def database_file(engine: Engine) -> Path | None:
    """The file of a SQLite database, ``None`` for one in memory and for other engines."""
    name = engine.url.database
    if engine.dialect.name != "sqlite" or not name or name == ":memory:" or name.startswith("file:"):
        return None
    return Path(name).absolute()


def _identity(file: Path) -> Identity | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
