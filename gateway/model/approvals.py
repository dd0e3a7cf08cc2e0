"""What people are asked about a step, and what they answer."""

from dataclasses import dataclass
from enum import StrEnum


class ApprovalStatus(StrEnum):
    """States of an approval request. All but ``open`` are final."""

    OPEN = "open"
    GRANTED = "granted"
    """Enough people approved."""
    REFUSED = "refused"
    EXPIRED = "expired"
    VOIDED = "voided"
    """What was asked about changed, or can no longer happen."""


class Notice(StrEnum):
    """What a webhook is told of an approval request: that it was opened or asked anew, and how it was closed."""

    REQUESTED = "approval.requested"
    REBOUND = "approval.rebound"
    GRANTED = "approval.granted"
    REFUSED = "approval.refused"
    EXPIRED = "approval.expired"
    VOIDED = "approval.voided"


class Answer(StrEnum):
    """What a person says to an approval request. (A *decision* is what a policy says.)"""

    APPROVE = "approve"
    REFUSE = "refuse"


class Attestation(StrEnum):
    """Whose word it is that a person answered."""

    APPROVER = "approver"
    """The person's own enrolled key signed the answer."""
    WEBAUTHN = "webauthn"
    """The person's own enrolled security key signed it, in a browser."""
    GATEWAY = "gateway"
    """Only the gateway says so: the person was logged in, or their API key was used."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What an approval and a credential are bound to; any drift voids them (invariant 4). Hand and action follow from
    the plan; they are named so that whoever reads a signed answer later needs no plan to see what it was about.

    Attributes:
        asked: of an approval, how often its request was put to people by now. The policy can change and change back: an
            answer to an earlier asking must not fit a later one that is otherwise the same.
    """

    tenant: str
    plan_id: str
    step_id: str
    hand: str
    action: str
    args_sha256: str
    policy_digest: str
    manifest_digest: str
    asked: int = 1

    def document(self) -> dict[str, str | int]:
        """The members as JSON, for signing; ``asked`` from the second time on."""
        members: dict[str, str | int] = {
            "tenant": self.tenant,
            "plan_id": self.plan_id,
            "step_id": self.step_id,
            "hand": self.hand,
            "action": self.action,
            "args_sha256": self.args_sha256,
            "policy_digest": self.policy_digest,
            "manifest_digest": self.manifest_digest,
        }
        return members if self.asked == 1 else {**members, "asked": self.asked}


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What a held step asks for. Times are seconds since the epoch."""

    approval_id: str
    approver_role: str
    quorum: int
    enrolled_key: bool
    requested_at: float
    expires_at: float
