"""Keys in the database: one row with a sealed document (:mod:`keys.stores.sealed`) each, for gateways on several hosts.

PostgreSQL alone: SQLite is one host's, where the directory does. Whoever can write to the table can take a key away and
can neither make, change nor relabel one; whoever reads a copy of it has nothing without the data root.
"""

import contextlib
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, Engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from gateway.store import advisory
from gateway.store.tables import signing_keys
from keys.errors import KeyStoreAway, KeyUnavailable, SealBroken
from keys.stores.halves import ByPurpose
from keys.stores.root import Derives
from keys.stores.sealed import DOCUMENT_MAX_BYTES, LOCK_WAIT_SECONDS, Revoked, SealedKeyStore, nothing_known

_ALL: Final = select(signing_keys.c.kid, signing_keys.c.document).order_by(signing_keys.c.kid)


class DatabaseKeyStore(SealedKeyStore):
    """Sealed keys in the table ``signing_keys``, safe for any number of gateways."""

    def __init__(
        self, engine: Engine, root: Derives, halves: ByPurpose | None = None, revoked: Revoked = nothing_known
    ) -> None:
        super().__init__(Rows(engine), root, halves, revoked)


class Rows:
    """Documents as rows; a ``Medium``."""

    def __init__(self, engine: Engine) -> None:
        if engine.dialect.name != "postgresql":
            raise KeyUnavailable('keys in the database need PostgreSQL; with SQLite, set [keys] store = "file"')
        self._engine = engine
        self._thread_lock = threading.Lock()
        self._locked: tuple[int, Connection] | None = None
        """The thread that holds the lock, and its session."""

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """See ``KeyStore.lock``. What is written meanwhile goes through the session that holds the lock: where that
        session is lost, so is the lock, and nothing more is written."""
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        if not self._thread_lock.acquire(timeout=LOCK_WAIT_SECONDS):
            raise KeyStoreAway("another thread keeps the keys locked")
        try:
            with _translated(), self._engine.connect() as connection:
                self._wait(connection, deadline)
                self._locked = (threading.get_ident(), connection)
                try:
                    yield
                finally:
                    self._locked = None
                    advisory.unlock(connection, advisory.KEYS_LOCK)
        finally:
            self._thread_lock.release()

    def version(self) -> Hashable:
        """See ``KeyStore.version``: every row as it is, some dozens of them."""
        return frozenset(self._rows())

    def read_all(self) -> Sequence[tuple[str, bytes]]:
        """See ``Medium.read_all``."""
        rows = self._rows()
        for kid, document in rows:
            if len(document) > DOCUMENT_MAX_BYTES:
                raise SealBroken(f"{self.place(kid)}: not a row of ours")
        return [(kid, document.encode()) for kid, document in rows]

    def read(self, kid: str) -> bytes:
        """See ``Medium.read``."""
        with _translated(), self._session() as connection:
            query = select(signing_keys.c.document).where(signing_keys.c.kid == kid)
            document = connection.execute(query).scalar_one_or_none()
            connection.rollback()
        if document is None:
            raise KeyUnavailable(f"{self.place(kid)}: there is no such row")
        return str(document).encode()

    def write(self, kid: str, document: bytes) -> None:
        """See ``Medium.write``: one transaction."""
        values = {"document": document.decode()}
        statement = insert(signing_keys).values(kid=kid, **values)
        connection = self._mine()
        if connection is None:
            raise KeyUnavailable("keys are changed under the lock alone")
        with _translated():
            connection.execute(statement.on_conflict_do_update(index_elements=["kid"], set_=values))
            connection.commit()

    def place(self, kid: str) -> str:
        """See ``Medium.place``."""
        return f"signing_keys, kid {kid[:64]}"

    def _rows(self) -> list[tuple[str, str]]:
        with _translated(), self._session() as connection:
            rows = [(str(row.kid), str(row.document)) for row in connection.execute(_ALL)]
            connection.rollback()
        return rows

    @contextlib.contextmanager
    def _session(self) -> Iterator[Connection]:
        """The session that holds the lock, for the thread that does; else another."""
        if (mine := self._mine()) is not None:
            yield mine
            return
        with self._engine.connect() as connection:
            yield connection

    def _mine(self) -> Connection | None:
        return self._locked[1] if self._locked is not None and self._locked[0] == threading.get_ident() else None

    @staticmethod
    def _wait(connection: Connection, deadline: float) -> None:
        while not advisory.try_lock(connection, advisory.KEYS_LOCK):
            if time.monotonic() >= deadline:
                raise KeyStoreAway("another process keeps the keys locked")
            time.sleep(0.02)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as exc:
        said = str(getattr(exc, "orig", None) or type(exc).__name__).strip().split("\n")[0]
        raise KeyStoreAway(f"the table signing_keys cannot be used: {said}") from None
