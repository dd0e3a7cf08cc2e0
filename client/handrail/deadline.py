"""Deadlines that another machine set: how much of their time is over here, by whichever clock says more.

``time.monotonic()`` alone does not do. It stands still while a machine sleeps or a virtual one is paused, and the
gateway's time goes on: a hand that wakes up would begin what was given up long ago. The time of day goes on, and may be
set; set forward, it ends a deadline too soon, which is safe.
"""

import time
from dataclasses import dataclass, field
from typing import Final

_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", None)
"""Linux: as the monotonic clock, and it goes on while the machine sleeps."""


def _clocks() -> tuple[float, float]:
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT), time.time()


@dataclass(frozen=True, slots=True)
class Start:
    """A moment from which deadlines are counted: take it before the request that sets them is sent."""

    _at: tuple[float, float] = field(default_factory=_clocks)

    def elapsed(self) -> float:
        """Seconds since then, by the clock that says more."""
        return max(now - then for now, then in zip(_clocks(), self._at, strict=True))


@dataclass(frozen=True, slots=True)
class Deadline:
    """So many seconds after a start. Means something on this machine alone."""

    start: Start
    seconds: float

    def is_over(self) -> bool:
        """Whether nothing may begin any more."""
        return self.start.elapsed() >= self.seconds
