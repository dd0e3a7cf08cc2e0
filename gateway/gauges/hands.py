"""What the metrics about the load of hands show."""

from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Protocol

from gateway.reasons import Reason
from gateway.telemetry import Metrics


class Bulkhead(Protocol):
    """Slots of a hand."""

    running: int
    waiting: int


class Guard(Protocol):
    """What stands before a hand."""

    @property
    def bulkhead(self) -> Bulkhead:
        """Its slots."""

    def unclosed(self, kind: str) -> int:
        """How many circuits of ``tenant`` or ``principal`` do not let everything through."""


class Counting:
    """Counts what is tried again and what is withheld (``hand_adapters.resilience.Observer``)."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def retried(self, hand: str, reason: Reason) -> None:
        """A call is tried again."""
        self._metrics.hand_retries.labels(hand, str(reason)).inc()

    def withheld(self, hand: str, reason: Reason) -> None:
        """An attempt was not made."""
        self._metrics.hand_withheld.labels(hand, str(reason)).inc()


def measure(metrics: Metrics, guards: Mapping[str, Guard]) -> None:
    """Gauges that look at the hands when they are read."""
    for hand, guard in guards.items():
        metrics.hand_running.labels(hand).set_function(partial(attrgetter("bulkhead.running"), guard))
        metrics.hand_waiting.labels(hand).set_function(partial(attrgetter("bulkhead.waiting"), guard))
        for kind in ("tenant", "principal"):
            metrics.hand_circuits.labels(hand, kind).set_function(partial(guard.unclosed, kind))
