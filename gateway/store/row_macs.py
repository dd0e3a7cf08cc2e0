"""MACs over rows that say who may do what. Whoever can write to the database but holds no key can take such a row away,
and can neither make one nor change one.

A MAC covers the table's name and every column that is not NULL, so a row fits no other id, tenant or table, a column
that is added later is covered from its first value on, and rows from before it stay as they are.
"""

import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import structlog
from sqlalchemy import RowMapping, Table

from gateway.errors import HandrailError
from gateway.reasons import Reason

_log = structlog.get_logger("handrail.rows")

MAC: Final = "mac"
UNCOVERED: Final[Mapping[str, frozenset[str]]] = {
    "approvals": frozenset({"status"}),
    "outbox": frozenset({"next_at", "attempts", "dead"}),
}
"""Columns that something else vouches for, or nothing has to: an approval counts by its signed answers, whatever its
row says; when a message is sent is no secret and no permission."""
_SHOWN: Final = (
    "message_id",
    "approval_id",
    "digest",
    "proposal_id",
    "run_id",
    "session_sha256",
    "session_id",
    "step_jti",
    "key_id",
    "link_id",
    "kid",
    "pseudonym",
    "hand",
)
"""Columns that name a row to the operator without naming a person; the first that a table has."""


class RowChanged(HandrailError):
    """A row is not as the gateway left it: its MAC does not hold, or the log knows a later state of it."""

    def __init__(self, table: Table, row: Mapping[str, Any], what: str = "was changed outside of the gateway") -> None:
        shown = next((row[name] for name in _SHOWN if row.get(name)), "")
        super().__init__(Reason.INTERNAL, f"a row of {table.name} {what}: {str(shown)[:64]}")


class RowMacs:
    """Makes and checks the MACs of rows. Thread-safe."""

    def __init__(self, key: bytes) -> None:
        """Use ``key``: 32 bytes that are nowhere in the database and serve nothing else."""
        self._key = key

    def seal(self, table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its MAC, and with each value as the database will give it back.

        Args:
            row: column name -> value, for every column but the MAC.
        """
        typed = {
            name: None if row[name] is None else column.type.python_type(row[name])
            for name, column in table.c.items()
            if name != MAC
        }
        return {**typed, MAC: self._mac(table, typed)}

    def of_message(self, purpose: str, message: bytes) -> bytes:
        """A MAC over something else than a row, by a key of its own for each purpose."""
        return hmac.digest(hmac.digest(self._key, purpose.encode(), "sha256"), message, "sha256")

    def verify_row(self, table: Table, row: Mapping[str, Any]) -> None:
        """Raises ``RowChanged`` where the row, as read with all its columns, is not one that :meth:`seal` made."""
        try:
            holds = hmac.compare_digest(self._mac(table, row), row[MAC])
        except (TypeError, ValueError):
            # A type that the column cannot hold by itself: SQLite stores what it is given.
            holds = False
        if not holds:
            raise RowChanged(table, row)

    def _mac(self, table: Table, row: Mapping[str, Any]) -> str:
        left_out = UNCOVERED.get(table.name, frozenset())
        names = sorted(column.name for column in table.c if column.name != MAC and column.name not in left_out)
        covered = [(name, row[name]) for name in names if row[name] is not None]
        text = json.dumps([table.name, covered], allow_nan=False)
        return hmac.digest(self._key, text.encode(), "sha256").hex()


def sound(
    rows: Iterable[RowMapping], verify: Callable[[Mapping[str, Any]], None], *, strict: bool = False
) -> list[dict[str, Any]]:
    """The rows that are as the gateway left them. Each other one is refused, and loudly: it is in the operator's log.

    Args:
        verify: raises ``RowChanged``.
        strict: also raise for the first refused row, for who must not be shown less than there is.
    """
    kept = []
    for row in rows:
        found = {str(name): value for name, value in row.items()}
        try:
            verify(found)
        except RowChanged as changed:
            _log.error("row refused", reason=str(changed.reason), detail=changed.detail)
            if strict:
                raise
        else:
            kept.append(found)
    return kept
