"""Steps 6 and 9, the record: nothing runs before its decision and intent are durable, and no result leaves before its
outcome is. Entries and rows of one record commit together or not at all.

If the log cannot take an intent, the step does not run. If it cannot take an outcome, the result is withheld and the
step is ``ambiguous`` (invariant 1).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from gateway.canonical import canonical
from gateway.dead_letters import is_dead
from gateway.entries import EntryType
from gateway.errors import HandrailError, Mistaken, Outdated
from gateway.freeze import FreezeState
from gateway.model import EMPTY, ApprovalStatus, Effect, Notice, StepStatus
from gateway.ports import (
    Append,
    AuditLog,
    Contexts,
    Freezes,
    Guard,
    Letters,
    Offer,
    Offers,
    OfferStatus,
    PlanStore,
    Purpose,
    Settled,
    Signer,
    Topic,
    Typ,
    Verdict,
    Write,
)
from gateway.ports.runs import Turns
from gateway.reasons import Reason
from gateway.stages import offer, release
from gateway.stages.drafts import ENDINGS, Drafts, Round, codes, counted, describe, found, said, sent
from gateway.state import PlanState, StepState

_log = structlog.get_logger("handrail.record")

_LAPSES: Final = {
    StepStatus.EXPIRED: ApprovalStatus.EXPIRED,
    StepStatus.AMBIGUOUS: ApprovalStatus.VOIDED,
    StepStatus.CANCELLED: ApprovalStatus.VOIDED,
}
"""Endings of a step that nobody answered for -> what becomes of its approval request."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """What a record needs: the log, the rows, and the key that signs receipts."""

    log: AuditLog
    store: PlanStore
    signer: Signer
    contexts: Contexts
    freezes: Freezes
    offers: Offers
    letters: Letters
    turns: Turns | None = None
    """Of runs, where the gateway has any."""

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
        entries = describe(plan, this)
        if not entries.drafts:
            return
        if new:
            guards = [*self.store.guards(plan), *self._settling(plan, now), *self._turn(plan, now)]
        else:
            ended = [state for state in (*this.judged, *this.orphans, *this.fallen) if state.status.final]
            guards = [self.store.fate_guard(plan, state) for state in (*ended, *this.launched)]
            guards += self._askings(this)
        touched = list(plan) if new else [plan.steps[name] for name in entries.last]
        receipts: dict[str, str] = {}
        # Made once and here: whoever listens is counted, and the writer may ask for the rows again.
        requests = self._requests(plan, this, now)

        def finalise(indices: Sequence[int]) -> Sequence[Write]:
            writes: list[Write] = [self.store.insert_plan(plan, indices[0])] if new else [self.store.plan_status(plan)]
            for state in touched:
                index = indices[entries.last.get(state.step.id, 0)]
                saved = state.ending or state
                if saved.status.final:
                    receipts[state.step.id] = self._receipt(plan, saved, index, now)
                writes.append(self.store.save_step(plan, saved, index, receipts.get(state.step.id), new=new))
                writes += self._dead(plan, saved, now, index)
            return [*writes, *requests, *self._offers(plan, this, entries, indices, now)]

        try:
            with release.letting_go(this.launched):
                append = Append(entries.drafts, (), guards, finalise, self._rests_on(plan, this))
                indices = await self.log.append(append)
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
            state.dispatched = not state.status.final
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
        refusal: Append | None = None,
    ) -> None:
        """Make a step's ending and its receipt durable; only then does ``state`` become what ``ending`` is.

        Args:
            ending: from ``state.begin_ending()``, with its final status.
            offered: of a step that was offered to a remote hand, its offer, which ends with it.
            frozen: what was frozen when the ending was decided, where it rests on that.
            refusal: the person's answer that ends the step: both are on record, or neither is.

        Raises:
            Unavailable: ``log.unavailable``; ``state`` is as it was, and the result must be withheld.
            Refused: ``request.conflict`` where another gateway decided the step's fate first.
            Outdated: something was frozen or lifted since; decide again.
        """
        entries, answered = Drafts(plan), refusal or Append(())
        entries.drafts += answered.entries
        if ending.redacted:
            taken = {"personal_data": counted(ending.personal_data_taken)} if ending.personal_data_taken else EMPTY
            entries.add(ending, EntryType.RESULT_REDACTED, facts=taken)
        cached: Mapping[str, str | int] = {} if ending.cached_from is None else {"cached_from": ending.cached_from}
        facts: Mapping[str, str | int] = {**sent(ending), **found(ending), **ending.used(), **cached}
        entries.add(ending, ENDINGS[ending.status], said(ending), facts)
        guards = [*answered.guards, *([] if state.dispatched else [self.store.fate_guard(plan, ending)])]
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
            writes = [saved, self.store.plan_status(plan), *closed, *self._dead(plan, ending, now, indices[-1])]
            if offered is not None:
                ended = replace(offered, status=OfferStatus.ENDED, changed_at=now, log_index=indices[-1])
                writes.append(self.offers.change(ended))
            return writes

        try:
            if frozen is not None and not self.freezes.stands(frozen):
                raise Outdated
            rests_on: Mapping[Topic, int] = {} if frozen is None else self.freezes.rests_on()
            indices = await self.log.append(Append(entries.drafts, answered.writes, guards, finalise, rests_on))
        except BaseException:
            state.ending = None
            raise
        document = ending.fresh["result"].value if "result" in ending.fresh else None
        ending.fresh = {}
        ending.log_index = indices[-1]
        ending.receipt = receipt[0]
        state.adopt(ending)
        self.contexts.outcome(plan, state, document, now, indices[-1])

    def _offers(self, plan: PlanState, this: Round, entries: Drafts, indices: Sequence[int], now: float) -> list[Write]:
        """The rows by which remote hands learn of their steps."""
        remote = filter(offer.remote, this.launched)
        return [self.offers.open(plan, state, now, indices[entries.last[state.step.id]]) for state in remote]

    def _settling(self, plan: PlanState, now: float) -> list[Guard]:
        """What settles the dead letter that a new plan tries again: with its first record, or not at all."""
        the, retries = plan.plan, plan.plan.retries
        if retries is None:
            return []
        settled = Settled(Verdict.RETRIED, the.caller.pseudonym, now, the.plan_id)
        return [self.letters.settle(the.tenant, retries.plan_id, retries.step_id, settled)]

    def _turn(self, plan: PlanState, now: float) -> list[Guard]:
        """What makes a new plan the turn of a run that it says it is: with its first record, or not at all."""
        run = plan.plan.run
        if run is None:
            return []
        if self.turns is None:
            raise HandrailError(Reason.INTERNAL, "a turn of a run, and nobody who keeps turns")
        return [self.turns.taken(plan.plan, run, now)]

    def _dead(self, plan: PlanState, state: StepState, now: float, index: int) -> list[Write]:
        """The row by which a step that ended is listed as a dead letter, where it is one."""
        return [self.letters.add(plan, state, now, index)] if is_dead(state) else []

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
            "reasons": list(codes(state)),
            "policy_digest": None if state.decision is None else state.decision.policy_digest,
        }
        if state.step_jti is not None:
            payload["step_jti"] = state.step_jti
        payload |= sent(state)
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
                reasons=codes(state),
            )
