"""Where proposals are kept."""

from collections.abc import Collection, Sequence
from typing import Protocol

from gateway.ports.log import Guard, Write
from gateway.two_person import Kind, Proposal, ProposalStatus


class ProposalStore(Protocol):
    """Rows of proposals; see ``gateway.store.proposals``."""

    def insert(self, proposal: Proposal) -> Guard:
        """A new proposal, the only open one about its subject; a conflict raises ``request.conflict``."""

    def change(self, proposal: Proposal) -> tuple[Guard, Write]:
        """A later state; a conflict raises ``proposal.closed``."""

    async def get(self, tenant: str, proposal_id: str) -> Proposal | None:
        """One proposal."""

    async def page(
        self, tenant: str, status: ProposalStatus | None, kind: Kind | None, *, after: str | None, limit: int
    ) -> Sequence[Proposal]:
        """A tenant's proposals, newest first."""

    async def in_force(self, kinds: Collection[Kind], now: float) -> Sequence[Proposal]:
        """Activated proposals of standing kinds that count at ``now``, of all tenants."""

    async def due(self, now: float, limit: int) -> Sequence[Proposal]:
        """Those whose time is over."""
