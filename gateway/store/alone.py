"""One gateway at a time, among those that share a database, for work that is more than one transaction."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from audit.moved import database_file
from gateway.errors import Unavailable
from gateway.reasons import Reason
from gateway.store import advisory

_SUFFIX: Final = "-settling"
"""Of a file beside a SQLite database. Not the database itself: to close another descriptor of that would take away the
locks that SQLite has on it."""


@contextmanager
def alone(engine: Engine) -> Iterator[bool]:
    """Whether no other gateway of the database is in such a block. Not waited for: who does not get it comes again.
    The lock dies with its holder.

    Raises:
        Unavailable: ``log.unavailable`` where the database cannot be asked.
    """
    if engine.dialect.name == "postgresql":
        with _advisory(engine) as mine:
            yield mine
    else:
        with _file(engine) as mine:
            yield mine


@contextmanager
def _advisory(engine: Engine) -> Iterator[bool]:
    try:
        connection = engine.connect()
    except SQLAlchemyError as exc:
        raise Unavailable(Reason.LOG_UNAVAILABLE, f"taking turns: {type(exc).__name__}") from exc
    try:
        try:
            mine = advisory.try_lock(connection, advisory.SETTLING_LOCK)
        except SQLAlchemyError as exc:
            raise Unavailable(Reason.LOG_UNAVAILABLE, f"taking turns: {type(exc).__name__}") from exc
        yield mine
    finally:
        connection.invalidate()  # the lock is the session's, and ends with it whatever became of the connection
        connection.close()


@contextmanager
def _file(engine: Engine) -> Iterator[bool]:
    database = database_file(engine)
    if database is None:
        yield True
        return
    try:
        file = database.with_name(database.name + _SUFFIX)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise Unavailable(Reason.LOG_UNAVAILABLE, f"taking turns: {exc.strerror}") from exc
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as exc:
            raise Unavailable(Reason.LOG_UNAVAILABLE, f"taking turns: {exc.strerror}") from exc
        yield True
    finally:
        os.close(descriptor)
