"""A bound on how fast one caller may ask."""

import math
import time
from collections.abc import Callable, Hashable

from gateway.errors import Unavailable
from gateway.rates import Rates
from gateway.reasons import Reason


class Rate:
    """So many requests a second of each caller, and so many at once after a silence (``gateway.rates``)."""

    def __init__(
        self,
        per_second: float,
        burst: int,
        reason: Reason,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates: Rates[Hashable] = Rates(per_second, burst, clock)
        self._limit = per_second
        self._reason = reason

    def check(self, caller: Hashable) -> None:
        """Count one request; one that is refused does not count.

        Raises:
            Unavailable: the reason that was given, with ``limit`` and ``retry_after_seconds``.
        """
        wait = self._rates.take(caller)
        if wait:
            raise self._refusal(wait)

    def look(self, caller: Hashable) -> None:
        """Raise as :meth:`check` would now, and count nothing."""
        wait = self._rates.left(caller)
        if wait:
            raise self._refusal(wait)

    def __len__(self) -> int:
        """How many callers are remembered."""
        return len(self._rates)

    def _refusal(self, wait: float) -> Unavailable:
        return Unavailable(self._reason, limit=max(1, round(self._limit)), retry_after_seconds=max(1, math.ceil(wait)))
