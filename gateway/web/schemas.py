"""The JSON shapes of the HTTP API, for reading requests strictly and for ``/openapi.json``.

Answers are built by the parts that own them and are not validated again on the way out; tests hold them to these.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.model import Effect, PlanStatus, Role, StepStatus

Identifier = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")


class Shape(BaseModel):
    """A JSON object with no members but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProblemDocument(BaseModel):
    """RFC 9457 problem document. Further members are safe hints (a limit, a JSON pointer, a step id)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = Field(description="urn:handrail:reason:<code>")
    title: str
    status: int
    detail: str
    code: str = Field(description="The closed reason code.")
    request_id: str


# --- plans -----------------------------------------------------------------------------------------------------------


class ReasonShown(Shape):
    """Why: a code, and a sentence for people."""

    code: str
    message: str


class DecisionShown(Shape):
    """What the policy decided about one step."""

    effect: Effect
    reasons: list[ReasonShown]
    policy_digest: str


class ResultShown(Shape):
    """What the hand answered, after redaction."""

    content: list[dict[str, Any]]
    structured: Any = None


class ErrorShown(BaseModel):
    """Why a step did not succeed. Further members are safe hints."""

    model_config = ConfigDict(frozen=True, extra="allow")

    code: str
    text: str


class StepView(Shape):
    """One step as its caller sees it."""

    id: str
    hand: str
    action: str
    status: StepStatus
    decision: DecisionShown | None
    approval_id: str | None = None
    result: ResultShown | None = None
    error: ErrorShown | None = None
    receipt: str | None = Field(None, description="receipt+jws")
    receipt_id: str | None = None
    log_index: int | None = None


class PlanView(Shape):
    """A plan as its caller sees it."""

    plan_id: str = Field(description="Hex SHA-256 of the exact JWS.")
    context_id: str
    status: PlanStatus
    log_index: int | None = Field(description="Of the plan's 'plan received' entry.")
    acceptance: str | None = Field(None, description="accept+jws: the gateway's word that it took the plan in.")
    steps: list[StepView]


class RuleSpoken(Shape):
    """A reason with the place in the bundle that gave it."""

    code: str
    message: str
    file: str | None = None
    line: int | None = None
    rule: str | None = None
    title: str | None = None


class WhyView(Shape):
    """Why a step was decided as it was."""

    plan_id: str
    step_id: str
    status: StepStatus
    decision: DecisionShown | None
    error: ErrorShown | None
    reasons: list[RuleSpoken]
    input: dict[str, Any] | None = Field(description="The policy input, unless it was erased.")


# --- receipts --------------------------------------------------------------------------------------------------------


class Opening(Shape):
    """What opens one commitment: SHA-256(salt || value)."""

    salt: str = Field(description="base64url")
    value: str = Field(description="base64url")


class ReceiptView(Shape):
    """A receipt with all that its holder needs to verify and open it."""

    v: Literal[1]
    receipt_id: str
    receipt: str = Field(description="receipt+jws")
    entry: str = Field(description="Canonical JSON text of the log entry.")
    log_index: int
    fields: dict[str, str] = Field(description="Field -> hex commitment.")
    openings: dict[str, Opening]


# --- approvals -------------------------------------------------------------------------------------------------------


class BindingShown(Shape):
    """The exact call that an approval is for."""

    tenant: str
    plan_id: str
    step_id: str
    args_sha256: str
    policy_digest: str
    manifest_digest: str


class AnswerShown(Shape):
    """One person's answer."""

    approver: str
    decision: Literal["approve", "refuse"]
    attested_by: Literal["approver", "gateway"]
    at: float


class ApprovalView(Shape):
    """A held step and the answers it has so far. What the call was is absent where it can no longer be read."""

    id: str
    status: Literal["open", "granted", "refused", "expired", "voided"]
    plan_id: str
    step_id: str
    requested_by: str
    acts_for: str
    requested_at: float
    expires_at: float
    approver_role: Role
    quorum: int
    enrolled_key: bool
    answers: list[AnswerShown]
    context_id: str | None = None
    hand: str | None = None
    action: str | None = None
    args: dict[str, Any] | None = None
    reasons: list[ReasonShown] | None = None
    side_effects: str | None = None
    description: str | None = None
    binding: BindingShown | None = None


class ApprovalList(Shape):
    """Approval requests."""

    approvals: list[ApprovalView]


class AnswerRequest(Shape):
    """An answer without a key of one's own; the gateway attests it."""

    decision: Literal["approve", "refuse"]


# --- directory -------------------------------------------------------------------------------------------------------


class PrincipalView(Shape):
    """A principal."""

    id: str
    tenant: str
    roles: list[Role]
    hands: list[str] | None = Field(description="null: every hand of the tenant.")
    created_at: float
    revoked_at: float | None = None
    approval_kid: str | None = None


class PrincipalList(Shape):
    """Principals of the tenant."""

    principals: list[PrincipalView]


class ApiKeyShown(Shape):
    """A new API key; its token is shown this once."""

    key_id: str
    token: str
    expires_at: float


class PrincipalCreated(Shape):
    """A new principal and its first API key."""

    principal: PrincipalView
    api_key: ApiKeyShown


class PublicJwk(Shape):
    """An Ed25519 public key (RFC 8037). A private member is refused: it has no business on the wire."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str = Field(pattern=r"^[A-Za-z0-9_-]{43}$")
    kid: str | None = Field(None, max_length=128)
    alg: Literal["Ed25519"] | None = None
    use: Literal["sig"] | None = None


class PrincipalRequest(Shape):
    """A principal to add."""

    id: str = Identifier
    roles: list[Role] = Field(min_length=1, max_length=8)
    hands: list[str] | None = Field(None, max_length=1000)
    approval_jwk: PublicJwk | None = None
    ttl_days: int = Field(90, ge=1, le=366, strict=True)


class ApiKeyRequest(Shape):
    """How long a new API key lives."""

    ttl_days: int = Field(90, ge=1, le=366, strict=True)


class Me(Shape):
    """The calling principal."""

    id: str
    tenant: str
    roles: list[Role]
    hands: list[str] | None


class IssuerKeyView(Shape):
    """A public key of an issuer; times are seconds since the epoch."""

    kid: str
    not_before: int
    not_after: int | None
    revoked_at: int | None


class IssuerView(Shape):
    """Who may sign plans."""

    id: str
    tenant: str
    keys: list[IssuerKeyView]
    speaks_for: list[str]
    attests_request: bool
    revoked_at: float | None = None


class IssuerList(Shape):
    """Issuers of the tenant."""

    issuers: list[IssuerView]


class IssuerRequest(Shape):
    """An issuer to register, or a further key of one."""

    id: str = Identifier
    jwk: PublicJwk
    speaks_for: list[str] = Field([], max_length=1000)
    attests_request: bool = Field(False, strict=True)


# --- keys and trust --------------------------------------------------------------------------------------------------


class KeyView(Shape):
    """A key of the gateway; times are seconds since the epoch."""

    kid: str
    purpose: str
    state: Literal["next", "active", "retiring", "retired", "revoked"]
    created_at: float
    activated_at: float | None
    retiring_at: float | None
    retired_at: float | None
    revoked_at: float | None


class KeyList(Shape):
    """The gateway's keys."""

    keys: list[KeyView]


class Jwks(Shape):
    """RFC 7517 key set."""

    keys: list[dict[str, Any]]


class TrustView(Shape):
    """What ``handrail verify --trust`` takes."""

    v: Literal[1]
    origin: str
    jwks: Jwks
    log: list[str] = Field(description="Signed-note verifier keys of the log.")


# --- hands and policy ------------------------------------------------------------------------------------------------


class ActionView(Shape):
    """One action of a hand."""

    name: str
    description: str
    side_effects: str
    idempotent: bool
    args_schema: dict[str, Any]


class Difference(Shape):
    """One place where what a hand offers is not what was pinned."""

    path: str
    pinned: Any = None
    offered: Any = None


class HandView(Shape):
    """A configured hand."""

    id: str
    adapter: str
    state: Literal["pinned", "unpinned", "drifted", "unavailable", "disabled"]
    problem: str | None = None
    pinned_digest: str | None = None
    offered_digest: str | None = None
    region: str | None
    trust: str
    actions: list[ActionView]


class HandDetail(HandView):
    """A hand with what changed since it was pinned."""

    diff: list[Difference]


class HandList(Shape):
    """The hands that the caller may see."""

    hands: list[HandView]


class PinRequest(Shape):
    """The digest that the operator looked at; it must be the one offered now."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class BundleFile(Shape):
    """A file of the bundle."""

    path: str
    sha256: str


class PolicyView(Shape):
    """The active policy bundle."""

    engine: str
    digest: str
    files: list[BundleFile]
    problem: str | None = Field(None, description="Why a newer bundle was not activated.")


# --- audit -----------------------------------------------------------------------------------------------------------


class EntryView(Shape):
    """One entry of the audit log."""

    index: int
    code: str
    label: str
    entry: dict[str, Any]


class EntryPage(Shape):
    """A page of entries, and the tree size that it speaks for."""

    entries: list[EntryView]
    next: int | None
    tree_size: int


# --- health ----------------------------------------------------------------------------------------------------------


class Health(Shape):
    """The process is up."""

    status: Literal["ok"]


class Checks(Shape):
    """``ok``, or the reason code of what is wrong."""

    log: str
    policy: str
    keys: str
    hands: dict[str, str]


class Readiness(Shape):
    """Whether a plan would be served now."""

    status: Literal["ok", "unavailable"]
    checks: Checks
