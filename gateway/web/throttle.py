"""A bound on how often one source may try what needs no API key."""

import time
from collections import OrderedDict
from typing import Final

from gateway.errors import Unavailable
from gateway.reasons import Reason

SOURCES_MAX: Final = 10_000

_MINUTE_SECONDS: Final = 60.0


class Throttle:
    """Counts attempts by source in a minute. Bounded: of too many sources the oldest is forgotten."""

    def __init__(self, per_minute: int, reason: Reason = Reason.LIMIT_LOGINS) -> None:
        self._per_minute = per_minute
        self._reason = reason
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, source: str) -> None:
        """Count one attempt.

        Raises:
            Unavailable: with the reason that was given, ``limit.logins`` by default.
        """
        now = time.monotonic()
        began, count = self._counts.pop(source, (now, 0))
        if now - began >= _MINUTE_SECONDS:
            began, count = now, 0
        self._counts[source] = (began, count + 1)
        if len(self._counts) > SOURCES_MAX:
            self._counts.popitem(last=False)
        if count >= self._per_minute:
            raise Unavailable(self._reason, limit=self._per_minute)
