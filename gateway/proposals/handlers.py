"""What a kind of proposal means: asked when one is made, and when it comes into force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.entries import EntryDraft
from gateway.model import Principal
from gateway.ports import Guard, Write
from gateway.two_person import Proposal


@dataclass(frozen=True, slots=True)
class Effects:
    """What an activation brings about, in the same append as its entry.

    Attributes:
        facts: more facts for the entry of the activation.
        policy_digest: of the bundle that the activation is about, for the entry.
    """

    entries: Sequence[EntryDraft] = ()
    writes: Sequence[Write] = ()
    guards: Sequence[Guard] = ()
    facts: Mapping[str, str | int] = field(default_factory=dict)
    policy_digest: str | None = None


class Handler(Protocol):
    """What a kind of proposal means."""

    async def check(self, document: Mapping[str, Any], actor: Principal) -> str:
        """Refuse a document that could not be activated now; asked at the proposal.

        Returns:
            The subject: what it is about, in at most 128 characters of ``[A-Za-z0-9._:@-]``, nothing personal.

        Raises:
            Refused: ``request.malformed``, ``request.not_found``, or a reason of its own.
        """

    async def effects(self, proposal: Proposal, actor: Principal) -> Effects:
        """What activating it brings about; asked at the activation, and checks everything again.

        Raises:
            Refused: ``proposal.outdated`` where what it was made against has changed.
        """

    async def applied(self, proposal: Proposal) -> None:
        """An activation, or the end of one, is durable: act on it at once. Whoever misses this call (another gateway, a
        restart) must find out by itself, from :meth:`Proposals.in_force` or from rows of the handler's own."""
