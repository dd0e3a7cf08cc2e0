"""What a connection to a database must do for a hand, whatever the database. All of it blocks: it has threads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from hand_adapters.sql.reading import Statement


class Failure(StrEnum):
    """Why a database did not do what it was asked: a closed set, as results tell it."""

    CONSTRAINT = "constraint"
    PERMISSION = "permission"
    SERIALIZATION = "serialization"
    DEADLOCK = "deadlock"
    LOCKED = "locked"
    READ_ONLY = "read_only"
    STATEMENT = "statement"
    TOO_MANY_ROWS = "too_many_rows"
    OTHER = "other"


SQLSTATES: Final[Mapping[str, Failure]] = {
    "23": Failure.CONSTRAINT,
    "42501": Failure.PERMISSION,
    "40001": Failure.SERIALIZATION,
    "40P01": Failure.DEADLOCK,
    "55P03": Failure.LOCKED,
    "25006": Failure.READ_ONLY,
    "22": Failure.STATEMENT,
    "42": Failure.STATEMENT,
}
"""SQLSTATE, or its class (ISO/IEC 9075-2) -> failure; the longest that fits says."""


class DatabaseRefused(Exception):
    """The database answered that it did not do it, and it was undone.

    Attributes:
        code: the database's own: SQLSTATE, error number or name.
    """

    def __init__(self, failure: Failure, code: str, message: str) -> None:
        super().__init__(message)
        self.failure, self.code, self.message = failure, code, message


class DatabaseTimedOut(Exception):
    """The database ended the statement because its time was over, and it was undone."""


class DatabaseLost(Exception):
    """The connection broke, or could not be made."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far one statement may go.

    Attributes:
        seconds: that the database may work on it.
        result_max_bytes: of the rows as JSON.
    """

    seconds: float
    rows_max: int
    result_max_bytes: int
    changed_rows_max: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement gave.

    Attributes:
        changed: rows; ``None`` of a query.
        truncated: rows are missing, because of a limit.
    """

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    truncated: bool
    changed: int | None


class Session(Protocol):
    """One connection."""

    def run(
        self, statement: Statement, values: Mapping[str, Any], limits: Limits, sending: Callable[[], None]
    ) -> Outcome:
        """Run a statement in a transaction of its own, read-only where it changes nothing.

        Args:
            sending: is called before the statement leaves; what it raises ends the call.

        Raises:
            DatabaseRefused, DatabaseTimedOut: nothing of it stands.
            DatabaseLost: before ``sending`` was called nothing happened; after it, nobody knows.
        """

    def cancel(self) -> None:
        """End what runs now, from another thread; the database ends it, too, as far as it can be reached."""

    def clean(self) -> bool:
        """Make it as new for the next call, whoever's it is; ``False`` where it has to be closed."""

    def close(self) -> None:
        """Close it."""


def failure_of(sqlstate: str) -> Failure:
    """What a SQLSTATE means."""
    return SQLSTATES.get(sqlstate) or SQLSTATES.get(sqlstate[:2]) or Failure.OTHER
