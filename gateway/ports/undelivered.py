"""Answers of the MCP ingress that nobody is known to have got."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.model import CONNECTOR_PREFIX, Principal

MCP_ISSUER: Final = f"{CONNECTOR_PREFIX}mcp"
CALL: Final = "call-"
"""Begins the ``jti`` of a plan whose client waits for its outcome."""
NAMED: Final = "once-"
"""The same where the client named an idempotency key; the key's digest follows."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A call that may be the one that is issued again.

    Attributes:
        here: whether it came to this gateway.
        received_at: seconds since the epoch.
    """

    plan_id: str
    here: bool
    received_at: float


class Undelivered(Protocol):
    """The record of them. A call is on it with its plan's first record."""

    async def find(
        self, caller: Principal, hand: str, action: str, args: Mapping[str, Any], named: str | None
    ) -> Sequence[Issued]:
        """The caller's calls of this kind that are not known to be answered, the newest first.

        Args:
            named: digest of an idempotency key; the calls by it are found, whatever they are, and whether answered or
                not.

        Raises:
            Unavailable: ``log.unavailable``.
        """

    async def delivered(self, plan_ids: Collection[str]) -> None:
        """The answers of these plans were delivered.

        Raises:
            Unavailable: ``log.unavailable``.
        """
