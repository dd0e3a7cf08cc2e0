"""What the steps that clients run themselves ask of the database."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from gateway.model import Principal
from gateway.ports.log import Guard
from gateway.ports.stored import StoredCall


class ClientCallRows(Protocol):
    """Where calls that clients make themselves stand. Every read raises ``log.unavailable`` and nothing else."""

    async def released(
        self, caller: Principal, call_ids: Collection[str], context_id: str | None = None
    ) -> Mapping[str, StoredCall]:
        """What the client calls it -> its released step, of those that the caller asked for. Where there are several,
        as some endpoints count their calls from nought, the newest of this context, or else the newest."""

    async def uncollected(
        self, caller: Principal, context_id: str | None, hand: str, action: str, since: float, *, waiting: bool
    ) -> Sequence[StoredCall]:
        """Steps of the caller's on an action, in a context or in any, about which people were asked since then (seconds
        since the epoch), that they approved and nobody collected; those that wait for them, too, where ``waiting``.
        The newest first, and not all where there are very many."""

    async def unreported(self, caller: Principal, context_id: str, hand: str, action: str) -> Sequence[StoredCall]:
        """Released steps on an action, by plans that act for the caller in a context, of which nothing was reported;
        the newest first, and not all where there are very many."""

    def naming(self, caller: Principal, call_id: str, plan_id: str, step_id: str) -> Guard:
        """The insert that gives a released step another name; a conflict raises ``request.conflict``."""
