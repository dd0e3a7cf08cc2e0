"""Changes that take two people: one proposes, another with the right to it activates, once, before it expires.

Rules alone: no clock, database or network. What is proposed is a *document* (JSON with closed members, nothing personal
in it: digests, hand ids, numbers); its SHA-256 is bound into what both people sign, so that what was looked at is what
takes effect. What each kind of document means is its handler's business (``gateway.proposals.life``).

    open ──▶ activated ──▶ ended        a standing kind (observe, canary) is in force until then
      ├────▶ withdrawn
      └────▶ expired
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from gateway.canonical import canonical, parse
from gateway.entries import EntryType
from gateway.errors import Malformed, Refused
from gateway.model import DEFAULT_TENANT, Principal
from gateway.permissions import Permission, permits
from gateway.reasons import Conflict, Reason, because

DOCUMENT_MAX_BYTES: Final = 16_384
DAY_SECONDS: Final = 86_400
_SUBJECT: Final = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


class Kind(StrEnum):
    """What may be proposed. Closed; a gateway without a handler for a kind refuses it."""

    POLICY_ACTIVATE = "policy.activate"
    """A policy bundle decides from now on. ``subject``: its digest."""
    POLICY_OBSERVE = "policy.observe"
    """A hand is observed: everything is recorded, little is enforced. ``subject``: the hand's id."""
    POLICY_CANARY = "policy.canary"
    """A bundle decides for a part of the principals. ``subject``: its digest."""
    FREEZE_LIFT = "freeze.lift"
    """What was frozen may run again. ``subject``: the freeze's id."""
    TRUST_PRINCIPAL = "trust.principal"
    """Who may decide gets in, gets a further credential, or goes where too few would be left. ``subject``: whom it is
    about, by a pseudonym."""
    TRUST_ISSUER = "trust.issuer"
    """Whose plans are believed. ``subject``: the issuer, by a pseudonym."""


class Act(StrEnum):
    """What was done to a proposal."""

    PROPOSE = "propose"
    SIGN = "sign"
    """One of several people agreed; of a counted kind."""
    ACTIVATE = "activate"
    WITHDRAW = "withdraw"
    EXPIRE = "expire"
    END = "end"


class ProposalStatus(StrEnum):
    """Where a proposal is."""

    OPEN = "open"
    ACTIVATED = "activated"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    ENDED = "ended"

    @property
    def rank(self) -> int:
        """Later states have a higher one: no proposal goes back."""
        return _RANKS[self]


_RANKS: Final = {
    ProposalStatus.OPEN: 0,
    ProposalStatus.ACTIVATED: 1,
    ProposalStatus.WITHDRAWN: 2,
    ProposalStatus.EXPIRED: 2,
    ProposalStatus.ENDED: 2,
}
AFTER: Final[Mapping[Act, ProposalStatus]] = MappingProxyType(
    {
        Act.PROPOSE: ProposalStatus.OPEN,
        Act.SIGN: ProposalStatus.OPEN,
        Act.ACTIVATE: ProposalStatus.ACTIVATED,
        Act.WITHDRAW: ProposalStatus.WITHDRAWN,
        Act.EXPIRE: ProposalStatus.EXPIRED,
        Act.END: ProposalStatus.ENDED,
    }
)
"""Act -> the status that it leads to."""

_ENTRIES: Final[Mapping[Act, EntryType]] = MappingProxyType(
    {
        Act.PROPOSE: EntryType.PROPOSAL_MADE,
        Act.SIGN: EntryType.PROPOSAL_SIGNED,
        Act.ACTIVATE: EntryType.PROPOSAL_ACTIVATED,
        Act.WITHDRAW: EntryType.PROPOSAL_WITHDRAWN,
        Act.EXPIRE: EntryType.PROPOSAL_EXPIRED,
        Act.END: EntryType.PROPOSAL_ENDED,
    }
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may do what to proposals of one kind.

    Attributes:
        gateway_wide: it changes something for every tenant, so only people of the gateway's own tenant may.
        standing_max_seconds: an activated one stays in force, at most so long; ``None`` where activation is one act.
        entries: act -> the type of its entry, where it is not the general one.
        counted: it takes effect with the last of several people's signatures (``gateway.proposals.signing``), not by
            one other person's activation.
    """

    propose: Permission
    activate: Permission
    gateway_wide: bool = False
    standing_max_seconds: int | None = None
    entries: Mapping[Act, EntryType] = field(default_factory=lambda: MappingProxyType({}))
    counted: bool = False

    def entry(self, act: Act) -> EntryType:
        """The type of the entry about an act."""
        return self.entries.get(act, _ENTRIES[act])


RULES: Final[Mapping[Kind, Rule]] = MappingProxyType(
    {
        Kind.POLICY_ACTIVATE: Rule(
            Permission.POLICY_PROPOSE,
            Permission.POLICY_ACTIVATE,
            gateway_wide=True,
            entries=MappingProxyType(
                {Act.PROPOSE: EntryType.POLICY_PROPOSED, Act.ACTIVATE: EntryType.POLICY_ACTIVATED}
            ),
        ),
        Kind.POLICY_OBSERVE: Rule(
            Permission.POLICY_PROPOSE, Permission.POLICY_ACTIVATE, standing_max_seconds=14 * DAY_SECONDS
        ),
        Kind.POLICY_CANARY: Rule(
            Permission.POLICY_PROPOSE,
            Permission.POLICY_ACTIVATE,
            gateway_wide=True,
            standing_max_seconds=14 * DAY_SECONDS,
        ),
        Kind.FREEZE_LIFT: Rule(
            Permission.FREEZES_LIFT,
            Permission.FREEZES_LIFT,
            entries=MappingProxyType({Act.ACTIVATE: EntryType.UNFROZEN}),
        ),
        Kind.TRUST_PRINCIPAL: Rule(Permission.PRINCIPALS_MANAGE, Permission.PRINCIPALS_MANAGE, counted=True),
        Kind.TRUST_ISSUER: Rule(Permission.ISSUERS_MANAGE, Permission.ISSUERS_MANAGE, counted=True),
    }
)
ENTRY_TYPES: Final = frozenset(rule.entry(act) for rule in RULES.values() for act in Act)
"""Every type of entry that tells of a proposal (where its facts name one)."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal as it stands. Times are seconds since the epoch; people are pseudonyms.

    Attributes:
        id: 32 hexadecimal digits, chosen by who signed it.
        document_sha256: of ``document`` as RFC 8785 canonical JSON.
        proposed_attested_by: ``proposer`` where the proposer's enrolled key signed, else ``gateway``.
        decided_by: who activated or withdrew it; ``None`` for the gateway itself, where it expired.
        in_force_until: of a standing kind, once it is activated.
        commitments: ``document``, ``propose`` and ``activate`` -> commitment of the document and the signed acts.
    """

    id: str
    kind: Kind
    tenant: str
    subject: str
    document: Mapping[str, Any]
    document_sha256: str
    status: ProposalStatus
    proposed_by: str
    proposed_attested_by: str
    proposed_at: float
    expires_at: float
    commitments: Mapping[str, str]
    decided_by: str | None = None
    decided_attested_by: str | None = None
    decided_at: float | None = None
    in_force_until: float | None = None
    ended_by: str | None = None
    ended_at: float | None = None

    def binding(self) -> dict[str, str]:
        """What both people sign."""
        return {
            "id": self.id,
            "kind": str(self.kind),
            "tenant": self.tenant,
            "subject": self.subject,
            "document_sha256": self.document_sha256,
        }

    def in_force(self, now: float) -> bool:
        """Whether an activated one of a standing kind counts at ``now``."""
        return self.status is ProposalStatus.ACTIVATED and self.in_force_until is not None and now < self.in_force_until


def check_may_propose(kind: Kind, actor: Principal) -> None:
    """Raises ``auth.forbidden``."""
    _check_permission(kind, actor, RULES[kind].propose)


def check_may_activate(proposal: Proposal, actor: Principal, proposer: Principal | None, now: float) -> None:
    """Whether this person may activate this proposal now. The person is the principal: another API key of the same one
    is the same person.

    Args:
        proposer: as the directory knows the proposer *now*; ``None`` where that principal is revoked.

    Raises:
        Refused: ``proposal.closed``, ``proposal.expired``, ``auth.forbidden``, ``proposal.self``, or
            ``proposal.outdated`` where the proposer may not propose any more.
    """
    check_open(proposal, now)
    if actor.pseudonym == proposal.proposed_by:
        raise Refused(Reason.PROPOSAL_SELF)
    _check_permission(proposal.kind, actor, RULES[proposal.kind].activate)
    if proposer is None or not permits(proposer, RULES[proposal.kind].propose):
        raise Refused(Reason.PROPOSAL_OUTDATED, "the proposer may not propose any more")


def check_may_sign(proposal: Proposal, actor: Principal, proposer: Principal | None, now: float) -> None:
    """Whether this person may be one of those who agree to a change of a counted kind. The proposer may: proposing
    with a key of one's own is signing, and without a signature it counts for nothing.

    Args:
        proposer: as the directory knows the proposer *now*; ``None`` where that principal is revoked or frozen.

    Raises:
        Refused: ``proposal.closed``, ``proposal.expired``, ``auth.forbidden``, or ``proposal.outdated`` where the
            proposer may not propose any more; ``request.conflict`` for a kind that is not counted.
    """
    check_open(proposal, now)
    if not RULES[proposal.kind].counted:
        raise Refused(Reason.REQUEST_CONFLICT, "activated, not signed", **because(Conflict.NOT_COUNTED))
    _check_permission(proposal.kind, actor, RULES[proposal.kind].activate)
    if proposer is None or not permits(proposer, RULES[proposal.kind].propose):
        raise Refused(Reason.PROPOSAL_OUTDATED, "the proposer may not propose any more")


def check_may_withdraw(proposal: Proposal, actor: Principal, now: float) -> Act:
    """Whether this person may take the proposal back, or end what is in force. It only takes away: one is enough.

    Returns:
        :attr:`Act.WITHDRAW` or :attr:`Act.END`.

    Raises:
        Refused: ``proposal.closed``, ``proposal.expired`` or ``auth.forbidden``.
    """
    if proposal.in_force(now):
        _check_permission(proposal.kind, actor, RULES[proposal.kind].activate)
        return Act.END
    check_open(proposal, now)
    if actor.pseudonym != proposal.proposed_by:
        _check_permission(proposal.kind, actor, RULES[proposal.kind].activate)
    return Act.WITHDRAW


def check_open(proposal: Proposal, now: float) -> None:
    """Raises ``proposal.closed`` or ``proposal.expired``."""
    if proposal.status is ProposalStatus.EXPIRED:
        raise Refused(Reason.PROPOSAL_EXPIRED)
    if proposal.status is not ProposalStatus.OPEN:
        raise Refused(Reason.PROPOSAL_CLOSED, status=str(proposal.status))
    if now >= proposal.expires_at:
        raise Refused(Reason.PROPOSAL_EXPIRED)


def check_document(document: Any) -> tuple[Mapping[str, Any], bytes]:
    """A document and its canonical bytes, whose SHA-256 is what is signed.

    Raises:
        Refused: ``request.malformed`` for anything but a JSON object of at most :data:`DOCUMENT_MAX_BYTES`.
    """
    if not isinstance(document, dict):
        raise Malformed("a document is a JSON object", pointer="/document", expected="a JSON object")
    raw = canonical(document)
    if len(raw) > DOCUMENT_MAX_BYTES:
        expected = f"at most {DOCUMENT_MAX_BYTES} bytes of canonical JSON"
        raise Malformed("document", pointer="/document", limit=DOCUMENT_MAX_BYTES, expected=expected)
    return parse(raw), raw


def check_subject(subject: str) -> str:
    """What a handler says a document is about; it stands in entries. Raises ``request.malformed``."""
    if _SUBJECT.fullmatch(subject) is None:
        raise Malformed("subject", pointer="/document", expected="a subject that can stand in an entry")
    return subject


def standing_until(kind: Kind, document: Mapping[str, Any], now: float) -> float | None:
    """When a proposal that is activated at ``now`` ends; ``None`` where its kind is one act.

    A standing kind's document says so itself: ``lasts_seconds``, a whole number.

    Raises:
        Refused: ``request.malformed``.
    """
    longest = RULES[kind].standing_max_seconds
    if longest is None:
        return None
    lasts = document.get("lasts_seconds")
    if type(lasts) is not int or not 1 <= lasts <= longest:
        expected = f"whole seconds from 1 to {longest}"
        raise Malformed("lasts_seconds", pointer="/document/lasts_seconds", limit=longest, expected=expected)
    return now + lasts


def _check_permission(kind: Kind, actor: Principal, permission: Permission) -> None:
    if RULES[kind].gateway_wide and actor.tenant != DEFAULT_TENANT:
        raise Refused(Reason.AUTH_FORBIDDEN, "the change would reach other tenants")
    if not permits(actor, permission):
        raise Refused(Reason.AUTH_FORBIDDEN, f"needs {permission}")
