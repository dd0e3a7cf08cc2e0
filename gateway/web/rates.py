"""A bound on how fast one caller may read what is cheap to ask for and costs the log a look."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from gateway.errors import Unavailable
from gateway.reasons import Reason

CALLERS_MAX: Final = 10_000


class Rate:
    """So many requests a second of each caller, and so many at once after a silence (GCRA: the generic cell rate
    algorithm, ITU-T I.371).

    What is remembered of a caller is one moment: until when what it asked for already would take at the steady rate.
    Bounded: of too many callers the one that has been silent for longest is forgotten, and has its ``burst`` anew.
    """

    def __init__(
        self,
        per_second: float,
        burst: int,
        reason: Reason,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = 1 / per_second
        self._ahead_max = burst * self._interval
        self._limit = per_second
        self._reason = reason
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def check(self, caller: str) -> None:
        """Count one request; one that is refused does not count.

        Raises:
            Unavailable: the reason that was given, with ``limit`` and ``retry_after_seconds``.
        """
        now = self._clock()
        until = max(self._until.pop(caller, now), now)
        ahead = until + self._interval - now
        allowed = ahead <= self._ahead_max
        self._until[caller] = until + self._interval if allowed else until
        if len(self._until) > CALLERS_MAX:
            self._until.popitem(last=False)
        if not allowed:
            wait = math.ceil(ahead - self._ahead_max)
            raise Unavailable(self._reason, limit=round(self._limit), retry_after_seconds=max(1, wait))
