"""A plan under way: the mutable state that the stages move forward, and the views that callers get of it.

Only ``gateway.pipeline`` owns a :class:`PlanState`; stages change the :class:`StepState` objects handed to them and
``stages.record`` makes every change durable before anything acts on it.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.calls import HandResult, Truncation
from gateway.commitments import Committed
from gateway.manifest import Manifest, Trust
from gateway.messages_api.usage import tokens
from gateway.model import ApprovalRequest, Binding, Decision, Effect, Plan, PlanStatus, Step, StepStatus
from gateway.questions import Approval, Question
from gateway.reasons import TEXTS, Reason
from gateway.times import format_time

UNKNOWN: Final = "unknown"
REPORTED_DONE: Final = "done"
REPORTED_FAILED: Final = "failed"
"""What an entry says that a client reported of a step."""


@dataclass(frozen=True, slots=True)
class StepError:
    """Why a step did not succeed: a closed code and safe facts."""

    reason: Reason
    facts: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """``{code, text, ...facts}``."""
        return {"code": str(self.reason), "text": TEXTS[self.reason], **self.facts}


@dataclass(frozen=True, slots=True)
class Reported:
    """What the client says came of a released step. Nobody else vouches for it, and it changes no status.

    Attributes:
        at: seconds since the epoch.
        result: as it is on record; ``None`` where it was erased.
        personal_data, personal_data_taken: kind -> how many were found in it, and left there or taken out.
    """

    is_error: bool
    at: float
    log_index: int
    result: HandResult | None
    personal_data: Mapping[str, int] = field(default_factory=dict)
    personal_data_taken: Mapping[str, int] = field(default_factory=dict)
    truncated: Truncation | None = None

    def document(self) -> dict[str, Any]:
        """As callers see it; ``content`` is null where it was erased."""
        shown: dict[str, Any] = {
            "at": format_time(self.at),
            "is_error": self.is_error,
            "content": None if self.result is None else list(self.result.content),
            "log_index": self.log_index,
        }
        if self.personal_data:
            shown["personal_data"] = dict(self.personal_data)
        if self.personal_data_taken:
            shown["personal_data_redacted"] = dict(self.personal_data_taken)
        if self.truncated is not None:
            shown["truncated"] = self.truncated.document()
        return shown


@dataclass(slots=True)
class StepState:
    """One step on its way. ``args`` are the resolved args; ``None`` until every reference is resolved."""

    step: Step
    status: StepStatus = StepStatus.DEFERRED
    manifest: Manifest | None = None
    manifest_digest: str | None = None
    """Of the manifest that was decided on, even where the hand has drifted from it since."""
    args: Mapping[str, Any] | None = None
    args_bytes: bytes = b""
    args_sha256: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    analysis: Mapping[str, Any] | None = None
    """What the hand's adapter says that the call would do; ``None`` where it says nothing beyond the args."""
    amount: float = 0.0
    """Sum of the args with the role ``amount``."""
    decision: Decision | None = None
    to_redact: tuple[str, ...] = ()
    """What policy wants to be taken out of the args before it decides, and is in there; until then they are denied."""
    to_redact_at: str = ""
    """Where the first of it stands: a JSON pointer into the args."""
    commitments: dict[str, str] = field(default_factory=dict)
    """Field name (``args``, ``evaluation``, ``result``) -> commitment, of everything recorded so far."""
    fresh: dict[str, Committed] = field(default_factory=dict)
    """Committed values that the next record must store."""
    approval_id: str | None = None
    approval_expires_at: float = 0.0
    asked: int = 1
    """How often the request was put to people; see ``Binding.asked``."""
    request: ApprovalRequest | None = None
    """What it asks for; ``None`` where the decision that asks is not known in full any more."""
    answering: bool = False
    """An answer is being recorded. Until it is, the request is neither voided nor asked anew."""
    approved: bool = False
    approvals: tuple[Approval, ...] = ()
    credential: str = ""
    secrets_named: Sequence[Mapping[str, str]] = ()
    """What its intent says of the secrets that it is given."""
    jail: Mapping[str, str] | None = None
    """Tier and profile digest of the jail it ran in, for its receipt."""
    step_jti: str | None = None
    dispatched: bool = False
    """Whether its intent is on record (and so it may never be recorded again)."""
    forgotten: bool = False
    """Whether it was decided, and what the decision obliges to, or the args, opens no more: they were erased."""
    attempts: int = 1
    """How often its call was sent, once it ended; 0 where something ended it before."""
    result: HandResult | None = None
    redacted: bool = False
    """Whether something was taken out of the result."""
    cached_from: str | None = None
    """Receipt id of the step whose answer it got."""
    personal_data: Mapping[str, int] = field(default_factory=dict)
    """Kind -> how many of personal data were found in the result and left there."""
    personal_data_taken: Mapping[str, int] = field(default_factory=dict)
    """Kind -> how many were taken out."""
    truncated: Truncation | None = None
    """That the end of the result's text was cut off."""
    reported: Reported | None = None
    """Of a released step: what the client says came of it."""
    error: StepError | None = None
    receipt: str | None = None
    log_index: int | None = None
    ending: "StepState | None" = None
    """The outcome that is being recorded. Nobody sees it, and nothing follows from it, before it is durable."""

    @property
    def names(self) -> tuple[str, str]:
        """Hand and action as the log may carry them in clear. What no pinned manifest knows is the caller's own text,
        which could be anything, personal data too."""
        known = self.manifest_digest is not None and (
            self.manifest is None or self.step.action in self.manifest.actions
        )
        return (self.step.hand, self.step.action) if known else (UNKNOWN, UNKNOWN)

    def begin_ending(self) -> "StepState":
        """A copy to work out the outcome on."""
        self.ending = self.snapshot()
        return self.ending

    def snapshot(self) -> "StepState":
        """A copy that later changes do not reach."""
        other = copy.copy(self)
        other.commitments = dict(self.commitments)
        other.fresh = dict(self.fresh)
        return other

    def go_back(self, before: "StepState") -> None:
        """Become what the step was, where a round came to nothing. An answer that came on record meanwhile counts."""
        same = (self.approval_id, self.asked) == (before.approval_id, before.asked)
        answers = (self.approved, self.approvals) if same else (before.approved, before.approvals)
        answering = self.answering
        self.adopt(before)
        self.answering = answering
        self.approved, self.approvals = answers

    def adopt(self, ending: "StepState") -> None:
        """Become the outcome, now that it is on record."""
        for name in self.__slots__:
            setattr(self, name, getattr(ending, name))
        self.ending = None

    def fail(self, status: StepStatus, reason: Reason, /, **facts: Any) -> None:
        """End the step."""
        self.status = status
        self.error = StepError(reason, facts)

    def used(self) -> Mapping[str, int]:
        """Of a model's answer, ``input_tokens`` and ``output_tokens``."""
        if self.manifest is None or not self.manifest.model or self.result is None or self.cached_from:
            return {}
        return tokens(self.result.structured)

    def tried(self) -> dict[str, int]:
        """For the facts of an error: how often the call was sent, where that was more than once."""
        return {"attempts": self.attempts} if self.attempts > 1 else {}

    def rejudge(self) -> None:
        """Forget a decision that no longer binds, so that the step is judged anew."""
        self.status = StepStatus.DEFERRED
        self.decision = None
        self.manifest = None
        self.manifest_digest = None
        self.approval_id = None
        self.request = None
        self.asked = 1
        self.approved = False
        self.approvals = ()

    def question(self) -> Question | None:
        """What people are asked, to be held against a new decision; ``None`` where nobody is."""
        if self.approval_id is None:
            return None
        call = self.manifest_digest, self.args_sha256
        return Question(self.approval_id, self.request, self.asked, self.approved, self.decision, *call)

    def wait_for(self, request: ApprovalRequest, *, asked: int) -> None:
        """Wait for people's answers to a request that was put to them ``asked`` times, this one included."""
        self.request = request
        self.approval_id = request.approval_id
        self.approval_expires_at = request.expires_at
        self.asked = asked
        self.approved = False
        self.approvals = ()

    def offer(self, manifest: Manifest) -> None:
        """Judge the step by this manifest."""
        self.manifest = manifest
        self.manifest_digest = manifest.digest

    def put(self, name: str, value: Committed) -> None:
        """Commit to a personal value under ``name``."""
        self.fresh[name] = value
        self.commitments[name] = value.commitment

    def binding(self, tenant: str, plan_id: str) -> Binding:
        """What a credential of this step is bound to, and an approval in its first asking."""
        if self.manifest_digest is None or self.decision is None:
            raise RuntimeError("a step is bound only after it was decided")
        call = self.step.id, self.step.hand, self.step.action, self.args_sha256
        return Binding(tenant, plan_id, *call, self.decision.policy_digest, self.manifest_digest)

    def approval_binding(self, tenant: str, plan_id: str) -> Binding:
        """What an approval of this step is bound to."""
        return replace(self.binding(tenant, plan_id), asked=self.asked)

    def receipt_id(self, plan_id: str) -> str:
        """The ``step_jti``, or plan and step id where no credential was minted."""
        return self.step_jti or f"{plan_id}.{self.step.id}"

    def marks(self) -> dict[str, Any]:
        """What is to be known of the result beside it, and what its own text cannot say otherwise: the operator's word
        on how far each part may vouch, what of personal data stands in it or was taken out, and that it was cut.
        """
        blocks = 0 if self.result is None else len(self.result.content)
        shown: dict[str, Any] = {
            "trust": {
                "content": [str(self._trust_at(f"/content/{number}")) for number in range(blocks)],
                "structured": str(self._trust_at("/structured")),
            }
        }
        if self.personal_data:
            shown["personal_data"] = dict(self.personal_data)
        if self.personal_data_taken:
            shown["personal_data_redacted"] = dict(self.personal_data_taken)
        if self.truncated is not None:
            shown["truncated"] = self.truncated.document()
        return shown

    def _trust_at(self, pointer: str) -> Trust:
        if self.manifest is None or self.step.action not in self.manifest.actions:
            return Trust.UNTRUSTED
        return self.manifest.trust_at(self.step.action, pointer)

    def view(self, plan_id: str) -> dict[str, Any]:
        """The step as a caller sees it."""
        shown: dict[str, Any] = {
            "id": self.step.id,
            "hand": self.step.hand,
            "action": self.step.action,
            "status": str(self.status),
            "decision": None,
        }
        if self.decision is not None:
            shown["decision"] = {
                "effect": str(self.decision.effect),
                "reasons": [{"code": reason.code, "message": reason.message} for reason in self.decision.reasons],
                "policy_digest": self.decision.policy_digest,
            }
        if self.approval_id is not None:
            shown["approval_id"] = self.approval_id
        if self.result is not None and self.status in {StepStatus.SUCCEEDED, StepStatus.FAILED}:
            shown["result"] = self.result.document()
            shown["result_marks"] = self.marks()
        if self.reported is not None:
            shown["reported"] = self.reported.document()
        if self.error is not None:
            shown["error"] = self.error.document()
        if self.receipt is not None:
            shown["receipt"] = self.receipt
            shown["receipt_id"] = self.receipt_id(plan_id)
        if self.log_index is not None:
            shown["log_index"] = self.log_index
        return shown


@dataclass(slots=True)
class PlanState:
    """One plan on its way."""

    plan: Plan
    committed: Committed | None
    """The exact JWS; ``None`` once it is on record."""
    commitment: str
    steps: dict[str, StepState]
    log_index: int | None = None
    """Of the 'plan received' entry; ``None`` until the plan is on record."""
    first_of_context: bool = False
    """Judged as the first plan of its context. The first record is refused where that is wrong."""

    def __iter__(self) -> Iterator[StepState]:
        return iter(self.steps.values())

    @property
    def next_status(self) -> PlanStatus:
        """What :attr:`status` is going to be once everything that is being recorded is on record."""
        return PlanState(
            self.plan, None, self.commitment, {name: state.ending or state for name, state in self.steps.items()}
        ).status

    @property
    def status(self) -> PlanStatus:
        """Done when every step is final; waiting when all that is left waits for people."""
        open_steps = [state for state in self if not state.status.final]
        if not open_steps:
            return PlanStatus.DONE
        if any(state.status is StepStatus.HELD and not state.approved for state in open_steps) and not any(
            state.status is StepStatus.RUNNING or self.ready(state) for state in open_steps
        ):
            return PlanStatus.WAITING
        return PlanStatus.RUNNING

    def snapshot(self) -> dict[str, StepState]:
        """Every open step as it is now; of a plan that is not on record, nothing: it is what its bytes say."""
        if self.log_index is None:
            return {}
        return {state.step.id: state.snapshot() for state in self if not state.status.final}

    def dependencies(self, state: StepState) -> list[StepState]:
        """The steps that ``state`` waits for."""
        return [self.steps[name] for name in state.step.depends_on]

    def ready(self, state: StepState) -> bool:
        """Whether a decided step may be dispatched: allowed or approved, and every dependency succeeded."""
        if state.decision is None or state.dispatched or state.status.final:
            return False
        if state.manifest is None or state.args is None:
            return False
        if state.decision.effect is Effect.ASK and not state.approved:
            return False
        return all(other.status is StepStatus.SUCCEEDED for other in self.dependencies(state))

    def alone(self, state: StepState) -> bool:
        """Whether no other step could start or need attention before this one ends."""
        return all(other is state or other.status.final for other in self)

    def undecided(self) -> list[StepState]:
        """Steps that no policy has judged yet and whose inputs are known, or are known never to come."""
        return [
            state
            for state in self
            if state.status is StepStatus.DEFERRED
            and state.decision is None
            and all(self.steps[reference.step].status is StepStatus.SUCCEEDED for reference in state.step.references)
        ]

    def skip_orphans(self) -> list[StepState]:
        """End every step that waits for one that did not succeed, and those that wait for it in turn."""
        skipped: list[StepState] = []
        while orphans := self._orphans():
            for state in orphans:
                state.fail(StepStatus.SKIPPED, Reason.DEPENDENCY_UNSUCCESSFUL)
            skipped.extend(orphans)
        return skipped

    def _orphans(self) -> list[StepState]:
        return [
            state
            for state in self
            if not state.status.final
            and not state.dispatched
            and any(
                other.status.final and other.status is not StepStatus.SUCCEEDED for other in self.dependencies(state)
            )
        ]

    def view(self) -> dict[str, Any]:
        """The plan as a caller sees it."""
        return {
            "plan_id": self.plan.plan_id,
            "context_id": self.plan.context_id,
            "status": str(self.status),
            "log_index": self.log_index,
            "steps": [state.view(self.plan.plan_id) for state in self],
        }
