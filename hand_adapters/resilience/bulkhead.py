"""How many calls of a hand run and wait, and whose turn it is. Belongs to one event loop."""

import asyncio
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import TypeVar

Who = tuple[str, str]
"""Tenant, and the pseudonym of the principal."""

Key = TypeVar("Key", Who, str)


class Full(Exception):
    """There is no room, or no turn came in time."""


@dataclass(frozen=True, slots=True)
class Room:
    """Calls at once, calls that may wait, and what part of both one principal, and one tenant, may take."""

    concurrency_max: int
    queue_max: int
    principal_share: float
    tenant_share: float = 1.0

    def of_one(self, whole: int) -> int:
        """What of ``whole`` one principal may take."""
        return min(self.of_tenant(whole), _part(whole, self.principal_share))

    def of_tenant(self, whole: int) -> int:
        """What of ``whole`` the principals of one tenant may take together."""
        return _part(whole, self.tenant_share)


class Bulkhead:
    """Slots that calls take and give back. Who waits is served in turn by tenant, of a tenant by principal, and of a
    principal in the order of coming."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._slots_of_one = room.of_one(room.concurrency_max)
        self._slots_of_tenant = room.of_tenant(room.concurrency_max)
        self._places_of_one = room.of_one(room.queue_max)
        self._places_of_tenant = room.of_tenant(room.queue_max)
        self._held: Counter[Who] = Counter()
        self._held_by_tenant: Counter[str] = Counter()
        self._waiting_by_tenant: Counter[str] = Counter()
        self._queues: OrderedDict[str, OrderedDict[Who, deque[asyncio.Future[None]]]] = OrderedDict()
        self.running = 0
        self.waiting = 0

    async def take(self, who: Who, seconds: float) -> bool:
        """Take a slot, which :meth:`give` gives back; returns whether it had to wait.

        Raises:
            Full: nobody may wait any more, or no turn came within ``seconds``.
        """
        if self.running < self._room.concurrency_max and self._may_hold(who):
            self._grant(who)
            return False
        if not self._may_wait(who) or seconds <= 0:
            raise Full
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(who[0], OrderedDict()).setdefault(who, deque()).append(turn)
        self.waiting += 1
        self._waiting_by_tenant[who[0]] += 1
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            self._give_up(who, turn)
            raise Full from None
        except BaseException:
            self._give_up(who, turn)
            raise
        return True

    def give(self, who: Who) -> None:
        """Give a slot back; whoever is next gets it."""
        self.running -= 1
        _less(self._held, who)
        _less(self._held_by_tenant, who[0])
        found = self._next()
        if found is not None:
            other, turn = found
            self._queues.move_to_end(other[0])
            self._queues[other[0]].move_to_end(other)
            self._remove(other, turn)
            self._grant(other)
            turn.set_result(None)

    def of(self, tenant: str) -> tuple[int, int]:
        """How many calls of one tenant run, and how many wait."""
        return self._held_by_tenant[tenant], self._waiting_by_tenant[tenant]

    def _next(self) -> tuple[Who, "asyncio.Future[None]"] | None:
        for tenant, queues in self._queues.items():
            if self._held_by_tenant[tenant] >= self._slots_of_tenant:
                continue
            for who, queue in queues.items():
                # One whose task was cancelled in this very moment is still in the queue, and leaves it by itself.
                turn = next((one for one in queue if not one.done()), None)
                if turn is not None and self._held[who] < self._slots_of_one:
                    return who, turn
        return None

    def _may_hold(self, who: Who) -> bool:
        return self._held[who] < self._slots_of_one and self._held_by_tenant[who[0]] < self._slots_of_tenant

    def _may_wait(self, who: Who) -> bool:
        queues = self._queues.get(who[0])
        own = () if queues is None else queues.get(who, ())
        return (
            self.waiting < self._room.queue_max
            and self._waiting_by_tenant[who[0]] < self._places_of_tenant
            and len(own) < self._places_of_one
        )

    def _grant(self, who: Who) -> None:
        self.running += 1
        self._held[who] += 1
        self._held_by_tenant[who[0]] += 1

    def _give_up(self, who: Who, turn: "asyncio.Future[None]") -> None:
        if turn.done() and not turn.cancelled():
            self.give(who)  # its turn came at the very moment when it was given up
            return
        self._remove(who, turn)

    def _remove(self, who: Who, turn: "asyncio.Future[None]") -> None:
        queues = self._queues[who[0]]
        queues[who].remove(turn)
        self.waiting -= 1
        _less(self._waiting_by_tenant, who[0])
        if not queues[who]:
            del queues[who]
        if not queues:
            del self._queues[who[0]]


def _part(whole: int, share: float) -> int:
    """A share of ``whole``, rounded down, but one at least where there is one."""
    return min(whole, max(1, int(whole * share)))


def _less(counter: Counter[Key], key: Key) -> None:
    """Count down, and keep no key of those who have nothing."""
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
