"""What one pass over a plan decided, and the entries that say so, in the order in which things were decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.commitments import Committed
from gateway.entries import EntryDraft, EntryType
from gateway.freeze import FreezeState
from gateway.model import EMPTY, ApprovalRequest, Effect, Retry, StepStatus
from gateway.questions import Question
from gateway.reasons import Reason
from gateway.stages import offer, release
from gateway.state import UNKNOWN, PlanState, StepState

ENDINGS: Final[dict[StepStatus, EntryType]] = {
    StepStatus.SUCCEEDED: EntryType.STEP_EXECUTED,
    StepStatus.FAILED: EntryType.STEP_FAILED,
    StepStatus.AMBIGUOUS: EntryType.STEP_AMBIGUOUS,
    StepStatus.SKIPPED: EntryType.STEP_SKIPPED,
    StepStatus.CANCELLED: EntryType.STEP_CANCELLED,
    StepStatus.EXPIRED: EntryType.APPROVAL_EXPIRED,
    StepStatus.RELEASED: EntryType.STEP_RELEASED,
    StepStatus.DENIED: EntryType.POLICY_DENIED,
}


@dataclass(frozen=True, slots=True)
class Round:
    """What one pass over a plan decided; it becomes durable as one."""

    judged: Sequence[StepState] = ()
    """Steps that got a decision, or failed their schema."""
    requests: Mapping[str, ApprovalRequest] = field(default_factory=dict)
    """Step id -> the approval it now waits for."""
    orphans: Sequence[StepState] = ()
    """Steps skipped because a dependency did not succeed."""
    fallen: Sequence[StepState] = ()
    """Steps ended because whoever asked for them lost the standing to, or their approval grew old."""
    voided: Mapping[str, Question] = field(default_factory=dict)
    """Step id -> what people were asked before policy or hand outdated it; the step is among the judged."""
    launched: Sequence[StepState] = ()
    """Steps that go as soon as this is durable: with a credential, to be dispatched, or released to the client."""
    rebound: Mapping[str, Question] = field(default_factory=dict)
    """Step id -> what people were asked and are asked anew under the new policy; the step is among the judged."""
    frozen: FreezeState = field(default_factory=FreezeState)
    """What was frozen when the round began."""


class Drafts:
    """Drafts of one record, and which of them is the last about each step."""

    def __init__(self, plan: PlanState) -> None:
        self.plan = plan
        self.drafts: list[EntryDraft] = []
        self.last: dict[str, int] = {}
        self._stored: set[str] = set()

    def add_plan(self) -> None:
        """The entry that a plan was received."""
        plan = self.plan.plan
        fields: Mapping[str, Committed] = {"plan": self.plan.committed} if self.plan.committed else EMPTY
        run: Mapping[str, str | int] = EMPTY
        if plan.run is not None:
            run = {"run": plan.run.run_id, "turn": plan.run.number}
        self.drafts.append(
            EntryDraft(
                EntryType.PLAN_RECEIVED,
                plan.tenant,
                context_id=plan.context_id,
                plan_id=plan.plan_id,
                principal=plan.principal.pseudonym,
                facts={"kid": plan.kid, "steps": len(plan.steps), "caller": plan.caller.pseudonym, **run},
                fields=fields,
            )
        )

    def add_retry(self, retries: Retry) -> None:
        """The entry that a dead letter of an earlier plan is tried again, by the plan's caller."""
        plan = self.plan.plan
        [state] = self.plan
        self.drafts.append(
            EntryDraft(
                EntryType.STEP_RETRIED,
                plan.tenant,
                context_id=plan.context_id,
                plan_id=retries.plan_id,
                step_id=retries.step_id,
                principal=plan.caller.pseudonym,
                hand=state.names[0],
                action=state.names[1],
                facts={"retry_plan": plan.plan_id, "said": "not_executed" if retries.not_executed else ""},
                commitments={"plan": self.plan.commitment},
            )
        )

    def add(
        self,
        state: StepState,
        kind: EntryType,
        reasons: tuple[str, ...] = (),
        facts: Mapping[str, str | int] = EMPTY,
    ) -> None:
        """An entry about one step."""
        plan = self.plan.plan
        decision = state.decision
        # Several entries commit to one value (an evaluation, the args); the side table takes it once.
        fields = {name: value for name, value in state.fresh.items() if value.commitment not in self._stored}
        self._stored.update(value.commitment for value in fields.values())
        self.last[state.step.id] = len(self.drafts)
        self.drafts.append(
            EntryDraft(
                kind,
                plan.tenant,
                context_id=plan.context_id,
                plan_id=plan.plan_id,
                step_id=state.step.id,
                principal=plan.principal.pseudonym,
                hand=state.names[0],
                action=state.names[1],
                effect=None if decision is None else str(decision.effect),
                reasons=reasons,
                policy_digest=None if decision is None else decision.policy_digest,
                manifest_digest=state.manifest_digest,
                facts=facts,
                fields=fields,
                commitments={"plan": self.plan.commitment, **state.commitments},
            )
        )


def describe(plan: PlanState, this: Round) -> Drafts:
    """The entries of one round, in the order in which things were decided."""
    entries = Drafts(plan)
    if plan.log_index is None:
        entries.add_plan()
        if plan.plan.retries is not None:
            entries.add_retry(plan.plan.retries)
    for name in this.voided:
        entries.add(plan.steps[name], EntryType.APPROVAL_VOIDED, (str(Reason.APPROVAL_VOIDED),))
    for state in this.judged:
        question = this.rebound.get(state.step.id)
        if question is None:
            entries.add(state, _judgement(state), said(state), {**_kind(state), **_refused(state)})
        else:
            entries.add(state, EntryType.APPROVAL_REBOUND, said(state), {**_kind(state), **_anew(state, question)})
    for state in (*this.orphans, *this.fallen):
        if state.approval_id is not None and state.status is not StepStatus.EXPIRED:
            entries.add(state, EntryType.APPROVAL_VOIDED)
        entries.add(state, ENDINGS[state.status], said(state), _refused(state))
    for state in this.launched:
        if release.by_client(state):
            entries.add(state, EntryType.STEP_RELEASED)
            continue
        if offer.remote(state):
            entries.add(
                state, EntryType.STEP_DISPATCHED, facts={"transport": "remote", "step_jti": state.step_jti or ""}
            )
            continue
        entries.add(state, EntryType.CREDENTIAL_ISSUED, facts={"step_jti": state.step_jti or ""})
        for facts in state.secrets_named:
            entries.add(state, EntryType.SECRET_USED, facts=facts)
        entries.add(state, EntryType.STEP_DISPATCHED)
    return entries


def _judgement(state: StepState) -> EntryType:
    if state.decision is None:
        return EntryType.SCHEMA_REJECTED
    if state.status is StepStatus.DENIED:
        return EntryType.POLICY_DENIED
    if state.decision.effect is Effect.ASK:
        return EntryType.APPROVAL_REQUESTED
    return EntryType.POLICY_ALLOWED if state.decision.observed is None else EntryType.POLICY_OBSERVED


def _anew(state: StepState, question: Question) -> dict[str, str | int]:
    """Which request is asked anew, how often by now, and instead of under which bundle."""
    replaced = "" if question.decision is None else question.decision.policy_digest
    return {"approval": question.approval_id, "asked": state.asked, "replaces": replaced}


def _kind(state: StepState) -> Mapping[str, str]:
    """What a judged step may change: an account of the context is made from these entries."""
    if state.decision is None or state.manifest is None:
        return EMPTY
    return {"side_effects": str(state.manifest.actions[state.step.action].side_effects)}


def _refused(state: StepState) -> Mapping[str, str]:
    """Which request a person refused before about the same call, where a step is denied for that."""
    if state.error is None or state.error.reason is not Reason.APPROVAL_REFUSED:
        return EMPTY
    return {"approval": str(state.error.facts["approval"])}


def found(state: StepState) -> Mapping[str, str | int]:
    """What of personal data was found in the result and left there, kinds and numbers, never a value; and where the
    result was cut, ``left_out_bytes``: how many, or ``unknown``."""
    facts: dict[str, str | int] = {}
    if state.personal_data:
        facts["personal_data"] = counted(state.personal_data)
    if state.truncated is not None:
        left_out = state.truncated.left_out_bytes
        facts["left_out_bytes"] = UNKNOWN if left_out is None else left_out
    return facts


def counted(kinds: Mapping[str, int]) -> str:
    """``card:1 email:3``."""
    return " ".join(f"{kind}:{number}" for kind, number in sorted(kinds.items()))


def said(state: StepState) -> tuple[str, ...]:
    """The codes an entry carries: the rules' own, and the gateway's where a step ended badly."""
    given = codes(state)
    if state.error is not None and str(state.error.reason) not in given:
        return (*given, str(state.error.reason))
    return given


def sent(state: StepState) -> Mapping[str, int]:
    """How often its call was sent, where that was not once."""
    return EMPTY if state.attempts == 1 else {"attempts": state.attempts}


def codes(state: StepState) -> tuple[str, ...]:
    """The codes of what decided a step; the gateway's own where no rule did."""
    if state.decision is not None:
        return tuple(reason.code for reason in state.decision.reasons)
    return (str(state.error.reason),) if state.error is not None else ()


def recordable(reason: Reason) -> EntryType:
    """Which entry a refusal of a whole plan is: a faulty shape, what is frozen, or a signature or standing that does
    not hold."""
    if reason is Reason.FREEZE_ACTIVE:
        return EntryType.ACCESS_REFUSED
    return EntryType.SCHEMA_REJECTED if reason.startswith(("schema.", "request.")) else EntryType.SIGNATURE_REJECTED
