"""Whether this process is about to stop: it finishes what it took, and takes nothing new."""

import asyncio
from collections.abc import Callable
from enum import StrEnum


class Phase(StrEnum):
    """How far a stop is."""

    SERVING = "serving"
    NOTICE = "notice"
    """It serves as before, and says that it is not ready."""
    DRAINING = "draining"
    """Nothing new is taken."""


class Drain:
    """The one word on it that everybody reads. Belongs to one event loop."""

    def __init__(self) -> None:
        self.phase = Phase.SERVING
        self._begun = asyncio.Event()
        self._told: list[Callable[[], None]] = []

    @property
    def announced(self) -> bool:
        """Whether it is about to stop, by either phase."""
        return self.phase is not Phase.SERVING

    @property
    def begun(self) -> bool:
        """Whether it takes nothing new."""
        return self.phase is Phase.DRAINING

    def on_begin(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called when it begins."""
        self._told.append(tell)

    def announce(self) -> None:
        """It is going to stop soon."""
        self.phase = Phase.NOTICE

    def begin(self) -> None:
        """From now on nothing new is taken, and whoever only waits stops waiting."""
        if self.begun:
            return
        self.phase = Phase.DRAINING
        self._begun.set()
        for tell in self._told:
            tell()

    async def wait(self) -> None:
        """Returns when it has begun."""
        await self._begun.wait()
