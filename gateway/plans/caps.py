"""How much one principal may have under way at once, so that no principal can starve the others.

Plans under way are this process's own and counted in memory. Open approval requests are rows that every gateway adds:
they are counted in the database, and with them what this process is about to add, so that plans which come together
cannot each take the same room. Several gateways may together exceed the cap by what is in flight among them.

The principal is the authenticated caller: whoever signs for others pays for them too.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.errors import Unavailable
from gateway.model import Principal
from gateway.reasons import Reason

Owner = tuple[str, str]
"""Tenant and pseudonym."""

CountOpen = Callable[[str, str], Awaitable[int]]
"""Tenant and pseudonym -> open approval requests of plans that it sent."""


class Caps:
    """What each principal has under way. Belongs to one event loop."""

    def __init__(self, count_open: CountOpen) -> None:
        self._count_open: Final = count_open
        self._plans: Counter[Owner] = Counter()
        self._opening: Counter[Owner] = Counter()

    def check_plans(self, caller: Principal, limit: int) -> None:
        """Whether the caller may have one more plan under way.

        Raises:
            Unavailable: ``limit.plans``; nothing of the new plan is on record, and it may be sent again.
        """
        if self._plans[caller.tenant, caller.pseudonym] >= limit:
            raise Unavailable(Reason.LIMIT_PLANS, limit=limit)

    def begin(self, caller: Principal) -> None:
        """A plan of the caller is taken forward from now on; :meth:`end` follows."""
        self._plans[caller.tenant, caller.pseudonym] += 1

    def end(self, caller: Principal) -> None:
        """A plan of :meth:`begin` is done, or waits for people and is nowhere but on record."""
        _less(self._plans, caller, 1)

    async def reserve(self, caller: Principal, asked: int, limit: int) -> int:
        """Keep room for approval requests that are about to be recorded; :meth:`release` what it returns afterwards.

        Args:
            asked: beyond those that take the place of open ones, which the same record closes.

        Returns:
            For how many of ``asked`` there is room.

        Raises:
            Unavailable: ``log.unavailable``; nothing is reserved.
        """
        owner = (caller.tenant, caller.pseudonym)
        # Of those that count at the same time, each leaves room for the ones before it. What they record meanwhile may
        # count twice: a little too strict, never too lax.
        ahead = self._opening[owner]
        self._opening[owner] += asked
        fitting = 0
        try:
            fitting = max(0, min(asked, limit - ahead - await self._count_open(*owner)))
        finally:
            self.release(caller, asked - fitting)
        return fitting

    def release(self, caller: Principal, reserved: int) -> None:
        """What :meth:`reserve` kept is on record now, or never will be."""
        _less(self._opening, caller, reserved)


def _less(counter: Counter[Owner], caller: Principal, number: int) -> None:
    """Count down, and keep no key of those who have nothing."""
    owner = (caller.tenant, caller.pseudonym)
    counter[owner] -= number
    if counter[owner] <= 0:
        del counter[owner]
