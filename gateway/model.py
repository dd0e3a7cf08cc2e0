"""The words of Handrail as frozen types: one type per state of trust, one enum per closed set.

A message climbs ``UnverifiedPlan`` -> ``VerifiedPlan`` -> ``Plan``; only ``stages.verify`` builds the second and only
``stages.schema`` the third, so a function that takes a ``Plan`` cannot be handed bytes that nobody checked. Nothing
here does I/O or knows the time: times are seconds since the epoch, read once per plan and passed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from gateway.reasons import Reason

DEFAULT_TENANT: Final = "default"
"""The tenant of a gateway that serves one organisation, and of entries about the gateway itself."""

EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
CONNECTOR_PREFIX: Final = "connector:"
"""Issuers with this prefix are the gateway's own ingresses; nobody can register one."""
RETRIES: Final = f"{CONNECTOR_PREFIX}retries"
"""The gateway itself, where a person has it try a dead letter again. It alone says what a plan retries."""
RUNS: Final = f"{CONNECTOR_PREFIX}runs"
"""The gateway itself, where it asks a model and does what that says. It alone says which turn of a run a plan is."""


class Effect(StrEnum):
    """What a decision does with a step. ``deny`` beats ``ask`` beats ``allow``."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class StepStatus(StrEnum):
    """States of a step (DESIGN: the way of a plan)."""

    DEFERRED = "deferred"
    """Waits for steps that it depends on."""
    HELD = "held"
    """Waits for a person's approval."""
    DENIED = "denied"
    EXPIRED = "expired"
    """Nobody approved in time."""
    RUNNING = "running"
    """The intent is durable and the hand was, or is about to be, called."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The hand answered with an error, or surely did not act."""
    AMBIGUOUS = "ambiguous"
    """The hand may have acted, and nobody can tell."""
    RELEASED = "released"
    """A tool that the client itself runs was let go."""
    SKIPPED = "skipped"
    """A dependency did not succeed."""
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the step can no longer change."""
        return self not in _OPEN


_OPEN: Final = frozenset({StepStatus.DEFERRED, StepStatus.HELD, StepStatus.RUNNING})


class PlanStatus(StrEnum):
    """States of a plan."""

    RUNNING = "running"
    WAITING = "waiting"
    """Nothing runs, and at least one step is held."""
    DONE = "done"


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


class Role(StrEnum):
    """Closed roles of principals. What each may do is ``gateway.permissions``."""

    AGENT = "agent"
    AUTHOR = "author"
    APPROVER = "approver"
    AUDITOR = "auditor"
    SECURITY_ADMIN = "security_admin"
    OPERATOR = "operator"
    PRIVACY_OFFICER = "privacy_officer"
    HAND = "hand"


TRUSTED: Final = frozenset(Role) - {Role.AGENT, Role.AUDITOR}
"""Roles that decide, or that calls are handed to: who has one was agreed to by several, or said twice in the
configuration. Agents ask and auditors read.
"""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    Attributes:
        id: stable identifier, unique in the tenant.
        pseudonym: random identifier that stands for the principal in log entries.
        hands: the hands this principal may see; ``None`` means every hand of the tenant.
        approval_jwk: public Ed25519 JWK with which the person signs approvals, where one is enrolled.
    """

    id: str
    tenant: str
    pseudonym: str
    roles: frozenset[Role]
    hands: frozenset[str] | None = None
    approval_jwk: Mapping[str, str] | None = None

    def may_use(self, hand: str) -> bool:
        """Whether ``hand`` is within this principal's scope."""
        return self.hands is None or hand in self.hands


@dataclass(frozen=True, slots=True)
class Shown:
    """What a caller showed. Whatever outlives their request ends with it.

    Attributes:
        key_id: of an API key.
        links: ids of the links of an access token's subject, or of a certificate.
    """

    key_id: str | None = None
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key of an issuer with its validity (seconds since the epoch; ``None`` is unbounded).

    Attributes:
        covered_size: of a revoked key of the gateway's own: plans that the log received below this index were signed
            before the key was in wrong hands.
    """

    kid: str
    jwk: Mapping[str, str]
    not_before: int
    not_after: int | None = None
    revoked_at: int | None = None
    covered_size: int | None = None


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who may sign plans.

    Attributes:
        speaks_for: principals, beside the caller itself, in whose name it may sign.
        attests_request: whether its ``request`` (the user's words) counts as trusted provenance.
    """

    id: str
    tenant: str
    keys: Mapping[str, IssuerKey]
    speaks_for: frozenset[str] = frozenset()
    attests_request: bool = False


# --- the states of trust ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnverifiedPlan:
    """Bytes off the wire from an authenticated caller; nothing in them is believed.

    Attributes:
        raw: the compact JWS exactly as received.
        received_at: seconds since the epoch, read once and used for every check of this plan.
        max_bytes: what ``raw`` may have, where its ingress has a limit of its own; ``None`` for that of every body.
    """

    raw: bytes = field(repr=False)
    caller: Principal
    received_at: float
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class VerifiedPlan:
    """A plan whose signature, issuer, audience, times and subject hold. Its content is not checked yet."""

    raw: bytes = field(repr=False)
    plan_id: str
    """Hex SHA-256 of the exact JWS."""
    claims: Mapping[str, Any] = field(repr=False)
    issuer: Issuer
    kid: str
    principal: Principal
    """The subject: whom the plan acts for."""
    caller: Principal
    received_at: float


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in a step's args that an earlier result fills (``{"$step": ID, "pointer": RFC 6901}``)."""

    at: str
    """JSON pointer of the place in the args."""
    step: str
    pointer: str
    """JSON pointer into ``{content, structured}``."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a plan on one hand, as the issuer signed it."""

    id: str
    hand: str
    action: str
    args: Mapping[str, Any]
    depends_on: tuple[str, ...] = ()
    idempotency_key: str | None = None
    data_subjects: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """The dead letter that a plan tries again.

    Attributes:
        not_executed: the caller said that the step did not happen.
        why: the caller's words.
        provenance: pointer into the args -> where the value came from that a reference brought in: the new plan has it
            in clear, and it is no more trusted for that.
    """

    plan_id: str
    step_id: str
    not_executed: bool
    why: str = field(repr=False)
    provenance: Mapping[str, Any] = field(default_factory=lambda: EMPTY, repr=False)


class TurnKind(StrEnum):
    """What a turn of a run is."""

    MODEL = "model"
    """The conversation is put to a model."""
    TOOLS = "tools"
    """What the model's answer asks for, in parallel."""
    END = "end"


MILLIONTHS: Final = 1_000_000
"""Of a currency's unit: what a run costs is counted in whole ones."""


@dataclass(frozen=True, slots=True)
class RunTurn:
    """The turn of a run that a plan is.

    Attributes:
        number: 0, 1, 2, ...: no two plans are one turn.
        brain: that is asked, or that asked for the tools.
        attempt: how often the same was put to models, this time included.
        steps: of the run, those of this turn included.
        tokens: that the run had used before.
        spent: that the run had cost before, in millionths of its currency's unit; ``None`` where nobody knows.
    """

    run_id: str
    number: int
    kind: TurnKind
    brain: str
    attempt: int
    steps: int
    tokens: int
    spent: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A verified plan whose envelope and graph are sound."""

    plan_id: str
    context_id: str
    tenant: str
    issuer: Issuer
    kid: str
    principal: Principal
    caller: Principal
    steps: Mapping[str, Step]
    """Step id -> step, in the issuer's order."""
    jti: str
    expires_at: int
    received_at: float
    raw: bytes = field(repr=False)
    purpose: str | None = None
    request: str | None = None
    retries: Retry | None = None
    run: RunTurn | None = None


# --- decisions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DecisionReason:
    """Why: a code that the log keeps, and a sentence that people read (erasable)."""

    code: str
    message: str = ""


LOG_LEVELS: Final = ("debug", "info", "warning", "error")
"""From quiet to loud."""


@dataclass(frozen=True, slots=True)
class Obligations:
    """What a decision demands beside its effect; closed, and ``None`` or empty where it says nothing."""

    redact: tuple[str, ...] = ()
    result_max_bytes: int | None = None
    egress_hosts: tuple[str, ...] | None = None
    jail_profile: str | None = None
    deadline_seconds: float | None = None
    credential_ttl_seconds: int | None = None
    approver_role: Role | None = None
    quorum: int | None = None
    enrolled_key: bool | None = None
    data_subjects: tuple[str, ...] = ()
    redact_personal: tuple[str, ...] = ()
    """Kinds of personal data that are taken out of the result, wherever in it they stand; ``*`` is every kind."""
    log_level: str | None = None
    """One of :data:`LOG_LEVELS`: how loudly the gateway's own log tells of the step."""

    def document(self) -> dict[str, Any]:
        """The obligations that say something, as JSON."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Role) else value
            for name, value in said.items()
            # No host at all (an empty tuple) is something else than no word about hosts (None).
            if value is not None and (value != () or name == "egress_hosts")
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Obligations":
        """Rebuild from :meth:`document`."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
        }
        if "approver_role" in values:
            values["approver_role"] = Role(values["approver_role"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Decision:
    """One step's decision by one bundle."""

    step_id: str
    effect: Effect
    reasons: tuple[DecisionReason, ...]
    policy_digest: str
    obligations: Obligations = Obligations()
    beaten: tuple[DecisionReason, ...] = ()
    """Reasons of weaker effects that spoke against the step too: an ``ask`` beside a ``deny``."""
    unexplained: bool = False
    """A denial or question among them gave no reason."""
    otherwise: Obligations | None = Obligations()
    """What would hold if a denial were let go; ``None`` where that could not be carried out."""

    @property
    def observed(self) -> Effect | None:
        """What the policy said, where the step was let go only because its hand is observed."""
        if self.effect is not Effect.ALLOW or not self.reasons:
            return None
        return _OBSERVED.get(self.reasons[0].code)

    def said(self) -> "Decision":
        """The policy's own word: the decision before observation loosened it, and without the mark of a canary that
        stopped."""
        if any(reason.code == Reason.POLICY_STRICTER for reason in self.reasons):
            unmarked = tuple(reason for reason in self.reasons if reason.code != Reason.POLICY_STRICTER)
            return replace(self, reasons=unmarked).said()
        observed = self.observed
        if observed is None:
            return self
        kept = Obligations() if observed is Effect.DENY else self.obligations
        return replace(self, effect=observed, reasons=self.reasons[1:], obligations=kept)


_OBSERVED: Final[Mapping[str, Effect]] = MappingProxyType(
    {str(Reason.POLICY_OBSERVED_DENY): Effect.DENY, str(Reason.POLICY_OBSERVED_ASK): Effect.ASK}
)


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
