"""The web layer's own metrics, in the gateway's one registry. Labels come from closed sets, never from input."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from gateway.telemetry import Metrics

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class WebMetrics:
    """Counts and times of requests by route template and status; label lookups are kept, not repeated."""

    def __init__(self, metrics: Metrics) -> None:
        self._requests = Counter(
            "handrail_http_requests",
            "HTTP requests by route and status.",
            ("route", "status"),
            registry=metrics.registry,
        )
        self._seconds = Histogram(
            "handrail_http_request_seconds",
            "Time from the request's head to the end of its answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=metrics.registry,
        )
        self.streams = Gauge("handrail_http_event_streams", "Event streams open now.", registry=metrics.registry)
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request that took ``seconds``; ``status`` 0 is one that got no answer."""
        key = (route, status)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = (
                self._requests.labels(route, str(status)),
                self._seconds.labels(route),
            )
        children[0].inc()
        children[1].observe(seconds)
