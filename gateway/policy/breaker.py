"""A circuit breaker: whoever keeps failing is left alone for a while. Pure; time is passed in.

    closed     everybody may ask; ``threshold`` failures in a row open it
    open       nobody may ask until ``pause_seconds`` have passed
    half open  one may ask; its outcome closes or opens the circuit again, each time for twice as long

(The pattern is Nygard's, *Release It!*, chapter 5.)
"""

from enum import StrEnum
from typing import Final

THRESHOLD: Final = 5
PAUSE_SECONDS: Final = 0.5
PAUSE_MAX_SECONDS: Final = 8.0


class Circuit(StrEnum):
    """Whether questions go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """One circuit. ``now`` is seconds of a monotonic clock."""

    def __init__(
        self,
        threshold: int = THRESHOLD,
        pause_seconds: float = PAUSE_SECONDS,
        pause_max_seconds: float = PAUSE_MAX_SECONDS,
    ) -> None:
        self._threshold = threshold
        self._first_pause_seconds = pause_seconds
        self._pause_max_seconds = pause_max_seconds
        self._pause_seconds = pause_seconds
        self._failures = 0
        self._until: float | None = None
        self._probing = False

    def state(self, now: float) -> Circuit:
        """What the circuit is at ``now``."""
        if self._until is None:
            return Circuit.CLOSED
        return Circuit.OPEN if now < self._until or self._probing else Circuit.HALF_OPEN

    def admit(self, now: float) -> bool:
        """Whether to ask now. Whoever is let in reports the outcome, whatever it is."""
        state = self.state(now)
        if state is Circuit.HALF_OPEN:
            self._probing = True
        return state is not Circuit.OPEN

    def succeeded(self) -> None:
        """The question was answered."""
        self._failures = 0
        self._until = None
        self._probing = False
        self._pause_seconds = self._first_pause_seconds

    def failed(self, now: float) -> None:
        """The question was not answered."""
        self._failures += 1
        if self._probing:
            self._probing = False
            self._pause_seconds = min(2 * self._pause_seconds, self._pause_max_seconds)
            self._until = now + self._pause_seconds
        elif self._until is None and self._failures >= self._threshold:
            self._until = now + self._pause_seconds

    def forsaken(self) -> None:
        """Whoever was let in never learnt the outcome (it was cancelled): the next one may try."""
        self._probing = False
