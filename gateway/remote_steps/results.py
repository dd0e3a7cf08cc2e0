"""What remote hands return. Exactly one result of a step is taken; it goes the way of every other hand's
(``stages.result``, ``stages.record``). What comes too late, or twice, changes nothing and is on record."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from gateway.calls import HandResult
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Outdated, Refused, Unavailable
from gateway.freeze import refusal
from gateway.model import Principal, Role, StepStatus
from gateway.pipeline import Pipeline
from gateway.plan_locks import PlanLocks
from gateway.ports import Append, Move, Offer, OfferStatus
from gateway.reasons import Reason
from gateway.remote_steps.claims import TRIES_MAX, end, load, withdraw
from gateway.stages import result as stage
from gateway.stages import standing
from gateway.state import PlanState, StepError, StepState


@dataclass(slots=True)
class Results:
    """Results of remote hands at one gateway."""

    pipeline: Pipeline
    locks: PlanLocks
    """The same that claims take."""

    async def leased(self, step_jti: str, credential: str) -> Offer:
        """The offer whose one credential this is. Its signature is not asked: the row, under its MAC, has the hash of
        the token that was handed out, and no other token will do, whoever signed it.

        Raises:
            Refused: ``credential.refused``.
        """
        offer = await self.pipeline.offers.find(step_jti)
        given = hashlib.sha256(credential.encode("ascii", "replace")).hexdigest()
        if offer is None or offer.credential_sha256 is None or not hmac.compare_digest(offer.credential_sha256, given):
            raise Refused(Reason.CREDENTIAL_REFUSED, "not the credential of that step")
        return offer

    async def take(self, lease: Offer, returned: HandResult) -> dict[str, Any]:
        """Take the result of a step from whoever holds its credential and has proved it.

        Returns:
            ``{status, error?}`` of the step, once that is on record.

        Raises:
            Refused: ``result.taken``, ``result.late``; ``credential.refused`` where the hand's principal was revoked
                since, ``freeze.active`` where it is frozen.
            Unavailable: ``log.unavailable``; the result is not taken, and may be sent again.
        """
        async with self.locks.of(lease.plan_id):
            offer = await self.pipeline.offers.find(lease.step_jti)
            if offer is None:
                raise Refused(Reason.CREDENTIAL_REFUSED, "the step's offer is gone")
            try:
                claimant = await self._claimant(offer)
            except Refused as gone:
                await self._record(offer, gone.reason, returned)
                raise
            if offer.status is OfferStatus.ENDED:
                await self._refuse(offer, returned)
            for _ in range(TRIES_MAX):
                try:
                    return await self._take(offer, claimant, returned)
                except Outdated:
                    continue
            raise Unavailable(Reason.OVERLOADED, "what is frozen changes again and again")

    async def _take(self, offer: Offer, claimant: Principal, returned: HandResult) -> dict[str, Any]:
        """Raises ``Outdated`` where somebody froze or lifted something meanwhile, here or at another gateway."""
        pipeline = self.pipeline
        plan, state = await load(pipeline, offer)
        frozen = await pipeline.freezes.current()
        if (freeze := frozen.on(claimant)) is not None:
            await self._record(offer, Reason.FREEZE_ACTIVE, returned)
            raise refusal(freeze)
        stopped = frozen.stopping(standing.concern(plan, state))
        if stopped is not None:
            why = StepError(Reason.FREEZE_ACTIVE, {"freeze": stopped.id, "scope": str(stopped.scope)})
            await withdraw(pipeline, plan, state, offer, why)
        elif pipeline.clock() >= offer.due_at:
            await withdraw(pipeline, plan, state, offer, StepError(Reason.HAND_TIMEOUT))
        elif await end(pipeline, plan, state, await self._settled(plan, state, returned), offer, frozen):
            error = {} if state.error is None else {"error": state.error.document()}
            return {"status": str(state.status), **error}
        await self._refuse(offer, returned)
        raise Refused(Reason.RESULT_LATE)

    async def _settled(self, plan: PlanState, state: StepState, returned: HandResult) -> StepState:
        ending = state.begin_ending()
        ending.result = returned
        if ending.manifest is None:
            # The hand is pinned anew since: it acted, and there is nothing to hold its answer against.
            ending.result = None
            ending.fail(StepStatus.FAILED, Reason.HAND_DRIFTED)
        else:
            await stage.settle(plan, ending, self.pipeline.hands, self.pipeline.scanner)
        return ending

    async def _claimant(self, offer: Offer) -> Principal:
        """Whoever claimed, as they are now."""
        pipeline = self.pipeline
        try:
            person = await pipeline.directory.person(offer.tenant, offer.claimant or "")
        except Refused:
            raise Refused(Reason.CREDENTIAL_REFUSED, "the hand's principal was revoked") from None
        if person.pseudonym != offer.claimant or Role.HAND not in person.roles or not person.may_use(offer.hand):
            raise Refused(Reason.CREDENTIAL_REFUSED, "the hand's principal is another one now")
        return person

    async def _refuse(self, offer: Offer, returned: HandResult) -> None:
        """Put a result that comes after the step's end on record.

        Raises:
            Refused: ``result.late``, or ``result.taken`` where the step has a result.
        """
        raise Refused(await self._record(offer, None, returned))

    async def _record(self, offer: Offer, reason: Reason | None, returned: HandResult) -> Reason:
        """Put the first result of a step that is not taken on record, for whoever has to find out what happened.

        Args:
            reason: why it is not taken; ``None`` where the step has ended, and how it did says why.

        Returns:
            Why it is not taken.
        """
        pipeline = self.pipeline
        plan = await pipeline.revive(offer.plan_id)
        if plan is None:
            return reason or Reason.RESULT_LATE
        state = plan.steps[offer.step_id]
        reason = reason or (Reason.RESULT_LATE if state.status is StepStatus.AMBIGUOUS else Reason.RESULT_TAKEN)
        kept = state.snapshot()
        kept.fresh, kept.commitments = {}, {}
        if kept.manifest is not None:
            kept.result = returned
            await stage.settle(plan, kept, pipeline.hands, pipeline.scanner)
        draft = EntryDraft(
            EntryType.RESULT_REFUSED,
            plan.plan.tenant,
            context_id=plan.plan.context_id,
            plan_id=plan.plan.plan_id,
            step_id=state.step.id,
            principal=plan.plan.principal.pseudonym,
            hand=state.names[0],
            action=state.names[1],
            reasons=(str(reason),),
            manifest_digest=state.manifest_digest,
            facts={"step_jti": offer.step_jti, "claimant": offer.claimant or ""},
            fields=kept.fresh,
            commitments={"plan": plan.commitment},
        )
        try:
            await pipeline.log.append(Append([draft], (), [pipeline.offers.guard(offer.step_jti, Move.LATE)]))
        except HandrailError as error:
            if error.reason is not Reason.REQUEST_CONFLICT:
                raise
        return reason
