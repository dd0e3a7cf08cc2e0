"""The ``sql`` adapter: statements to one database, understood before they are sent."""

import asyncio
import functools
import socket
import stat
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final

from gateway.calls import HandCall, HandResult
from gateway.canonical import canonical
from gateway.errors import Refused
from gateway.manifest import Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandDatabaseSettings, HandSettings, SettingsError
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.dialer import is_literal, permitted
from hand_adapters.jail import Jail
from hand_adapters.jail.ownership import withheld
from hand_adapters.sql.declaration import EXECUTE, QUERY, Declaration
from hand_adapters.sql.pool import Attempt, Ended, Pool
from hand_adapters.sql.postgres import PostgresSession
from hand_adapters.sql.problems import TEXTS, NotTaken
from hand_adapters.sql.reading import Statement
from hand_adapters.sql.session import (
    DatabaseLost,
    DatabaseRefused,
    DatabaseTimedOut,
    Limits,
    Outcome,
    Session,
)
from hand_adapters.sql.sqlite import SqliteSession

_MARGIN_SECONDS: Final = 0.25
"""The database ends a statement itself this long before the call is given up, so that it can say so."""


class SqlAdapter:
    """One database. It offers what the operator declared: statements by name, and where these are declared ``query``,
    ``execute`` and ``tables``.
    """

    needs_jail: ClassVar[bool] = False

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._settings = settings
        self._home = jail.home
        self._declared = Declaration.of(hand_id, settings)
        self.at_once = self._declared.database.connections_max
        self._pool: Pool | None = None

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration; asks nobody.

        Raises:
            SettingsError: a statement that is not understood, changes what ``writes`` does not name, or has other
                parameters than its schema; an address that is not dialled; a driver that is not installed.
        """
        declared = Declaration.of(hand_id, settings)
        database = declared.database
        where = f"hands.{hand_id}.database"
        if database.dialect == "mariadb" and find_spec("pymysql") is None:
            raise SettingsError(f"{where}: PyMySQL is not installed: pip install 'handrail[mariadb]'")
        host = database.host
        if host is not None and is_literal(host) and not permitted(host, private_network=settings.private_network):
            raise SettingsError(f"{where}.host: the gateway does not dial that address")

    async def manifest(self) -> Manifest:
        """The declared actions. No database is asked, but a file has to be one that would be opened.

        Raises:
            HandError: ``hand.unavailable``, not executed: what is at the path of an SQLite database is none.
        """
        database = self._declared.database
        if database.dialect == "sqlite":
            try:
                file_of(database, self._home)
            except DatabaseLost as lost:
                detail = f"{database.path}: {lost}"
                raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, detail) from None
        return self._declared.manifest

    def analyse(self, action: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a call would do, for policies: see ``docs/sql.md``. Pure.

        Raises:
            Refused: ``schema.analysis`` with the ``problem``.
        """
        try:
            statement, _ = self._declared.statement(action, args)
        except NotTaken as refusal:
            raise _refused(refusal, action) from None
        return {
            "kind": "sql",
            "dialect": self._declared.database.dialect,
            "statement": statement.text,
            **statement.facts.document(),
        }

    async def run(self, call: HandCall) -> HandResult:
        """Run one statement in a transaction of its own. What the database refuses is a result that is marked as an
        error; nothing of it stands.

        Raises:
            HandError: ``hand.unavailable`` or ``hand.timeout`` before the statement left, ``schema.analysis`` (not
                executed); ``hand.timeout`` where the database ended it and undid it (not executed), or said nothing
                (unknown); ``hand.lost_reply`` (unknown).
            HandDrifted: the declaration is not the pinned one.
        """
        if call.manifest_digest != self._declared.manifest.digest:
            raise HandDrifted(self._declared.manifest)
        try:
            statement, values = self._declared.statement(call.action, call.args)
        except NotTaken as refusal:
            raise HandError(Reason.SCHEMA_ANALYSIS, HandFailure.NOT_EXECUTED, str(refusal.problem)) from None
        attempt = Attempt()
        ends = time.monotonic() + call.deadline_seconds
        if self._pool is None:
            database = self._declared.database
            self._pool = Pool(self._connect, database.connections_max, self._settings.idle_seconds)
        try:
            async with asyncio.timeout(call.deadline_seconds):
                password = await self._password(call)
                work = functools.partial(self._work, statement, values, call.result_max_bytes, ends)
                outcome = await self._pool.run((call.tenant, password), attempt, work)
        except DatabaseRefused as refusal:
            return _refusal(refusal)
        except (DatabaseTimedOut, Ended):
            raise HandError(Reason.HAND_TIMEOUT, self._undone(statement)) from None
        except TimeoutError:
            failure = HandFailure.UNKNOWN if attempt.sent else HandFailure.NOT_EXECUTED
            raise HandError(Reason.HAND_TIMEOUT, failure) from None
        except DatabaseLost as lost:
            if attempt.sent:
                raise HandError(Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN, str(lost)) from None
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, str(lost)) from None
        return _result(outcome)

    async def close(self) -> None:
        """Close the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _password(self, call: HandCall) -> str | None:
        database = self._declared.database
        if database.origin is None:
            return None
        host, port = database.address
        return (await call.inject(database.dialect, host, port)).password

    def _work(
        self,
        statement: Statement,
        values: Mapping[str, Any],
        result_max_bytes: int,
        ends: float,
        session: Session,
        sending: Callable[[], None],
    ) -> Outcome:
        database = self._declared.database
        limits = Limits(
            seconds=_within(ends - time.monotonic()),
            rows_max=database.rows_max,
            result_max_bytes=result_max_bytes,
            changed_rows_max=database.changed_rows_max,
        )
        return session.run(statement, values, limits, sending)

    def _undone(self, statement: Statement) -> HandFailure:
        """A table of MariaDB may know no transactions: what it did, it did."""
        if self._declared.database.dialect == "mariadb" and statement.facts.changes:
            return HandFailure.UNKNOWN
        return HandFailure.NOT_EXECUTED

    def _connect(self, password: str | None) -> Session:
        """A new connection. Blocks; raises ``DatabaseLost``."""
        database, seconds = self._declared.database, 10.0
        if database.dialect == "sqlite":
            path = file_of(database, self._home)
            return SqliteSession.connect(path, writes=bool(database.writes), functions=frozenset(database.functions))
        host, port = database.address
        address = resolve(host, port, private_network=self._settings.private_network)
        name, user = database.name or "", database.user or ""
        if database.dialect == "mariadb":
            from hand_adapters.sql.mariadb import MariadbSession, Place  # noqa: PLC0415 - an extra

            place = Place(host, port, name, user, database.tls, database.ca_file)
            return MariadbSession.connect(address, place, password, self._declared.grammar, seconds)
        return PostgresSession.connect(
            address,
            host=host,
            port=port,
            name=name,
            user=user,
            password=password,
            tls=database.tls,
            ca_file=database.ca_file,
            schemas=database.default_schemas,
            seconds=seconds,
        )


def _within(left: float) -> float:
    """Seconds for the database, of those that are left of a call."""
    return max(0.001, left - min(max(_MARGIN_SECONDS, left * 0.1), left / 2))


def resolve(host: str, port: int, *, private_network: bool) -> str:
    """The one address that is dialled: the first of the name's that may be.

    Raises:
        DatabaseLost: the name has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise DatabaseLost(type(exc).__name__) from None
    for *_, place in found:
        if permitted(str(place[0]), private_network=private_network):
            return str(place[0])
    raise DatabaseLost("every address of the name is refused")


def file_of(database: HandDatabaseSettings, home: Path) -> Path:
    """The file of a database, as it is now.

    Raises:
        DatabaseLost: it is not there, is reached by a symbolic link, or is the gateway's own.
    """
    path = database.path
    try:
        if path is None or path.resolve(strict=True) != path or not stat.S_ISREG(path.stat().st_mode):
            raise DatabaseLost("no file, or one behind a symbolic link")
        if withheld(path, home.resolve()):
            raise DatabaseLost("a file of the gateway's own")
    except (OSError, RuntimeError) as exc:
        raise DatabaseLost(type(exc).__name__) from None
    return path


def _refused(refusal: NotTaken, action: str) -> Refused:
    pointer = "/sql" if action in {QUERY, EXECUTE} else ""
    problem = {"problem": str(refusal.problem), "why": TEXTS[refusal.problem]}
    return Refused(Reason.SCHEMA_ANALYSIS, str(refusal.problem), pointer=pointer, **problem)


def _result(outcome: Outcome) -> HandResult:
    structured = {
        "columns": list(outcome.columns),
        "rows": [list(row) for row in outcome.rows],
        "truncated": outcome.truncated,
        "changed": outcome.changed,
    }
    return HandResult(({"type": "text", "text": canonical(structured).decode()},), structured)


def _refusal(refused: DatabaseRefused) -> HandResult:
    text = refused.message.encode("utf-8", "replace").decode()[:1000]
    structured = {"error": str(refused.failure), "code": refused.code}
    return HandResult(({"type": "text", "text": text},), structured, is_error=True)
