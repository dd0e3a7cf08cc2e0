"""How fast a hand is asked: by everybody, by each tenant, and by each principal. Belongs to one event loop."""

from collections.abc import Callable

from gateway.rates import Rates
from hand_adapters.resilience.bulkhead import Who


class Pace:
    """Attempts of one hand. Whoever is refused spent nothing, neither of its own nor of what all share."""

    def __init__(
        self,
        per_second: float,
        burst: int,
        principal_share: float,
        tenant_share: float,
        clock: Callable[[], float],
    ) -> None:
        """
        Args:
            principal_share: the part of both that one principal may take.
            tenant_share: the same of the principals of one tenant together.
        """

        def of(share: float) -> tuple[float, float]:
            return per_second * share, max(1.0, burst * share)

        self._principals: Rates[Who] = Rates(*of(min(principal_share, tenant_share)), clock)
        self._tenants: Rates[str] = Rates(*of(tenant_share), clock)
        self._all: Rates[None] = Rates(*of(1.0), clock)

    def take(self, who: Who) -> float:
        """Count one attempt; 0 where it may be, else the seconds until one may."""
        left = max(self._principals.left(who), self._tenants.left(who[0]), self._all.left(None))
        if not left:
            self._principals.take(who)
            self._tenants.take(who[0])
            self._all.take(None)
        return left
