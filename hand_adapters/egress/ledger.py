"""What one step's jail sent and was refused, on record. A jail cannot fill the log: each connection that is let through
counts against the step's limit, and of refusals that are alike the first is an entry and the rest one number."""

from collections import Counter
from collections.abc import Collection, Mapping

from gateway.calls import HandCall
from gateway.entries import EntryType
from gateway.errors import HandrailError, Unavailable
from gateway.reasons import Reason
from hand_adapters.egress.causes import Cause, Denied
from hand_adapters.egress.limits import Budget

OTHER = "other"
"""In place of a host that no rule names: the jail chose that word."""


class Ledger:
    """Of one step."""

    def __init__(self, call: HandCall, hosts: Collection[str], budget: Budget) -> None:
        self.failed = 0
        """Connections that were let through and got no answer."""
        self._call = call
        self._hosts = hosts
        self._budget = budget
        self._connections = 0
        self._refused: Counter[tuple[Cause, str]] = Counter()
        self._told: Counter[tuple[Cause, str]] = Counter()
        self._broken = False

    async def connected(self, facts: Mapping[str, str | int], personal: bytes) -> None:
        """Put a connection on record, before its first byte leaves. Raises Denied (``log``)."""
        if self._broken:
            raise Denied(Cause.LOG)
        self._connections += 1
        try:
            await self._call.record(str(EntryType.EGRESS_CONNECTED), facts, personal)
        except HandrailError:
            self._broken = True
            raise Denied(Cause.LOG) from None

    async def refused(self, denied: Denied, asked: bytes = b"") -> None:
        """Put a refusal on record; one that is like an earlier one is counted until the step ends.

        Args:
            asked: what the jail asked for, where that could be read.
        """
        kind = denied.cause, denied.host if denied.host in self._hosts else OTHER
        self._refused[kind] += 1
        if self._refused[kind] > 1 or self._broken:
            return
        try:
            await self._call.record(str(EntryType.EGRESS_REFUSED), _facts(kind, 1), asked)
        except HandrailError:
            self._broken = True
        else:
            self._told[kind] = 1  # one that the step's end cut off is told again rather than not at all

    def between(self, count: int) -> None:
        """Count what was asked for before the step, while none ran."""
        if count:
            self._refused[Cause.BETWEEN_STEPS, OTHER] += count

    async def close(self) -> None:
        """Record the counts of the step that is over.

        Raises:
            Unavailable: ``log.unavailable``, also where an earlier entry could not be written.
        """
        if self._broken:
            raise Unavailable(Reason.LOG_UNAVAILABLE, "what a jail sent or was refused is not on record")
        for kind, count in self._refused.items():
            if count > self._told[kind]:
                facts = _facts(kind, count - self._told[kind])
                await self._call.record(str(EntryType.EGRESS_REFUSED), facts, b"")
        if self._connections:
            totals: dict[str, str | int] = {
                "connections": self._connections,
                "failed": self.failed,
                "refused": self._refused.total(),
                "sent_bytes": self._budget.sent_bytes,
                "received_bytes": self._budget.received_bytes,
            }
            await self._call.record(str(EntryType.EGRESS_ENDED), totals, b"")


def _facts(kind: tuple[Cause, str], count: int) -> dict[str, str | int]:
    return {"cause": str(kind[0]), "host": kind[1], "count": count}
