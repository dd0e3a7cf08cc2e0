"""The words of Handrail as frozen types: one type per state of trust, one enum per closed set.

A message climbs ``UnverifiedPlan`` -> ``VerifiedPlan`` -> ``Plan``; only ``stages.verify`` builds the second and only
``stages.schema`` the third, so a function that takes a ``Plan`` cannot be handed bytes that nobody checked. Nothing
here does I/O or knows the time: times are seconds since the epoch, read once per plan and passed in.
"""

from gateway.model.approvals import Answer, ApprovalRequest, ApprovalStatus, Attestation, Binding, Notice
from gateway.model.decisions import LOG_LEVELS, Decision, DecisionReason, Effect, Obligations
from gateway.model.people import (
    CONNECTOR_PREFIX,
    DEFAULT_TENANT,
    EMPTY,
    MESSAGES_API,
    RETRIES,
    RUNS,
    TRUSTED,
    Issuer,
    IssuerKey,
    Principal,
    Role,
    Shown,
)
from gateway.model.plans import (
    MILLIONTHS,
    PURPOSE_MAX_CHARACTERS,
    UNNAMED_CONTEXT,
    Detached,
    Plan,
    PlanStatus,
    Reference,
    Retry,
    RunTurn,
    Step,
    StepStatus,
    TurnKind,
    UnverifiedPlan,
    VerifiedPlan,
)

__all__ = [
    "CONNECTOR_PREFIX",
    "DEFAULT_TENANT",
    "EMPTY",
    "LOG_LEVELS",
    "MESSAGES_API",
    "MILLIONTHS",
    "PURPOSE_MAX_CHARACTERS",
    "RETRIES",
    "RUNS",
    "TRUSTED",
    "UNNAMED_CONTEXT",
    "Answer",
    "ApprovalRequest",
    "ApprovalStatus",
    "Attestation",
    "Binding",
    "Decision",
    "DecisionReason",
    "Detached",
    "Effect",
    "Issuer",
    "IssuerKey",
    "Notice",
    "Obligations",
    "Plan",
    "PlanStatus",
    "Principal",
    "Reference",
    "Retry",
    "Role",
    "RunTurn",
    "Shown",
    "Step",
    "StepStatus",
    "TurnKind",
    "UnverifiedPlan",
    "VerifiedPlan",
]
