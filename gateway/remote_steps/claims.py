"""Steps that remote hands claim: which there are for a hand, and handing one out, once.

Whoever claims gets the step credential and the arguments. That it was handed out is on record before the answer leaves;
an answer that is lost on the way is not given again (invariant 5), and the step ends as ``ambiguous`` when its time is
over. Any gateway of the database serves any claim: what decides is one row (``ports.Move``).
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Outdated, Refused, Unavailable
from gateway.freeze import FreezeState
from gateway.model import Binding, Obligations, Principal, Role, StepStatus
from gateway.pipeline import Pipeline
from gateway.plan_locks import PlanLocks
from gateway.ports import Append, Move, Offer, OfferStatus, Proofs, Write
from gateway.reasons import Reason
from gateway.stages import standing
from gateway.stages.dispatch import deadline_seconds, result_limit
from gateway.state import PlanState, StepError, StepState

WORK_MAX: Final = 100
"""Steps that one look at the work shows."""
LOOK_SECONDS: Final = 1.0
"""How often whoever waits for work looks for steps that another gateway offered."""
WAITERS_MAX: Final = 512
"""Who may wait for work at one gateway at a time."""
WAITERS_MAX_OF_HAND: Final = WAITERS_MAX // 4
"""The same of one hand: whoever holds its key keeps no other hand from its work."""
TRIES_MAX: Final = 4
"""How often a claim, or the taking of a result, is tried again because something was frozen or lifted meanwhile."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A step in the hands of whoever claimed it.

    Attributes:
        credential: for the hand and its key alone.
        expires_in: seconds within which the hand has to begin.
        lease_seconds: within which its result has to be here.
        result_max_bytes: of the result's ``{content, structured}`` in canonical JSON.
    """

    credential: str = field(repr=False)
    binding: Binding
    args: Mapping[str, Any] = field(repr=False)
    expires_in: int
    lease_seconds: float
    result_max_bytes: int
    idempotency_key: str | None


@dataclass(slots=True)
class Claims:
    """Claims at one gateway. Belongs to its event loop."""

    pipeline: Pipeline
    locks: PlanLocks
    """The same that answers to approval requests take."""
    proofs: Proofs
    _bells: dict[tuple[str, str], asyncio.Event] = field(default_factory=dict)
    _waiters: Counter[tuple[str, str]] = field(default_factory=Counter)
    _leaving: bool = False

    # --- which work there is -----------------------------------------------------------------------------------------

    def ring(self, hands: Collection[tuple[str, str]]) -> None:
        """Have whoever waits for work of these hands, by tenant, look again."""
        for key in hands:
            bell = self._bells.pop(key, None)
            if bell is not None:
                bell.set()

    def leave(self) -> None:
        """The gateway stops: whoever waits for work is told that there is none, and asks another one or later."""
        self._leaving = True
        self.ring(list(self._bells))

    async def work(self, claimant: Principal, hand: str, limit: int, wait_seconds: float) -> Sequence[str]:
        """``step_jti`` of steps that wait to be claimed, oldest first; waits for one where there is none.

        Raises:
            Refused: ``auth.bound`` for a hand that is not the claimant's own.
            Unavailable: ``gateway.overloaded`` where too many wait.
        """
        if not _bound(claimant, hand):
            raise Refused(Reason.AUTH_BOUND, "not bound to that hand")
        key = (claimant.tenant, hand)
        if self._waiters[key] >= WAITERS_MAX_OF_HAND or self._waiters.total() >= WAITERS_MAX:
            raise Unavailable(Reason.OVERLOADED, "too many wait for work")
        self._waiters[key] += 1
        try:
            return await self._work(key, limit, wait_seconds)
        finally:
            self._waiters[key] -= 1
            self._waiters += Counter()  # keeps those above zero

    async def _work(self, key: tuple[str, str], limit: int, wait_seconds: float) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_seconds
        while True:
            bell = self._bells.setdefault(key, asyncio.Event())
            found = await self.pipeline.offers.work(*key, self.pipeline.clock(), limit)
            left = until - loop.time()
            if found or left <= 0 or self._leaving:
                return found
            try:
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    await bell.wait()
            except TimeoutError:
                continue

    # --- handing one out ---------------------------------------------------------------------------------------------

    async def claim(self, claimant: Principal, step_jti: str, jkt: str) -> Handed:
        """Hand out a step with its credential, to whoever is first.

        Args:
            jkt: thumbprint of the key that the claimant proved to hold.

        Raises:
            Refused: ``claim.*``; ``auth.forbidden`` for who asked for the step; and why the step may not run any more:
                ``freeze.active``, ``auth.forbidden``, ``approval.expired``, ``schema.erased``, ``hand.drifted``,
                ``policy.outdated``.
            Unavailable: ``log.unavailable``, ``key.unavailable``; where the log did not say whether it has the claim,
                the step may count as handed out.
        """
        offer = await self.pipeline.offers.find(step_jti)
        try:
            if offer is None or offer.tenant != claimant.tenant or not _bound(claimant, offer.hand):
                raise Refused(Reason.CLAIM_UNKNOWN)
            async with self.locks.of(offer.plan_id):
                for _ in range(TRIES_MAX):
                    try:
                        return await self._claim(claimant, step_jti, jkt)
                    except Outdated:
                        continue
            raise Unavailable(Reason.OVERLOADED, "what is frozen changes again and again")
        except Refused as refusal:
            # A refused claim changes nothing, and is on record all the same.
            draft = EntryDraft(
                EntryType.CREDENTIAL_REFUSED,
                claimant.tenant,
                principal=claimant.pseudonym,
                reasons=(str(refusal.reason),),
            )
            self.pipeline.log.aggregate(draft, claimant.pseudonym)
            raise

    async def _claim(self, claimant: Principal, step_jti: str, jkt: str) -> Handed:
        pipeline = self.pipeline
        offer = await pipeline.offers.find(step_jti)
        if offer is None:
            raise Refused(Reason.CLAIM_UNKNOWN)
        if offer.status is not OfferStatus.OPEN:
            raise Refused(Reason.CLAIM_OVER if offer.claimant is None else Reason.CLAIM_TAKEN)
        plan, state = await load(pipeline, offer)
        if claimant.id in {plan.plan.principal.id, plan.plan.caller.id}:
            raise Refused(Reason.AUTH_FORBIDDEN, "whoever asked for a step is not its hand")
        now = pipeline.clock()
        frozen = await pipeline.freezes.current()
        frozen.check_acts(claimant)
        await self._check_offered(plan, state, offer, frozen, now)
        duties = Obligations() if state.decision is None else state.decision.obligations
        most = pipeline.settings.keys.token_lifetime_seconds
        lifetime = min(most, duties.credential_ttl_seconds or most)
        binding = state.binding(plan.plan.tenant, plan.plan.plan_id)
        handed = Handed(
            credential=pipeline.credentials.hand_out(
                plan.plan, offer.hand, state.step.action, binding, lifetime, now, jkt=jkt, jti=step_jti
            ),
            binding=binding,
            args=state.args or {},
            expires_in=lifetime,
            lease_seconds=deadline_seconds(state),
            result_max_bytes=result_limit(state),
            idempotency_key=state.step.idempotency_key,
        )
        taken = replace(
            offer,
            status=OfferStatus.CLAIMED,
            due_at=now + handed.lease_seconds,
            changed_at=now,
            claimant=claimant.pseudonym,
            jkt=jkt,
            credential_sha256=hashlib.sha256(handed.credential.encode("ascii")).hexdigest(),
        )
        await self._record(plan, state, taken, frozen)
        return handed

    async def _check_offered(
        self, plan: PlanState, state: StepState, offer: Offer, frozen: FreezeState, now: float
    ) -> None:
        """Whether the step may still run; one that may not is withdrawn, and surely did not."""
        pipeline = self.pipeline
        if now >= offer.due_at:
            await withdraw(pipeline, plan, state, offer, StepError(Reason.CLAIM_EXPIRED))
            raise Refused(Reason.CLAIM_OVER, "its time is over")
        fallen = await standing.withdrawn(plan, state, pipeline.directory, pipeline.hands, pipeline.engine, frozen, now)
        if fallen is None:
            return
        elsewhere = fallen.reason in {Reason.POLICY_OUTDATED, Reason.HAND_DRIFTED}
        if not elsewhere or offer.owner == pipeline.offers.owner:
            # Of policy and hand another gateway may know less than the plan's own, which is a moment ahead of it.
            await withdraw(pipeline, plan, state, offer, fallen)
        raise Refused(fallen.reason, "the step may not run any more")

    async def _record(self, plan: PlanState, state: StepState, taken: Offer, frozen: FreezeState) -> None:
        pipeline, the = self.pipeline, plan.plan
        decision = state.decision
        draft = EntryDraft(
            EntryType.CREDENTIAL_ISSUED,
            the.tenant,
            context_id=the.context_id,
            plan_id=the.plan_id,
            step_id=state.step.id,
            principal=the.principal.pseudonym,
            hand=state.step.hand,
            action=state.step.action,
            effect=None if decision is None else str(decision.effect),
            policy_digest=None if decision is None else decision.policy_digest,
            manifest_digest=state.manifest_digest,
            facts={"step_jti": taken.step_jti, "claimant": taken.claimant or "", "jkt": taken.jkt or ""},
            commitments={"plan": plan.commitment, **state.commitments},
        )

        def finalise(indices: Sequence[int]) -> Sequence[Write]:
            saved = pipeline.store.save_step(plan, state, indices[0], None, new=False)
            return [saved, pipeline.offers.change(replace(taken, log_index=indices[0]))]

        if not pipeline.freezes.stands(frozen):
            raise Outdated
        guards = [pipeline.offers.guard(taken.step_jti, Move.OFFER)]
        try:
            [index] = await pipeline.log.append(Append([draft], (), guards, finalise, pipeline.freezes.rests_on()))
        except Outdated:
            raise
        except HandrailError as error:
            if error.reason is Reason.REQUEST_CONFLICT:
                raise Refused(Reason.CLAIM_TAKEN, "another gateway was faster") from None
            raise
        state.log_index = index


def _bound(claimant: Principal, hand: str) -> bool:
    """Whether the principal is this hand: by its role, and by name. One that may use every hand is none."""
    return Role.HAND in claimant.roles and claimant.hands is not None and hand in claimant.hands


async def load(pipeline: Pipeline, offer: Offer) -> tuple[PlanState, StepState]:
    """The plan and step of an offer that has not ended, as the record has them.

    Raises:
        Refused: ``claim.over``; the step has ended.
    """
    await pipeline.hands.confirm(offer.tenant, offer.hand)
    plan = await pipeline.load(offer.plan_id)
    state = plan.steps[offer.step_id]
    if state.status is not StepStatus.RUNNING or state.step_jti != offer.step_jti or state.log_index != offer.log_index:
        # Another gateway took it further than this one remembers, or a row was put back from an older copy.
        found = await pipeline.revive(offer.plan_id)
        if found is None or found.steps[offer.step_id].log_index != offer.log_index:
            raise Refused(Reason.CLAIM_OVER, "its rows contradict each other")
        plan, state = found, found.steps[offer.step_id]
        if state.status is not StepStatus.RUNNING or state.step_jti != offer.step_jti:
            raise Refused(Reason.CLAIM_OVER, "the step has ended")
    return plan, state


async def withdraw(pipeline: Pipeline, plan: PlanState, state: StepState, offer: Offer, why: StepError) -> bool:
    """End a step that was offered: one that nobody claimed did not run, and of one that somebody did nobody can tell.

    Returns:
        Whether it was ended here; false where it was claimed or ended elsewhere meanwhile.
    """
    ending = state.begin_ending()
    if offer.status is OfferStatus.CLAIMED:
        status = StepStatus.AMBIGUOUS
    else:
        status = StepStatus.FAILED if why.reason is Reason.CLAIM_EXPIRED else StepStatus.CANCELLED
    ending.fail(status, why.reason, **why.facts)
    return await end(pipeline, plan, state, ending, offer)


async def end(
    pipeline: Pipeline,
    plan: PlanState,
    state: StepState,
    ending: StepState,
    offer: Offer,
    frozen: FreezeState | None = None,
) -> bool:
    """Put a step's ending on record, and take its plan up again. Returns false where it was decided elsewhere.

    Args:
        frozen: what was frozen when the ending was decided, where it rests on that.

    Raises:
        Outdated: something was frozen or lifted since; nothing is on record.
    """
    now = pipeline.clock()
    try:
        await pipeline.recorder.outcome(plan, state, ending, now, offer, frozen)
    except Outdated:
        raise
    except HandrailError as error:
        if error.reason is Reason.REQUEST_CONFLICT:
            return False
        raise
    seconds = max(0.0, now - offer.changed_at)
    pipeline.metrics.step_seconds.labels(offer.hand).observe(seconds)
    pipeline.objectives.measure(plan, state, seconds)
    pipeline.metrics.count([state])
    pipeline.followers.announce(plan, [state])
    pipeline.resume(plan)
    return True
