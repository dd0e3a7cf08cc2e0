"""Messages for webhooks that are still to be sent. A row is written with what it tells of, in one transaction: what is
on record is told, after a crash too, and what is not is never told. Rows hold ids alone, under a MAC: whoever writes to
the database sends nobody a message of their own making.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update

from gateway.model import ApprovalStatus, Notice
from gateway.ports import Write
from gateway.randomness import random_id
from gateway.store.reading import reading
from gateway.store.row_macs import RowMacs, sound
from gateway.store.tables import outbox

WAITING_MAX: Final = 10_000
"""Messages that may wait for one webhook; what comes beyond is dropped and counted."""
DEAD_SECONDS: Final = 7 * 86_400.0
"""How long a message that was given up stays for people to look at."""

NOTICES: Final[Mapping[ApprovalStatus, Notice]] = {
    ApprovalStatus.OPEN: Notice.REQUESTED,
    ApprovalStatus.GRANTED: Notice.GRANTED,
    ApprovalStatus.REFUSED: Notice.REFUSED,
    ApprovalStatus.EXPIRED: Notice.EXPIRED,
    ApprovalStatus.VOIDED: Notice.VOIDED,
}

_INSERT: Final = insert(outbox)
_DELETE: Final = delete(outbox).where(outbox.c.message_id == bindparam("the_message"))
_UPDATE: Final = (
    update(outbox)
    .where(outbox.c.message_id == bindparam("the_message"))
    .values(
        attempts=bindparam("new_attempts"),
        next_at=bindparam("new_next_at"),
        dead=bindparam("new_dead"),
    )
)
_FORGET_DEAD: Final = delete(outbox).where(outbox.c.dead.is_(True), outbox.c.next_at <= bindparam("past"))


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one webhook. Times are seconds since the epoch."""

    message_id: str
    webhook: str
    tenant: str
    notice: Notice
    approval_id: str
    created_at: float
    attempts: int


class SqlOutbox:
    """Builds rows for the log's writer, and reads what is due."""

    def __init__(self, engine: Engine, listeners: Mapping[tuple[str, Notice], Sequence[str]], mac_key: bytes) -> None:
        """Use ``engine`` for reads.

        Args:
            mac_key: 32 bytes from outside the database.
            listeners: tenant and notice -> names of the webhooks that are told.
        """
        self._engine = engine
        self._macs = RowMacs(mac_key)
        self._listeners = listeners
        self.waiting: Counter[str] = Counter()
        """Webhook -> messages not delivered yet, as last counted and since added."""
        self.dropped: Counter[str] = Counter()

    def rows(self, tenant: str, approval_id: str, told: ApprovalStatus | Notice, at: float) -> Sequence[Write]:
        """The rows that tell of a request's new state; none where nobody listens."""
        notice = told if isinstance(told, Notice) else NOTICES[told]
        writes = []
        for webhook in self._listeners.get((tenant, notice), ()):
            if self.waiting[webhook] >= WAITING_MAX:
                self.dropped[webhook] += 1
                continue
            self.waiting[webhook] += 1
            row = {
                "message_id": f"msg_{random_id()}",
                "webhook": webhook,
                "tenant": tenant,
                "notice": str(notice),
                "approval_id": approval_id,
                "created_at": at,
                "next_at": at,
                "attempts": 0,
                "dead": False,
            }
            writes.append(Write(_INSERT, self._macs.seal(outbox, row)))
        return writes

    def delivered(self, message: Message) -> Write:
        """The message is where it should be."""
        return Write(_DELETE, {"the_message": message.message_id})

    def failed(self, message: Message, next_at: float, *, dead: bool) -> Write:
        """It is not; it is tried again at ``next_at``, or never."""
        values = {"new_attempts": message.attempts + 1, "new_next_at": next_at, "new_dead": dead}
        return Write(_UPDATE, {"the_message": message.message_id, **values})

    def forget_dead(self, now: float) -> Write:
        """Drop what was given up long ago."""
        return Write(_FORGET_DEAD, {"past": now - DEAD_SECONDS})

    def refused(self, message_id: str, now: float) -> Write:
        """A row that no gateway wrote, or that does not fit its request: it is never sent."""
        values = {"new_attempts": 0, "new_next_at": now, "new_dead": True}
        return Write(_UPDATE, {"the_message": message_id, **values})

    async def due(self, webhook: str, now: float, limit: int) -> tuple[list[Message], list[str]]:
        """Messages whose time has come, oldest first; and the ids of rows that are as no gateway left them.

        Raises:
            Unavailable: ``log.unavailable``; the database cannot be read.
        """
        query = (
            select(outbox)
            .where(outbox.c.dead.is_(False), outbox.c.next_at <= now, outbox.c.webhook == webhook)
            .order_by(outbox.c.next_at, outbox.c.message_id)
            .limit(limit)
        )

        def read(connection: Connection) -> tuple[list[Message], list[str]]:
            rows = connection.execute(query).mappings().all()
            good = sound(rows, lambda row: self._macs.verify_row(outbox, row))
            kept = {row["message_id"] for row in good}
            return [_message(row) for row in good], [row["message_id"] for row in rows if row["message_id"] not in kept]

        return await reading(self._engine, "outbox", read)

    async def count(self) -> None:
        """Bring :attr:`waiting` up to date."""
        query = (
            select(outbox.c.webhook, func.count().label("waiting"))
            .where(outbox.c.dead.is_(False))
            .group_by(outbox.c.webhook)
        )

        def read(connection: Connection) -> dict[str, int]:
            return {row.webhook: row.waiting for row in connection.execute(query)}

        found = await reading(self._engine, "outbox", read)
        self.waiting.clear()
        self.waiting.update(found)


def _message(row: Mapping[str, Any]) -> Message:
    return Message(
        row["message_id"],
        row["webhook"],
        row["tenant"],
        Notice(row["notice"]),
        row["approval_id"],
        row["created_at"],
        row["attempts"],
    )
