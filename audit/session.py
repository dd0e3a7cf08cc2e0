"""The writer's connection: made when it is needed, let go when it failed, and no commit through it is believed that
the disk does not hold.
"""

import shutil
from typing import Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import DataError as UnfitError

from audit.database import is_full_or_busy, open_files, writing
from audit.driver import Driver
from audit.errors import LogMisconfigured, LogUnavailable, LogUncertain
from audit.moved import OpenFiles

ROOM_BYTES: Final = 4 << 20
"""Free space below which nobody is told that the log is ready: some group commits of ordinary entries."""
_UNFIT: Final = (IntegrityError, UnfitError, ProgrammingError, NotSupportedError)


class Session:
    """One connection at a time, of one thread.

    Attributes:
        connection: ``None`` until :meth:`open`, and after :meth:`drop`.
        vouched: whether the log that this connection shows was found to hold what was acknowledged before it; for the
            owner to set.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._driver: Driver | None = None
        self._files: OpenFiles | None = None
        self.connection: Connection | None = None
        self.vouched = False

    def open(self) -> tuple[Connection, Driver]:
        """The connection and its cursor.

        Raises:
            LogUnavailable: there is none to be had.
        """
        if self.connection is None or self._driver is None:
            try:
                self.connection = writing(self._engine.connect())
                self._driver = Driver(self.connection)
            except SQLAlchemyError as exc:
                raise LogUnavailable(describe(exc)) from exc
            self._files = open_files(self.connection)
            self._require_fsync(self._driver)
        return self.connection, self._driver

    def require_in_place(self) -> None:
        """Ask inside of a transaction, before anything is written.

        Raises:
            LogUnavailable: the database's files are not those that bear its names any more.
        """
        if self._files is not None and not self._files.in_place():
            self._reopen()
            raise LogUnavailable("the database file was moved, replaced or deleted")

    def require_room(self) -> None:
        """Raises ``LogUnavailable`` where the file system of a SQLite database is almost full. What a server's has left
        is not ours to see; there the last failed append speaks.
        """
        if self._files is None:
            return
        try:
            free = shutil.disk_usage(self._files.database.parent).free
        except OSError as exc:
            raise LogUnavailable(f"free space: {exc.strerror}") from exc
        if free < ROOM_BYTES:
            raise LogUnavailable(f"only {free >> 10} KiB are free for the log")

    def commit(self) -> None:
        """Commit the transaction of the open connection.

        Raises:
            LogUnavailable: nothing of it is durable.
            LogUncertain: it may be.
        """
        connection = self.connection
        if connection is None:
            raise LogUncertain("the connection is gone")
        try:
            connection.commit()
        except SQLAlchemyError as exc:
            certain = isinstance(exc, DBAPIError) and is_full_or_busy(exc)
            self.roll_back(exc)
            raise (LogUnavailable if certain else LogUncertain)(describe(exc)) from exc
        if self._files is not None and not self._files.in_place():
            self._reopen()
            raise LogUncertain("the database file was moved, replaced or deleted during the commit")

    def roll_back(self, cause: BaseException | None) -> None:
        """Back to nothing; a connection that cannot even do that is dropped, which does the same."""
        if self.connection is None:
            return
        try:
            self.connection.rollback()
        except SQLAlchemyError:
            self.drop()
        else:
            if isinstance(cause, OperationalError):
                self.drop()

    def drop(self) -> None:
        """Forget the connection; the next use connects anew."""
        connection, self.connection, self._driver, self._files = self.connection, None, None, None
        self.vouched = False
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _reopen(self) -> None:
        """Let go of the files: this connection, and those that wait in the engine's pool."""
        self.drop()
        self._engine.dispose()

    def _require_fsync(self, driver: Driver) -> None:
        """A server may be set to answer COMMIT before anything is on disk; nothing that it says can be acknowledged."""
        if self._engine.dialect.name != "postgresql":
            return
        try:
            ((fsync,),) = driver.fetch("SHOW fsync")
        except SQLAlchemyError as exc:
            self.drop()
            raise LogUnavailable(describe(exc)) from exc
        if fsync != "on":
            self.drop()
            raise LogMisconfigured("PostgreSQL runs with fsync = off: what it commits is not durable")


def is_lost(error: Exception) -> bool:
    """Whether the connection is gone."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def is_outage(error: Exception) -> bool:
    """Whether the database is at fault, rather than one of the rows."""
    return is_lost(error) or (isinstance(error, DatabaseError) and not isinstance(error, _UNFIT))


def describe(error: Exception) -> str:
    """For the operator: the driver's own words without the statement's parameters, which may be personal."""
    original = getattr(error, "orig", None)
    return f"{type(error).__name__}: {type(original or error).__name__}" + (
        f" {getattr(original, 'sqlite_errorname', '') or getattr(original, 'sqlstate', '') or ''}" if original else ""
    )
