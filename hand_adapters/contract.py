"""What a hand adapter must be. Built-in and third-party adapters meet the same contract in the same registry."""

from typing import Protocol

from gateway.errors import HandrailError
from gateway.model import HandCall, HandResult, Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings


class HandError(HandrailError):
    """A hand gave no usable result.

    Attributes:
        failure: whether the hand acted; it decides between ``failed`` and ``ambiguous``, never a retry.
    """

    def __init__(self, reason: Reason, failure: HandFailure, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.failure = failure


class HandAdapter(Protocol):
    """One hand: built from its settings, asked for its manifest, called, closed."""

    id: str
    """The hand's id (``[hands.ID]``)."""

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check a configuration without touching the tool. Raises ``SettingsError``."""

    async def manifest(self) -> Manifest:
        """What the tool offers now, with the operator's annotations: discovered or declared.

        Raises:
            HandError: ``hand.unavailable``, ``hand.crashed``, ``hand.timeout`` or ``hand.protocol``.
        """

    async def run(self, call: HandCall) -> HandResult:
        """Run one call within ``call.deadline_seconds``; at most once, never retried here.

        Raises:
            HandError: with the failure class that invariant 5 needs.
        """

    async def close(self) -> None:
        """Stop every process and connection of this hand."""
