"""One lock for each plan."""

import asyncio
from weakref import WeakValueDictionary


class PlanLocks:
    """One at a time for each plan: a plan that only waits has no state but its record, and two copies of it taken from
    there must not both be set going."""

    __slots__ = ("_locks",)

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, plan_id: str) -> asyncio.Lock:
        """The plan's lock. It is there for as long as somebody holds or awaits it."""
        lock = self._locks.get(plan_id)
        if lock is None:
            lock = self._locks[plan_id] = asyncio.Lock()
        return lock
