"""Warm jailed processes, one for each principal and jail profile, and sessions with servers elsewhere, one for each
principal and whom it acts for: none ever serves two.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError

PROCESSES_MAX: Final = 32
"""Warm processes of one hand; beyond it the one idle for longest makes room."""

Key = tuple[str, str, str]
"""Tenant, principal, and the jail profile; of a session elsewhere, the pseudonym of whom the plan acts for."""


class Warm(Protocol):
    """A process that serves one call after another.

    Attributes:
        idle_since: event loop time of the last answer, for eviction.
    """

    idle_since: float

    @property
    def ended(self) -> bool:
        """Whether it takes no more calls."""

    @property
    def busy(self) -> bool:
        """Whether a call runs or waits."""

    async def close(self) -> None:
        """Kill it and wait until it is gone."""


S = TypeVar("S", bound=Warm)


class WarmProcesses(Generic[S]):
    """The warm processes of one hand, and a spare one that nobody has used."""

    def __init__(self, make: Callable[[str], S], profile: str, most: int | None = None) -> None:
        """
        Args:
            make: jail profile -> a process that begins to start.
            profile: the hand's own, which the spare one has.
            most: how many at once; ``PROCESSES_MAX`` by default.
        """
        self._make = make
        self._most = most
        self._profile = profile
        self._serving: dict[Key, S] = {}
        self._spare: S | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.closed = 0
        """How often all of them were closed."""

    def of(self, key: Key, began: int | None = None) -> S:
        """The principal's process: its own, the spare one, or a new one.

        Args:
            began: of what goes on with something: what :attr:`closed` was when it began.

        Raises:
            HandError: ``gateway.overloaded``, not executed; ``hand.crashed``: all were closed since, for a freeze, say,
                and none is started to go on.
        """
        if began not in {None, self.closed}:
            raise HandError(Reason.HAND_CRASHED, HandFailure.UNKNOWN, "closed")
        found = self._serving.get(key)
        if found is None or found.ended:
            found = self._serving[key] = self._take(key)
        return found

    def keep(self, process: S) -> None:
        """Keep one that nobody has used as the spare one."""
        if self._spare is not None:
            self.retire(self._spare)
        self._spare = process

    def new(self, profile: str) -> S:
        """One that belongs to nobody yet."""
        return self._make(profile)

    def retire(self, process: S) -> None:
        """Begin to kill a process."""
        task = asyncio.get_running_loop().create_task(process.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Kill every process and wait until they are gone."""
        self.closed += 1
        for process in (*self._serving.values(), *((self._spare,) if self._spare else ())):
            self.retire(process)
        self._serving.clear()
        self._spare = None
        while self._closing:
            await asyncio.wait(self._closing)

    def _take(self, key: Key) -> S:
        for other in [other for other, process in self._serving.items() if process.ended]:
            self.retire(self._serving.pop(other))
        if len(self._serving) >= (self._most or PROCESSES_MAX):
            idle = [other for other, process in self._serving.items() if not process.busy]
            if not idle:
                raise HandError(Reason.OVERLOADED, HandFailure.NOT_EXECUTED, "every process of this hand is busy")
            self.retire(self._serving.pop(min(idle, key=lambda other: self._serving[other].idle_since)))
        spare = self._spare
        if key[2] == self._profile and spare is not None and not spare.ended:
            self._spare = None
            return spare
        return self._make(key[2])
