"""Token buckets, without a bucket: GCRA (the generic cell rate algorithm, ITU-T I.371). Pure but for its clock."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

KEYS_MAX: Final = 10_000

Key = TypeVar("Key", bound=Hashable)


class Rates(Generic[Key]):
    """So many a second of each key, and so many at once after a silence.

    What is remembered of a key is one moment: until when what it took already would take at the steady rate. Bounded:
    of too many keys the one that has been silent for longest is forgotten, and has its ``burst`` anew.
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / per_second
        self._ahead_max = burst * self._interval
        self._clock = clock
        self._until: OrderedDict[Key, float] = OrderedDict()

    def take(self, key: Key) -> float:
        """Count one; 0 where it may be, else the seconds until it may. One that may not be does not count."""
        now = self._clock()
        until = self._until.pop(key, now)
        until = max(until, now)
        excess = until + self._interval - now - self._ahead_max
        # What adding and subtracting moments loses must not refuse the last of a burst.
        allowed = excess <= self._interval * 1e-6
        self._until[key] = until + self._interval if allowed else until
        if len(self._until) > KEYS_MAX:
            self._until.popitem(last=False)
        return 0.0 if allowed else excess

    def left(self, key: Key) -> float:
        """The seconds until :meth:`take` would count one more; 0 where it would now."""
        now = self._clock()
        excess = max(self._until.get(key, now), now) + self._interval - now - self._ahead_max
        return excess if excess > self._interval * 1e-6 else 0.0

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._until)
