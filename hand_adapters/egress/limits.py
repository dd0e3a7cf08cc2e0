"""What one step may send and receive, counted."""

from collections.abc import Callable

from gateway.settings import EgressLimits
from hand_adapters.egress.causes import Cause, Denied


class Budget:
    """The counters of one step. ``clock`` gives seconds that only go forward."""

    def __init__(self, limits: EgressLimits, clock: Callable[[], float]) -> None:
        self.requests = 0
        self.sent_bytes = 0
        self.received_bytes = 0
        self._limits = limits
        self._clock = clock
        self._tokens = self._burst = max(1.0, limits.requests_per_second)
        self._counted_at = clock()

    def request(self) -> None:
        """Count a request. Raises Denied: ``requests``, ``rate``."""
        if self.requests >= self._limits.requests:
            raise Denied(Cause.REQUESTS)
        now = self._clock()
        earned = (now - self._counted_at) * self._limits.requests_per_second
        self._tokens, self._counted_at = min(self._burst, self._tokens + earned), now
        if self._tokens < 1:
            raise Denied(Cause.RATE)
        self._tokens -= 1
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
