"""The JSON shapes of the HTTP API, for reading requests strictly and for ``/openapi.json``.

Answers are built by the parts that own them and are not validated again on the way out; tests hold them to these.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.manifest import ArgumentRole
from gateway.model import Answer, ApprovalStatus, Attestation, Effect, PlanStatus, Role, StepStatus
from gateway.ports import Verdict
from gateway.web.times import Time


class Shape(BaseModel):
    """A JSON object with no members but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProblemDocument(BaseModel):
    """RFC 9457 problem document. Further members are safe facts (a limit, a JSON pointer, a step id)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = Field(description="urn:handrail:reason:<code>")
    title: str
    status: int
    detail: str
    code: str = Field(description="The closed reason code.")
    request_id: str
    pointer: str | None = Field(None, description="RFC 6901: where in the JSON body; empty for all of it.")
    parameter: str | None = Field(None, description="Which parameter; empty for a query that cannot be taken apart.")
    expected: str | None = Field(None, description="What should have been there.")
    kind: str | None = Field(None, description="Of request.not_found: what there is not, or none that you may see.")
    id: str | None = Field(None, description="The id that was given for it.")
    why: str | None = Field(None, description="What stands in the way, or is not there, in words.")


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


class TrustShown(Shape):
    """The operator's word on how far parts of a result may vouch: trusted or untrusted."""

    content: list[str] = Field(description="Of each content block, in order.")
    structured: str


class TruncationShown(Shape):
    """That the end of a result's text was cut off."""

    left_out_bytes: int | None = Field(description="Of UTF-8; null where the rest was not read to its end.")


class MarksShown(Shape):
    """What is to be known of a result beside it."""

    trust: TrustShown
    personal_data: dict[str, int] | None = Field(None, description="Kind -> how many were found and left.")
    personal_data_redacted: dict[str, int] | None = Field(None, description="Kind -> how many were taken out.")
    truncated: TruncationShown | None = Field(None, description="Where the content is longer than allowed.")


class ReportedShown(Shape):
    """What a client says came of a released step."""

    at: Time
    is_error: bool = Field(description="Whether the tool failed.")
    content: list[dict[str, Any]] | None = Field(description="Null where it was erased.")
    log_index: int = Field(description="Of the 'step reported' entry.")
    personal_data: dict[str, int] | None = Field(None, description="Kind -> how many were found and left.")
    personal_data_redacted: dict[str, int] | None = Field(None, description="Kind -> how many were taken out.")
    truncated: TruncationShown | None = Field(None, description="Where the content was longer than is kept.")


class ReportGiven(Shape):
    """What came of a step that the client ran: MCP-style content blocks."""

    content: list[dict[str, Any]] = Field(max_length=10_000)
    is_error: bool = Field(False, description="Whether the tool failed.")


class ErrorShown(BaseModel):
    """Why a step did not succeed. Further members are safe facts."""

    model_config = ConfigDict(frozen=True, extra="allow")

    code: str
    text: str


class LetterSettled(Shape):
    """What became of a dead letter."""

    verdict: Verdict
    retry_plan: str | None = Field(description="The plan that tries it again.")


class StepView(Shape):
    """One step as its caller sees it."""

    id: str
    hand: str
    action: str
    status: StepStatus
    decision: DecisionShown | None
    approval_id: str | None = None
    result: ResultShown | None = None
    result_marks: MarksShown | None = None
    reported: ReportedShown | None = Field(None, description="Of a released step: what its client says came of it.")
    error: ErrorShown | None = None
    receipt: str | None = Field(None, description="receipt+jws")
    receipt_id: str | None = None
    log_index: int | None = None
    settled: LetterSettled | None = Field(None, description="Of a dead letter that a person settled.")


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
    severity: str | None = Field(None, description="Of the rule's metadata; empty where it says none.")


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
    hand: str
    action: str
    args_sha256: str
    policy_digest: str
    manifest_digest: str
    asked: int | None = Field(None, description="Where it was put to people more than once: how often.")


class AnswerShown(Shape):
    """One person's answer."""

    approver: str
    answer: Answer
    attested_by: Attestation
    at: Time


class ApprovalView(Shape):
    """A held step and the answers it has so far. What the call was is absent where it can no longer be read."""

    id: str
    status: ApprovalStatus
    successor: str | None = Field(
        description="Of a voided request: the newest one that was opened for the same step since."
    )
    plan_id: str
    step_id: str
    requested_by: str
    acts_for: str
    requested_at: Time
    expires_at: Time
    approver_role: Role
    quorum: int
    enrolled_key: bool
    asked: int = Field(description="How often it was put to people; more than once where the policy changed meanwhile.")
    answers: list[AnswerShown]
    void_answers: list[AnswerShown] = Field(description="Answers to earlier askings; they count no more.")
    your_answer: Answer | None = Field(description="What you said to the newest asking; null where you said nothing.")
    context_id: str | None = None
    hand: str | None = None
    action: str | None = None
    args: dict[str, Any] | None = None
    reasons: list[ReasonShown] | None = None
    roles: dict[str, ArgumentRole] | None = Field(None, description="JSON pointer into the args -> role.")
    side_effects: str | None = None
    description: str | None = None
    binding: BindingShown | None = None


class ApprovalList(Shape):
    """A page of approval requests, newest first."""

    approvals: list[ApprovalView]
    next: str | None = Field(description="Ask again with after=next for the following page.")


class AnswerFile(Shape):
    """One recorded answer with all that proves it."""

    v: Literal[1]
    attested_by: Attestation
    void: bool = Field(description="It answered an earlier asking, and counts no more.")
    entry: str = Field(description="Canonical JSON text of the log entry.")
    log_index: int
    fields: dict[str, str] = Field(description="Field -> hex commitment.")
    opening: Opening | None = Field(description="Of the signed answer; null where it was erased.")
    proof: str = Field(description="c2sp.org/tlog-proof@v1")


class AnswerFiles(Shape):
    """The answers to an approval request."""

    approval_id: str
    answers: list[AnswerFile]


class AnswerRequest(Shape):
    """An answer without a key of one's own; the gateway attests it."""

    answer: Literal["approve", "refuse"]
    asked: int = Field(1, ge=1, description="As the request showed it: the answer is to that asking alone.")


# --- health ----------------------------------------------------------------------------------------------------------


class Health(Shape):
    """The process is up."""

    status: Literal["ok"]


class Checks(Shape):
    """``ok``, or the reason code of what is wrong."""

    log: str
    policy: str
    keys: str
    hands: dict[str, str] = Field(description="Hand -> state; only 'asking' keeps the gateway from being ready.")


class Readiness(Shape):
    """Whether a plan would be served now."""

    status: Literal["ok", "unavailable"]
    checks: Checks
    observed: dict[str, Time] = Field(
        description="Hand -> until when it is observed: until then only critical denials are enforced on it."
    )
    notices: dict[str, str] = Field(
        description="What keeps nobody from being served and must be seen: part -> reason code."
    )
