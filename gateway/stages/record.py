"""Steps 6 and 9, the record: nothing runs before its decision and intent are durable, and no result leaves before its
outcome is. Entries and rows of one record commit together or not at all.

If the log cannot take an intent, the step does not run. If it cannot take an outcome, the result is withheld and the
step is ``ambiguous`` (invariant 1).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from gateway.canonical import canonical
from gateway.commitments import Committed
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Mistaken, Outdated
from gateway.freeze import FreezeState
from gateway.model import EMPTY, ApprovalRequest, ApprovalStatus, Effect, Notice, StepStatus
from gateway.ports import (
    Append,
    AuditLog,
    Contexts,
    Freezes,
    Guard,
    Offer,
    Offers,
    OfferStatus,
    PlanStore,
    Purpose,
    Signer,
    Topic,
    Typ,
    Write,
)
from gateway.reasons import Reason
from gateway.stages import offer
from gateway.state import PlanState, Question, StepState

_log = structlog.get_logger("handrail.record")

_ENDINGS: Final[dict[StepStatus, EntryType]] = {
    StepStatus.SUCCEEDED: EntryType.STEP_EXECUTED,
    StepStatus.FAILED: EntryType.STEP_FAILED,
    StepStatus.AMBIGUOUS: EntryType.STEP_AMBIGUOUS,
    StepStatus.SKIPPED: EntryType.STEP_SKIPPED,
    StepStatus.CANCELLED: EntryType.STEP_CANCELLED,
    StepStatus.EXPIRED: EntryType.APPROVAL_EXPIRED,
    StepStatus.RELEASED: EntryType.STEP_RELEASED,
    StepStatus.DENIED: EntryType.POLICY_DENIED,
}
_LAPSES: Final = {StepStatus.EXPIRED: ApprovalStatus.EXPIRED, StepStatus.AMBIGUOUS: ApprovalStatus.VOIDED}
"""Endings of a step that nobody answered for -> what becomes of its approval request."""


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
    """Steps with a credential, to be dispatched as soon as this is durable."""
    rebound: Mapping[str, Question] = field(default_factory=dict)
    """Step id -> what people were asked and are asked anew under the new policy; the step is among the judged."""
    frozen: FreezeState = field(default_factory=FreezeState)
    """What was frozen when the round began."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """What a record needs: the log, the rows, and the key that signs receipts."""

    log: AuditLog
    store: PlanStore
    signer: Signer
    contexts: Contexts
    freezes: Freezes
    offers: Offers

    async def intent(self, plan: PlanState, this: Round, now: float) -> None:
        """Make the plan (if new), every new decision, request and ending, and the intent to dispatch durable.

        Raises:
            Unavailable: ``log.unavailable``; nothing of this may be acted upon.
            Refused: ``verify.replayed``, ``verify.context`` or ``request.conflict``.
            Mistaken: a new plan was judged as the first of its context and is not; judge it again.
            Outdated: another gateway wrote about the context or the principal meanwhile, or somebody froze or lifted
                something; judge this round again.
        """
        new = plan.log_index is None
        entries = _describe(plan, this)
        if not entries.drafts:
            return
        if new:
            guards = list(self.store.guards(plan))
        else:
            ended = [state for state in (*this.judged, *this.orphans, *this.fallen) if state.status.final]
            guards = [self.store.fate_guard(plan, state) for state in (*ended, *this.launched)]
            guards += self._askings(this)
        for state in this.launched:
            state.status = StepStatus.RUNNING
        touched = list(plan) if new else [plan.steps[name] for name in entries.last]
        receipts: dict[str, str] = {}
        # Made once and here: whoever listens is counted, and the writer may ask for the rows again.
        requests = self._requests(plan, this, now)

        def finalise(indices: Sequence[int]) -> Sequence[Write]:
            writes: list[Write] = [self.store.insert_plan(plan, indices[0])] if new else [self.store.plan_status(plan)]
            for state in touched:
                index = indices[entries.last.get(state.step.id, 0)]
                if state.status.final:
                    receipts[state.step.id] = self._receipt(plan, state, index, now)
                writes.append(self.store.save_step(plan, state, index, receipts.get(state.step.id), new=new))
            return [*writes, *requests, *self._offers(plan, this, entries, indices, now)]

        try:
            indices = await self.log.append(Append(entries.drafts, (), guards, finalise, self._rests_on(plan, this)))
        except Outdated:
            raise
        except Mistaken:
            self.store.bound(plan)
            raise
        if new:
            plan.log_index = indices[0]
            plan.committed = None
            self.store.bound(plan)
        for state in touched:
            state.fresh = {}
            state.log_index = indices[entries.last.get(state.step.id, 0)]
            state.receipt = receipts.get(state.step.id, state.receipt)
        for state in this.launched:
            state.dispatched = True
        self.contexts.recorded(plan, this.judged, (*this.orphans, *this.fallen), this.launched, now, indices[-1])
        _tell(plan, this.judged)

    async def outcome(
        self,
        plan: PlanState,
        state: StepState,
        ending: StepState,
        now: float,
        offered: Offer | None = None,
        frozen: FreezeState | None = None,
    ) -> None:
        """Make a step's ending and its receipt durable; only then does ``state`` become what ``ending`` is.

        Args:
            ending: from ``state.begin_ending()``, with its final status.
            offered: of a step that was offered to a remote hand, its offer, which ends with it.
            frozen: what was frozen when the ending was decided, where it rests on that.

        Raises:
            Unavailable: ``log.unavailable``; ``state`` is as it was, and the result must be withheld.
            Refused: ``request.conflict`` where another gateway decided the step's fate first.
            Outdated: something was frozen or lifted since; decide again.
        """
        entries = _Entries(plan)
        if ending.redacted:
            entries.add(ending, EntryType.RESULT_REDACTED)
        entries.add(ending, _ENDINGS[ending.status], _said(ending))
        guards = [] if state.dispatched else [self.store.fate_guard(plan, ending)]
        unanswered = ending.status in _LAPSES and not ending.approved
        if unanswered and ending.approval_id is not None:
            guards.append(self.store.asking_guard(ending.approval_id, ending.asked))
        if offered is not None:
            guards.append(self.offers.guard(offered.step_jti, offered.next_move))
        receipt: list[str] = []
        closed: list[Write] = []
        if ending.approval_id is not None and (ending.status is StepStatus.EXPIRED or unanswered):
            closed = self._closed(plan, ending.approval_id, _LAPSES[ending.status], now)

        def finalise(indices: Sequence[int]) -> Sequence[Write]:
            receipt[:] = [self._receipt(plan, ending, indices[-1], now)]
            saved = self.store.save_step(plan, ending, indices[-1], receipt[0], new=False)
            writes = [saved, self.store.plan_status(plan), *closed]
            if offered is not None:
                ended = replace(offered, status=OfferStatus.ENDED, changed_at=now, log_index=indices[-1])
                writes.append(self.offers.change(ended))
            return writes

        try:
            if frozen is not None and not self.freezes.stands(frozen):
                raise Outdated
            rests_on: Mapping[Topic, int] = {} if frozen is None else self.freezes.rests_on()
            indices = await self.log.append(Append(entries.drafts, (), guards, finalise, rests_on))
        except BaseException:
            state.ending = None
            raise
        document = ending.fresh["result"].value if "result" in ending.fresh else None
        ending.fresh = {}
        ending.log_index = indices[-1]
        ending.receipt = receipt[0]
        state.adopt(ending)
        self.contexts.outcome(plan, state, document, now, indices[-1])

    def _offers(
        self, plan: PlanState, this: Round, entries: "_Entries", indices: Sequence[int], now: float
    ) -> list[Write]:
        """The rows by which remote hands learn of their steps."""
        remote = filter(offer.remote, this.launched)
        return [self.offers.open(plan, state, now, indices[entries.last[state.step.id]]) for state in remote]

    def _rests_on(self, plan: PlanState, this: Round) -> Mapping[Topic, int]:
        """What the append must find as it was. There is nothing to wait for between this and the log's queue, in which
        a freeze that is set here comes later. Raises ``Outdated``."""
        if not self.freezes.stands(this.frozen):
            raise Outdated
        return {**self.contexts.rests_on(plan), **self.freezes.rests_on()}

    def _askings(self, this: Round) -> list[Guard]:
        """What keeps an answer that another gateway takes meanwhile, and this round, from both ending one asking."""
        gone = [state.question() for state in (*this.orphans, *this.fallen)]
        ended = [*this.voided.values(), *this.rebound.values(), *gone]
        return [
            self.store.asking_guard(one.approval_id, one.asked) for one in ended if one is not None and not one.closed
        ]

    def _requests(self, plan: PlanState, this: Round, now: float) -> list[Write]:
        """The rows of approval requests that a round closes and opens."""
        writes: list[Write] = []
        for name, request in this.requests.items():
            writes.append(self.store.insert_approval(plan, plan.steps[name], request))
            writes += self.store.notices(plan.plan.tenant, request.approval_id, ApprovalStatus.OPEN, now)
        for state in (*this.orphans, *this.fallen):
            if state.approval_id is not None:
                expired = state.status is StepStatus.EXPIRED
                status = ApprovalStatus.EXPIRED if expired else ApprovalStatus.VOIDED
                writes += self._closed(plan, state.approval_id, status, now)
        for question in this.voided.values():
            writes += self._closed(plan, question.approval_id, ApprovalStatus.VOIDED, now)
        for name in this.rebound:
            state = plan.steps[name]
            if state.request is None:
                raise RuntimeError("only a request that is known is asked anew")
            writes.append(self.store.rebind_approval(plan, state, state.request))
            writes += self.store.notices(plan.plan.tenant, state.request.approval_id, Notice.REBOUND, now)
        return writes

    def _closed(self, plan: PlanState, approval_id: str, status: ApprovalStatus, now: float) -> list[Write]:
        """The rows that close an approval request, and have whoever listens told."""
        told = self.store.notices(plan.plan.tenant, approval_id, status, now)
        return [self.store.approval_status(approval_id, status), *told]

    def acceptance(self, plan: PlanState, now: float) -> str:
        """The gateway's signed word that it took a plan: with its log index, so that an omission can be proved."""
        payload = {
            "v": 1,
            "iss": self.log.origin,
            "tenant": plan.plan.tenant,
            "plan_id": plan.plan.plan_id,
            "plan_commitment": plan.commitment,
            "context_id": plan.plan.context_id,
            "log": {"origin": self.log.origin, "index": plan.log_index},
            "iat": int(now),
        }
        return self.signer.sign(Purpose.RECEIPT, Typ.ACCEPT, canonical(payload))

    def _receipt(self, plan: PlanState, state: StepState, index: int, now: float) -> str:
        """The signed record of one step's decision and outcome (docs/api.md: receipts)."""
        payload: dict[str, object] = {
            "v": 1,
            "receipt_id": state.receipt_id(plan.plan.plan_id),
            "iss": self.log.origin,
            "tenant": plan.plan.tenant,
            "plan_commitment": plan.commitment,
            "step_id": state.step.id,
            "hand": state.names[0],
            "action": state.names[1],
            "status": str(state.status),
            "approvals": [{"approver": one.approver, "attested_by": str(one.attested_by)} for one in state.approvals],
            "log": {"origin": self.log.origin, "index": index},
            "iat": int(now),
        }
        payload["decision"] = {
            "effect": str(Effect.DENY if state.decision is None else state.decision.effect),
            "reasons": list(_codes(state)),
            "policy_digest": None if state.decision is None else state.decision.policy_digest,
        }
        if state.step_jti is not None:
            payload["step_jti"] = state.step_jti
        if state.jail is not None:
            payload["jail"] = dict(state.jail)
        for name in ("args", "result"):
            if name in state.commitments:
                payload[f"{name}_commitment"] = state.commitments[name]
        return self.signer.sign(Purpose.RECEIPT, Typ.RECEIPT, canonical(payload))


def _tell(plan: PlanState, judged: Sequence[StepState]) -> None:
    """Log the steps that policy wants told of: ids and codes alone, for the process's log is no place for values."""
    for state in judged:
        level = None if state.decision is None else state.decision.obligations.log_level
        if level is not None:
            _log.log(
                getattr(logging, level.upper()),
                "step decided",
                plan_id=plan.plan.plan_id,
                step_id=state.step.id,
                hand=state.names[0],
                action=state.names[1],
                status=str(state.status),
                reasons=_codes(state),
            )


class _Entries:
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
        self.drafts.append(
            EntryDraft(
                EntryType.PLAN_RECEIVED,
                plan.tenant,
                context_id=plan.context_id,
                plan_id=plan.plan_id,
                principal=plan.principal.pseudonym,
                facts={"kid": plan.kid, "steps": len(plan.steps), "caller": plan.caller.pseudonym},
                fields=fields,
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


def _describe(plan: PlanState, this: Round) -> _Entries:
    """The entries of one round, in the order in which things were decided."""
    entries = _Entries(plan)
    if plan.log_index is None:
        entries.add_plan()
    for name in this.voided:
        entries.add(plan.steps[name], EntryType.APPROVAL_VOIDED, (str(Reason.APPROVAL_VOIDED),))
    for state in this.judged:
        question = this.rebound.get(state.step.id)
        if question is None:
            entries.add(state, _judgement(state), _said(state), _kind(state))
        else:
            entries.add(state, EntryType.APPROVAL_REBOUND, _said(state), {**_kind(state), **_anew(state, question)})
    for state in (*this.orphans, *this.fallen):
        if state.approval_id is not None and state.status is not StepStatus.EXPIRED:
            entries.add(state, EntryType.APPROVAL_VOIDED)
        entries.add(state, _ENDINGS[state.status], _said(state))
    for state in this.launched:
        if offer.remote(state):
            entries.add(
                state, EntryType.STEP_DISPATCHED, facts={"transport": "remote", "step_jti": state.step_jti or ""}
            )
            continue
        entries.add(state, EntryType.CREDENTIAL_ISSUED, facts={"step_jti": state.step_jti or ""})
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


def _said(state: StepState) -> tuple[str, ...]:
    """The codes an entry carries: the rules' own, and the gateway's where a step ended badly."""
    codes = _codes(state)
    if state.error is not None and str(state.error.reason) not in codes:
        return (*codes, str(state.error.reason))
    return codes


def _codes(state: StepState) -> tuple[str, ...]:
    if state.decision is not None:
        return tuple(reason.code for reason in state.decision.reasons)
    return (str(state.error.reason),) if state.error is not None else ()


def recordable(reason: Reason) -> EntryType:
    """Which entry a refusal of a whole plan is: a faulty shape, what is frozen, or a signature or standing that does
    not hold."""
    if reason is Reason.FREEZE_ACTIVE:
        return EntryType.ACCESS_REFUSED
    return EntryType.SCHEMA_REJECTED if reason.startswith(("schema.", "request.")) else EntryType.SIGNATURE_REJECTED
