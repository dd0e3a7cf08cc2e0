"""Who may connect: so many in all, and so many of one address. Belongs to one event loop.

A connection beyond a limit is told so when it asks something, and whether the process lives it is told all the same:
whoever supervises a gateway would else end one that is merely busy.
"""

import resource
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import HandrailError, Unavailable
from gateway.reasons import Reason
from gateway.settings import LimitSettings
from gateway.telemetry import Metrics
from gateway.web.context import source
from gateway.web.errors import problem
from gateway.web.proxies import address

POLITE_MAX: Final = 64
"""Connections beyond a limit that may wait to ask something, and as many that may wait for an answer. For one more, the
one that has waited for longest goes: so whoever asks as soon as it is connected is heard, however many are silent."""
PROBES: Final = frozenset({"/healthz", "/readyz"})
"""What is answered beyond a limit."""
_DESCRIPTORS_KEPT: Final = 256
"""File descriptors left for the database, hands and their pipes."""
_LEAST: Final = 64


class HungUp(StrEnum):
    """Why a connection was ended from here."""

    HEAD = "head"
    """No request came in time."""
    UNREAD = "unread"
    """Nobody read the answer."""
    TURNED_AWAY = "turned_away"
    """There were too many even to say so."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One connection.

    Attributes:
        of: whose share it is of; ``None`` for that of nobody: a declared proxy's, or a local one.
        refusal: what it is told instead of being served.
        end: ends the connection.
    """

    of: str | None
    refusal: HandrailError | None
    end: Callable[[], None]


class Doors:
    """Counts connections."""

    def __init__(self, limits: LimitSettings, trusted_proxies: Sequence[str], metrics: Metrics) -> None:
        self._max = connections_limit(limits.connections_max)
        self._max_of_one = limits.connections_max_per_address
        self._proxies = tuple(ip_network(network) for network in trusted_proxies)
        self._of: Counter[str] = Counter()
        self._silent: dict[Place, None] = {}
        """Beyond a limit, and asked nothing yet; in the order in which they came."""
        self._asked: dict[Place, None] = {}
        """Beyond a limit, and being answered; in the order in which they asked."""
        self.open = 0
        metrics.http_connections.set_function(lambda: self.open)
        self._refused = metrics.http_connections_refused
        self._hung_up = metrics.http_hung_up

    def enter(self, host: str | None, end: Callable[[], None]) -> Place:
        """Count a connection; :meth:`leave` follows, whatever came of it.

        Args:
            end: ends it at once.
        """
        whose = None if host is None or self._declared(host) else source(host)
        self.open += 1
        own = 0
        if whose is not None:
            self._of[whose] += 1
            own = self._of[whose]
        refusal: HandrailError | None = None
        if own > self._max_of_one:
            refusal = Unavailable(Reason.LIMIT_CONNECTIONS, limit=self._max_of_one)
        elif self.open > self._max:
            refusal = Unavailable(Reason.OVERLOADED, "connections")
        place = Place(whose, refusal, end)
        if refusal is not None:
            self._silent[place] = None
            self._bound(self._silent)
        return place

    def refused(self, place: Place) -> None:
        """A connection beyond a limit is not served."""
        if place.refusal is not None:
            self._refused.labels(str(place.refusal.reason)).inc()

    def heard(self, place: Place) -> None:
        """A connection beyond a limit asked something, so that it is answered and ends."""
        if self._silent.pop(place, place) is None:
            self._asked[place] = None
            self._bound(self._asked)

    def leave(self, place: Place) -> None:
        """A connection is no more."""
        self._silent.pop(place, None)
        self._asked.pop(place, None)
        self.open -= 1
        if place.of is not None:
            self._of[place.of] -= 1
            if not self._of[place.of]:
                del self._of[place.of]

    def hung_up(self, why: HungUp) -> None:
        """A connection was ended from here."""
        self._hung_up.labels(str(why)).inc()

    def _bound(self, waiting: dict[Place, None]) -> None:
        """End the connection that has waited for longest, where too many do."""
        if len(waiting) > POLITE_MAX:
            oldest = next(iter(waiting))
            del waiting[oldest]
            if waiting is self._silent:
                self.refused(oldest)
            self.hung_up(HungUp.TURNED_AWAY)
            oldest.end()

    def _declared(self, host: str) -> bool:
        found = address(host)
        return found is not None and any(
            found in network for network in self._proxies if network.version == found.version
        )


class Beyond:
    """The application for a connection beyond a limit: one answer, and its end."""

    def __init__(self, app: ASGIApp, doors: Doors, place: Place, refusal: HandrailError) -> None:
        self._app = app
        self._doors = doors
        self._place = place
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a probe; of everything else say why it is not served."""

        async def last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        self._doors.heard(self._place)
        if scope["path"] in PROBES:
            await self._app(scope, receive, last)
        else:
            self._doors.refused(self._place)
            headers = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
            await problem(self._refusal, "", headers=headers)(scope, receive, last)


def connections_limit(wanted: int) -> int:
    """Connections to take at once: what the file descriptor limit leaves, at most ``wanted``."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    available = wanted if soft == resource.RLIM_INFINITY else soft - _DESCRIPTORS_KEPT
    return max(min(_LEAST, wanted), min(wanted, available))
