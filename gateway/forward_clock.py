"""A clock that never goes back, for permissions that end by themselves.

Whoever sets the system's clock back would otherwise make them last longer. Time here is the latest of three: the
system's clock, what was seen last plus what really passed since, and the newest time in the log, which a restart
finds again.
"""

import time
from collections.abc import Callable


class ForwardClock:
    """Seconds since the epoch, never less than before.

    A clock that was set forward by mistake ends what is in force early, which is the safe side.

    Args:
        clock: the system's clock.
        elapsed: seconds since any fixed moment, which nobody can set.
    """

    def __init__(self, clock: Callable[[], float] = time.time, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._seen = clock()
        self._seen_at = elapsed()

    def __call__(self) -> float:
        """The time now."""
        at = self._elapsed()
        now = max(self._clock(), self._seen + max(0.0, at - self._seen_at))
        self._seen, self._seen_at = now, at
        return now

    def at_least(self, seconds: float) -> None:
        """It is this late already: somebody wrote it down."""
        if seconds > self():
            self._seen = seconds
