"""A connection to MariaDB, through PyMySQL (the extra ``mariadb``). Each serves one call: PyMySQL cannot reset one.

PyMySQL writes values into the text of a statement. Here no value is ever written as text: a string is a hexadecimal
literal, in which no character can end it, whatever the character set and the mode of the server.
"""

import decimal
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pymysql
from pymysql import converters
from pymysql.constants import FIELD_TYPE
from pymysql.cursors import SSCursor
from sqlglot import exp

from hand_adapters.sql.reading import Grammar, Statement
from hand_adapters.sql.rows import Collected
from hand_adapters.sql.session import (
    DatabaseLost,
    DatabaseRefused,
    DatabaseTimedOut,
    Failure,
    Limits,
    Outcome,
    failure_of,
)

_MODE: Final = "STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
"""Neither ANSI_QUOTES nor NO_BACKSLASH_ESCAPES nor PIPES_AS_CONCAT: statements are read without them."""
_TIMED_OUT: Final = {1317, 1969, 3024}
_LOST: Final = {1053, 1152, 1153, 1159, 1160, 1161, 1927, 2003, 2006, 2013, 2014, 2027, 2055}
_FAILURES: Final = {
    1044: Failure.PERMISSION, 1045: Failure.PERMISSION, 1142: Failure.PERMISSION, 1143: Failure.PERMISSION,
    1205: Failure.LOCKED, 1213: Failure.DEADLOCK, 1792: Failure.READ_ONLY, 1290: Failure.READ_ONLY,
    1020: Failure.SERIALIZATION, 1048: Failure.CONSTRAINT, 1062: Failure.CONSTRAINT, 1451: Failure.CONSTRAINT,
    1452: Failure.CONSTRAINT, 4025: Failure.CONSTRAINT, 1054: Failure.STATEMENT, 1064: Failure.STATEMENT,
    1146: Failure.STATEMENT, 1305: Failure.STATEMENT,
}  # fmt: skip
_DECODERS: Final[dict[int | type[Any], Callable[[str], Any]]] = {
    kind: decoder for kind, decoder in converters.decoders.items() if decoder in {int, float}
}
"""Times and decimals stay the text that the server sent: it has all digits, and dates that Python has not."""
_TIMES: Final = {FIELD_TYPE.DATETIME: "", FIELD_TYPE.TIMESTAMP: "Z"}
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Place:
    """A server, and as whom."""

    host: str
    port: int
    name: str
    user: str
    tls: bool
    ca_file: Path | None


class MariadbSession:
    """``session.Session``."""

    def __init__(self, connection: Any, grammar: Grammar, again: Callable[[], Any]) -> None:
        self._connection = connection
        self._grammar = grammar
        self._again = again
        self._lock = threading.Lock()
        self._cancelled = False

    @classmethod
    def connect(
        cls, address: str, place: Place, password: str | None, grammar: Grammar, seconds: float
    ) -> "MariadbSession":
        """Connect to the very ``address``; a certificate has to be ``place.host``'s.

        Raises:
            DatabaseLost: no connection; it says nothing about the password.
        """

        def again() -> Any:
            return _connect(address, place, password, seconds)

        try:
            return cls(again(), grammar, again)
        except (pymysql.Error, OSError, ValueError) as exc:
            raise DatabaseLost(type(exc).__name__) from None

    def run(
        self, statement: Statement, values: Mapping[str, Any], limits: Limits, sending: Callable[[], None]
    ) -> Outcome:
        """See ``session.Session``."""
        changes = bool(statement.facts.changes)
        text = with_values(statement, values, self._grammar)
        cursor = SSCursor(self._connection)
        try:
            seconds = f"{max(0.001, limits.seconds):.3f}"
            cursor.execute(
                f"SET SESSION max_statement_time = {seconds}, sql_mode = '{_MODE}', time_zone = '+00:00', "
                f"lock_wait_timeout = {max(1, int(limits.seconds))}, innodb_lock_wait_timeout = "
                f"{max(1, int(limits.seconds))}, group_concat_max_len = 1048576"
            )
            cursor.execute(f"START TRANSACTION {'READ WRITE' if changes else 'READ ONLY'}")
        except (pymysql.Error, OSError) as exc:
            raise DatabaseLost(type(exc).__name__) from None
        sending()
        try:
            with self._lock:
                if self._cancelled:
                    raise DatabaseTimedOut
            outcome = self._run(cursor, statement, text, limits)
            if changes:
                self._connection.commit()
        except (pymysql.Error, OSError) as exc:
            raise _translated(exc) from None
        return outcome

    def _run(self, cursor: Any, statement: Statement, text: str, limits: Limits) -> Outcome:
        cursor.execute(text)
        changing = isinstance(statement.tree, exp.Insert | exp.Update | exp.Delete)
        described = cursor.description or ()
        collected = Collected([column[0] for column in described], limits)
        number = 0
        while described and (row := cursor.fetchone()) is not None:
            number += 1
            kinds = [column[1] for column in described]
            if not collected.take(map(_shown, row, kinds)) and not changing:
                break
        changed = (number if described else cursor.rowcount) if changing else None
        if changed is not None and changed > limits.changed_rows_max:
            self._connection.rollback()
            message = f"it would change more than {limits.changed_rows_max} rows"
            raise DatabaseRefused(Failure.TOO_MANY_ROWS, "-", message)
        return Outcome(collected.columns, collected.rows, collected.truncated, changed)

    def cancel(self) -> None:
        """See ``session.Session``."""
        with self._lock:
            self._cancelled = True
        with suppress(pymysql.Error, OSError, ValueError):
            other = self._again()
            try:
                other.kill(self._connection.thread_id())
            finally:
                other.close()

    def clean(self) -> bool:
        """See ``session.Session``."""
        return False

    def close(self) -> None:
        """See ``session.Session``. The server rolls back what was not committed."""
        with suppress(pymysql.Error, OSError):
            self._connection.close()


def _connect(address: str, place: Place, password: str | None, seconds: float) -> Any:
    context = ssl.create_default_context(cafile=None if place.ca_file is None else str(place.ca_file))
    connection = pymysql.Connection(
        host=place.host,
        port=place.port,
        user=place.user,
        password=password or "",
        database=place.name,
        charset="utf8mb4",
        ssl=context if place.tls else None,
        ssl_disabled=not place.tls,
        conv=_DECODERS,
        autocommit=None,
        local_infile=False,
        read_timeout=None,
        defer_connect=True,
        program_name="handrail",
    )
    opened = socket.create_connection((address, place.port), timeout=seconds)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.connect(opened)
    except BaseException:
        opened.close()
        raise
    return connection


def with_values(statement: Statement, values: Mapping[str, Any], grammar: Grammar) -> str:
    """The text of a statement with literals for its parameters. None of them holds a character of the value.

    Raises:
        ValueError: a list, which this database has no type for.
    """
    if not statement.parameters:
        return statement.text
    tree = statement.tree.copy()
    for one in list(tree.find_all(exp.Placeholder)):
        one.replace(literal(values[one.this]))
    return grammar.write(tree)


def literal(value: Any) -> exp.Expr:
    """A value as a literal of MariaDB."""
    if value is None:
        return exp.Null()
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, int | float):
        number = exp.Literal.number(format(decimal.Decimal(repr(abs(value))), "f"))
        return exp.Paren(this=exp.Neg(this=number)) if value < 0 else number
    if isinstance(value, str):
        return exp.Introducer(this=exp.Var(this="_utf8mb4"), expression=exp.HexString(this=value.encode().hex()))
    raise ValueError("no literal of MariaDB")


def _shown(found: Any, kind: int) -> Any:
    if not isinstance(found, str) or kind not in _TIMES:
        return found
    parts = _TIME.fullmatch(found)
    return found if parts is None else f"{parts[1]}T{parts[2]}{_TIMES[kind]}"


def _translated(error: Exception) -> Exception:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if isinstance(error, OSError | pymysql.InterfaceError) or number in _LOST or not number:
        return DatabaseLost(type(error).__name__)
    if number in _TIMED_OUT:
        return DatabaseTimedOut()
    message = str(error.args[1]) if len(error.args) > 1 else type(error).__name__
    return DatabaseRefused(_FAILURES.get(number, failure_of("")), str(number), message)
