"""How many people a change of trust takes: rules alone, without clock, database or network.

Trust is what lets somebody decide, or be believed: the roles below with every credential of whoever has one, and the
issuers of plans. Giving it takes a threshold of security admins, each of whom signs; taking it away takes one, except
where too few would be left to give any.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from gateway.model import TRUSTED
from gateway.two_person import Kind

NEW: Final = "new-"
ENOUGH: Final = 2
"""Security admins from which on nobody changes trust alone."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One person's agreement to a proposal of a counted kind.

    Attributes:
        number: 1, 2, 3, ... under this proposal.
        signer: pseudonym.
        attested_by: ``signer`` for their key in a file, ``webauthn`` for a security key, else ``gateway``.
        audience: the log's name that it was signed for; under another name (after a restore) it counts for nothing.
        commitment: of the signed act.
        kid: RFC 7638 thumbprint of the person's key; ``None`` where the gateway attests.
    """

    proposal_id: str
    number: int
    signer: str
    attested_by: str
    audience: str
    signed_at: float
    commitment: str
    kid: str | None = None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many security admins have to sign a change of each kind; at least :data:`ENOUGH`."""

    principals: int = ENOUGH
    issuers: int = ENOUGH

    def of(self, kind: Kind) -> int:
        """The threshold of a counted kind."""
        return self.issuers if kind is Kind.TRUST_ISSUER else self.principals

    def needed(self, kind: Kind, admins: int) -> int:
        """Signatures that a proposal needs where there are so many security admins: never one."""
        return max(ENOUGH, min(self.of(kind), admins))


@dataclass(frozen=True, slots=True)
class TrustChange:
    """What a change of the directory does to trust, as people are shown it; nothing personal.

    Attributes:
        name: what is done, one word for each operation (``principal.add``).
        target: whom it is about, by a pseudonym: what at most one open proposal may be about.
        before: the state that it rests on; ``None`` where there is nothing yet.
        after: the same once it is made.
        removes_admin: it takes a security admin away, and does nothing else.
    """

    kind: Kind
    name: str
    target: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]
    removes_admin: bool = False

    def people(self, thresholds: Thresholds, admins: int, left: int) -> int:
        """How many people it takes where there are so many security admins; one where that is nobody's second.

        Args:
            left: of the others, how many could agree to a change once this one is made.
        """
        if admins < ENOUGH:
            return 1
        if self.removes_admin and left >= max(ENOUGH, thresholds.of(self.kind)):
            return 1
        return thresholds.needed(self.kind, admins)

    def document(self, request: str) -> dict[str, Any]:
        """What is proposed.

        Args:
            request: commitment of the request itself, which names people and lies sealed.
        """
        before = None if self.before is None else dict(self.before)
        return {"change": self.name, "before": before, "after": dict(self.after), "request": request}


def same_target(one: str, other: str) -> bool:
    """Whether two changes are about the same, as far as their targets tell. What is new has another target after an
    erasure (``audit.names.Names.stand_in``); of that, the request says what it is."""
    return one == other or (one.startswith(NEW) and other.startswith(NEW))


def is_trusted(roles: Collection[str]) -> bool:
    """Whether one of the roles decides anything."""
    return not TRUSTED.isdisjoint(roles)


def differences(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Member, value before and value after, of those that differ; in order."""
    known: Mapping[str, Any] = MappingProxyType({}) if before is None else before
    names = sorted({*known, *after})
    return [(name, known.get(name), after.get(name)) for name in names if known.get(name) != after.get(name)]
