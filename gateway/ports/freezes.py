"""Freezes, as whoever lets something happen must ask for them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.freeze import Freeze, FreezeState, Told
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


class FreezeStore(Protocol):
    """What the log and the rows say of freezes; see ``gateway.store.freezes``."""

    def mac(self, freeze: Freeze) -> str:
        """What an entry that lifts it must carry."""

    async def read(self, after: int) -> Told:
        """What the log says from index ``after`` on."""

    async def waiting(self, freeze: Freeze, limit: int) -> Sequence[str]:
        """Plans of this gateway with something that waits and is frozen."""

    async def counts(self, freeze: Freeze) -> tuple[int, int]:
        """Steps that run elsewhere, and approval requests that wait."""

    async def knows_context(self, tenant: str, context_id: str) -> bool:
        """Whether the context was used."""


class Journal(Protocol):
    """What this gateway's home remembers of freezes; see ``gateway.freeze_journal``."""

    def load(self) -> Sequence[Freeze]:
        """What was frozen when it was kept last."""

    def keep(self, freezes: Sequence[Freeze]) -> None:
        """Keep what is in force, instead of what was kept before."""
