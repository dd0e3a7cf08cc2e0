"""What one step may send and receive, and how fast a jail is listened to, counted."""

from collections.abc import Callable

from gateway.settings import EgressLimits
from hand_adapters.egress.causes import Cause, Denied


class Bucket:
    """So many at once, and then so many a second. ``clock`` gives seconds that only go forward."""

    def __init__(self, burst: float, per_second: float, clock: Callable[[], float]) -> None:
        self._tokens = self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._counted_at = clock()

    def take(self) -> bool:
        """Take one; whether there was one."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Budget:
    """The counters of one step. ``clock`` gives seconds that only go forward."""

    def __init__(self, limits: EgressLimits, clock: Callable[[], float]) -> None:
        self.requests = 0
        self.sent_bytes = 0
        self.received_bytes = 0
        self._limits = limits
        self._bucket = Bucket(max(1.0, limits.requests_per_second), limits.requests_per_second, clock)

    def request(self) -> None:
        """Count a request. Raises Denied: ``requests``, ``rate``."""
        if self.requests >= self._limits.requests:
            raise Denied(Cause.REQUESTS)
        if not self._bucket.take():
            raise Denied(Cause.RATE)
        self.requests += 1

    def send(self, size: int) -> None:
        """Count bytes before they leave. Raises Denied: ``sent``."""
        if self.sent_bytes + size > self._limits.sent_bytes:
            raise Denied(Cause.SENT)
        self.sent_bytes += size

    def receive(self, size: int) -> None:
        """Count bytes before the jail has them. Raises Denied: ``received``."""
        if self.received_bytes + size > self._limits.received_bytes:
            raise Denied(Cause.RECEIVED)
        self.received_bytes += size
