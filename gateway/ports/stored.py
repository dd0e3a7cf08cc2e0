"""What the stores give back: rows as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.calls import Truncation
from gateway.model import Answer, ApprovalRequest, ApprovalStatus, Attestation


@dataclass(frozen=True, slots=True)
class ApprovalAnswer:
    """One person's answer, as stored."""

    approver: str
    """Pseudonym."""
    answer: Answer
    attested_by: Attestation
    commitment: str
    """Of the ``approval+jws``."""
    answered_at: float


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """An approval request as stored.

    Attributes:
        principal, caller: pseudonyms of whom the plan acts for, and of who sent it.
        asked: how often it was put to people by now; ``policy_digest`` and ``evaluation`` are of the newest asking.
        evaluation: commitment of the evaluation that asked.
        answers: to the newest asking.
        void_answers: to earlier ones; they count no more.
        successor: of a voided request, the id of the newest one that was opened for the same step since.
    """

    request: ApprovalRequest
    tenant: str
    plan_id: str
    step_id: str
    principal: str
    caller: str
    hand: str
    status: ApprovalStatus
    policy_digest: str
    manifest_digest: str
    asked: int
    evaluation: str
    answers: tuple[ApprovalAnswer, ...]
    void_answers: tuple[ApprovalAnswer, ...] = ()
    successor: str | None = None


@dataclass(frozen=True, slots=True)
class StoredReport:
    """What a client reported of a released step, as the log has it.

    Attributes:
        at: seconds since the epoch.
        commitment: of ``{content, structured}``.
        personal_data: kind -> how many were found in it: left in it, and taken out.
    """

    is_error: bool
    at: float
    log_index: int
    commitment: str
    personal_data: tuple[Mapping[str, int], Mapping[str, int]]
    truncated: Truncation | None


@dataclass(frozen=True, slots=True)
class StoredStep:
    """A step's row."""

    step_id: str
    hand: str
    action: str
    status: str
    effect: str | None
    reasons: tuple[str, ...]
    policy_digest: str | None
    manifest_digest: str | None
    commitments: Mapping[str, str]
    """Name (``args``, ``evaluation``, ``result``) -> commitment."""
    error: Mapping[str, Any] | None
    personal_data: tuple[Mapping[str, int], Mapping[str, int]]
    """Kind -> how many were found in the result: left in it, and taken out."""
    truncated: Truncation | None
    step_jti: str | None
    receipt: str | None
    log_index: int | None
    reported: StoredReport | None = None


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan's row, its steps in order and its approval requests.

    Attributes:
        principal, caller: pseudonyms, the same that the log names.
    """

    plan_id: str
    tenant: str
    context_id: str
    principal: str
    caller: str
    issuer: str
    kid: str
    commitment: str
    received_at: float
    log_index: int
    steps: tuple[StoredStep, ...]
    approvals: tuple[ApprovalRow, ...]


@dataclass(frozen=True, slots=True)
class StoredCall:
    """Where a call of a client's stands."""

    plan_id: str
    step_id: str
    context_id: str
