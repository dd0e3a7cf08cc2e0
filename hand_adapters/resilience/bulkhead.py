"""How many calls of a hand run and wait, and whose turn it is. Belongs to one event loop."""

import asyncio
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass

Who = tuple[str, str]
"""Tenant, and the pseudonym of the principal."""


class Full(Exception):
    """There is no room, or no turn came in time."""


@dataclass(frozen=True, slots=True)
class Room:
    """Calls at once, calls that may wait, and what part of both one principal may take."""

    concurrency_max: int
    queue_max: int
    principal_share: float

    def of_one(self, whole: int) -> int:
        """What of ``whole`` one principal may take."""
        return min(whole, max(1, int(whole * self.principal_share)))


class Bulkhead:
    """Slots that calls take and give back. Who waits is served in turn by principal, each in the order of coming."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._slots_of_one = room.of_one(room.concurrency_max)
        self._places_of_one = room.of_one(room.queue_max)
        self._held: Counter[Who] = Counter()
        self._queues: OrderedDict[Who, deque[asyncio.Future[None]]] = OrderedDict()
        self.running = 0
        self.waiting = 0

    async def take(self, who: Who, seconds: float) -> bool:
        """Take a slot, which :meth:`give` gives back; returns whether it had to wait.

        Raises:
            Full: nobody may wait any more, or no turn came within ``seconds``.
        """
        if self.running < self._room.concurrency_max and self._held[who] < self._slots_of_one:
            self._grant(who)
            return False
        queue = self._queues.get(who, ())
        if self.waiting >= self._room.queue_max or len(queue) >= self._places_of_one or seconds <= 0:
            raise Full
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(who, deque()).append(turn)
        self.waiting += 1
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
        self._held[who] -= 1
        if self._held[who] <= 0:
            del self._held[who]
        for other, queue in self._queues.items():
            # One whose task was cancelled in this very moment is still in the queue, and leaves it by itself.
            turn = next((one for one in queue if not one.done()), None)
            if turn is not None and self._held[other] < self._slots_of_one:
                self._queues.move_to_end(other)
                self._remove(other, turn)
                self._grant(other)
                turn.set_result(None)
                return

    def of(self, tenant: str) -> tuple[int, int]:
        """How many calls of one tenant run, and how many wait."""
        running = sum(count for who, count in self._held.items() if who[0] == tenant)
        return running, sum(len(queue) for who, queue in self._queues.items() if who[0] == tenant)

    def _grant(self, who: Who) -> None:
        self.running += 1
        self._held[who] += 1

    def _give_up(self, who: Who, turn: "asyncio.Future[None]") -> None:
        if turn.done() and not turn.cancelled():
            self.give(who)  # its turn came at the very moment when it was given up
            return
        self._remove(who, turn)

    def _remove(self, who: Who, turn: "asyncio.Future[None]") -> None:
        queue = self._queues[who]
        queue.remove(turn)
        self.waiting -= 1
        if not queue:
            del self._queues[who]
