"""Freezes, as whoever lets something happen must ask for them."""

from collections.abc import Mapping
from typing import Protocol

from gateway.freeze import FreezeState
from gateway.halts import Halts
from gateway.ports.past import Topic


class Freezes(Protocol):
    """What is frozen, followed in the log."""

    halts: Halts

    @property
    def now(self) -> FreezeState:
        """As far as this process knows; asks nobody. It may be a second old."""

    async def current(self) -> FreezeState:
        """What a decision may rest on.

        Raises:
            Unavailable: ``log.unavailable``; it cannot be known what is frozen, so nothing may happen.
        """

    def stands(self, state: FreezeState) -> bool:
        """Whether no freeze was set or lifted here since ``state``."""

    def rests_on(self) -> Mapping[Topic, int]:
        """For ``Append.rests_on``: the append is refused where another gateway froze or lifted something since."""
