"""A circuit breaker for services that keys depend on: after one that hung, the next callers need not wait for it."""

import time
from collections.abc import Callable
from typing import Final

from keys.errors import KeyStoreAway

PAUSE_SECONDS: Final = 5.0


class Breaker:
    """Opened by a call that could not be made or was not answered in time; closed again after :data:`PAUSE_SECONDS`.

    Checkpoints are signed where entries are committed: without a breaker each of them would wait a whole timeout, and
    records with it. Thread-safe: a race lets one call more through.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._why = ""

    def check(self) -> None:
        """Raises ``KeyStoreAway``, saying what happened, while it is open."""
        if self._clock() < self._until:
            raise KeyStoreAway(f"{self._why}; not asked again for {PAUSE_SECONDS:g} seconds")

    def open(self, why: str) -> KeyStoreAway:
        """Open it; returns what to raise."""
        self._why = why
        self._until = self._clock() + PAUSE_SECONDS
        return KeyStoreAway(why)
