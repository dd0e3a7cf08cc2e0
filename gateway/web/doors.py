"""Who may connect: so many in all, and so many of one address. Belongs to one event loop."""

import resource
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from typing import Final

from gateway.errors import HandrailError, Unavailable
from gateway.reasons import Reason
from gateway.settings import LimitSettings
from gateway.telemetry import Metrics
from gateway.web.context import source
from gateway.web.proxies import address

POLITE_MAX: Final = 64
"""Connections beyond a limit that are told so; of more nothing is read. Each has as long as a head may take."""
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


@dataclass(frozen=True, slots=True)
class Place:
    """One connection.

    Attributes:
        of: whose share it is of; ``None`` for that of nobody: a declared proxy's, or a local one.
        refusal: what it is told instead of being served.
        turned_away: it is not even told.
    """

    of: str | None
    refusal: HandrailError | None = None
    turned_away: bool = False


class Doors:
    """Counts connections."""

    def __init__(self, limits: LimitSettings, trusted_proxies: Sequence[str], metrics: Metrics) -> None:
        self._max = connections_limit(limits.connections_max)
        self._max_of_one = limits.connections_max_per_address
        self._proxies = tuple(ip_network(network) for network in trusted_proxies)
        self._of: Counter[str] = Counter()
        self.open = 0
        metrics.http_connections.set_function(lambda: self.open)
        self._refused = metrics.http_connections_refused
        self._hung_up = metrics.http_hung_up

    def enter(self, host: str | None) -> Place:
        """Count a connection; :meth:`leave` follows, whatever came of it."""
        whose = None if host is None or self._declared(host) else source(host)
        self.open += 1
        own = 0
        if whose is not None:
            self._of[whose] += 1
            own = self._of[whose]
        refusal: HandrailError | None = None
        beyond = max(self.open - self._max, own - self._max_of_one)
        if own > self._max_of_one:
            refusal = Unavailable(Reason.LIMIT_CONNECTIONS, limit=self._max_of_one)
        elif self.open > self._max:
            refusal = Unavailable(Reason.OVERLOADED, "connections")
        if refusal is not None:
            self._refused.labels(str(refusal.reason)).inc()
        turned_away = beyond > POLITE_MAX
        if turned_away:
            self.hung_up(HungUp.TURNED_AWAY)
        return Place(whose, refusal, turned_away)

    def leave(self, place: Place) -> None:
        """A connection is no more."""
        self.open -= 1
        if place.of is not None:
            self._of[place.of] -= 1
            if not self._of[place.of]:
                del self._of[place.of]

    def hung_up(self, why: HungUp) -> None:
        """A connection was ended from here."""
        self._hung_up.labels(str(why)).inc()

    def _declared(self, host: str) -> bool:
        found = address(host)
        return found is not None and any(
            found in network for network in self._proxies if network.version == found.version
        )


def connections_limit(wanted: int) -> int:
    """Connections to take at once: what the file descriptor limit leaves, at most ``wanted``."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    available = wanted if soft == resource.RLIM_INFINITY else soft - _DESCRIPTORS_KEPT
    return max(min(_LEAST, wanted), min(wanted, available))
