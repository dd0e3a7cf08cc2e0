"""People's answers to held steps: what is shown, who may answer, and how an answer sets a plan going again.

Nothing that a requester or its client says counts as an approval (invariant 9), and what was approved is what runs
(invariant 4): the binding is computed afresh from the record at the moment of the answer, never taken from the request.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from gateway.approvals.views import view
from gateway.commitments import commit, subject_key
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Malformed, Refused, Unavailable
from gateway.evaluation import FIELD as EVALUATION
from gateway.freeze import refusal
from gateway.model import Answer, ApprovalStatus, Attestation, Binding, PlanStatus, Principal, Role, StepStatus
from gateway.pipeline import Pipeline
from gateway.plan_locks import PlanLocks
from gateway.ports import Append, ApprovalRow, Purpose, Typ, Write
from gateway.questions import Approval
from gateway.reasons import Reason
from gateway.stages import approval, refused, standing
from gateway.state import PlanState, StepState
from gateway.webauthn import Assertion, RelyingParty, SecurityKey, relying_party

_log = structlog.get_logger("handrail.approvals")

PAGE_DEFAULT: Final = 20
PAGE_MAX: Final = 100
"""Requests on one page; each is shown with its exact call, so each costs the reading and opening of a plan."""


@dataclass(slots=True)
class Approvals:
    """Approval requests of one gateway."""

    pipeline: Pipeline
    locks: PlanLocks

    async def list(
        self,
        viewer: Principal,
        status: ApprovalStatus | None = None,
        *,
        after: str | None = None,
        limit: int = PAGE_DEFAULT,
    ) -> dict[str, Any]:
        """A page of the tenant's requests, newest first: ``{approvals, next}``.

        Args:
            status: only those in this state; ``None`` for all.
            after: ``next`` of the page before.

        Raises:
            Refused: ``request.malformed`` where ``after`` is no request of the tenant.
        """
        store = self.pipeline.store
        rows = await store.approvals(viewer.tenant, status, viewer.hands, after=after, limit=limit + 1)
        more, rows = len(rows) > limit, rows[:limit]
        plans = {plan_id: await self._plan(plan_id) for plan_id in {row.plan_id for row in rows}}
        names = await self._names(rows)
        return {
            "approvals": [view(row, plans[row.plan_id], names, viewer) for row in rows],
            "next": rows[-1].request.approval_id if more else None,
        }

    async def show(self, approval_id: str, viewer: Principal) -> dict[str, Any]:
        """One request.

        Raises:
            Refused: ``request.not_found``.
        """
        row = await self._row(approval_id, viewer)
        return await self._view(row, viewer)

    async def look(self, approval_id: str, viewer: Principal) -> tuple[dict[str, Any], Reason | None]:
        """One request, and why the viewer may not answer it; ``None`` where they may.

        Raises:
            Refused: ``request.not_found``.
        """
        row = await self._row(approval_id, viewer)
        shown = await self._view(row, viewer)
        try:
            approval.check_approver(row, viewer, self.pipeline.clock())
        except Refused as refusal:
            return shown, refusal.reason
        return shown, None

    async def of(self, tenant: str, approval_id: str) -> dict[str, Any]:
        """One request for the gateway's own use, as :meth:`show` shows it.

        Raises:
            Refused: ``request.not_found``.
        """
        row = await self.pipeline.store.approval(approval_id)
        if row is None or row.tenant != tenant:
            raise Refused(Reason.REQUEST_NOT_FOUND)
        return await self._view(row, None)

    async def challenge(self, approval_id: str, approver: Principal, answer: Answer) -> tuple[bytes, Sequence[str]]:
        """What the approver's security key is to sign the SHA-256 of, and the ids of the keys that may.

        Raises:
            Refused: ``approval.*``, as :meth:`answer`; ``approval.key`` where the person has no security key here.
        """
        pipeline = self.pipeline
        row = await self._row(approval_id, approver)
        now = pipeline.clock()
        approval.check_approver(row, approver, now)
        party = self.party
        enrolled = await pipeline.directory.security_keys(row.tenant, approver.pseudonym)
        keys = [key.credential_id for key in enrolled if party is not None and key.rp_id == party.id]
        if not keys:
            raise Refused(Reason.APPROVAL_KEY, "no security key is enrolled here")
        state = (await pipeline.load(row.plan_id)).steps[row.step_id]
        if state.status is not StepStatus.HELD or state.approval_id != approval_id or state.args is None:
            raise Refused(Reason.APPROVAL_CLOSED)
        binding = state.approval_binding(row.tenant, row.plan_id)
        said = approval.payload(row, approver, binding, answer, audience=pipeline.log.origin, now=now)
        return said, keys

    @property
    def party(self) -> RelyingParty | None:
        """The site for whose pages people enrol security keys."""
        return relying_party(self.pipeline.settings.server.public_url)

    async def answer(
        self,
        approval_id: str,
        approver: Principal,
        *,
        answer: Answer | None = None,
        asked: int | None = None,
        signed: bytes | None = None,
        asserted: Assertion | None = None,
    ) -> dict[str, Any]:
        """Take one person's answer.

        Args:
            answer: to be attested by the gateway, to the asking ``asked`` where it is given; or
            signed: an ``approval+jws`` by the approver's enrolled key; or
            asserted: what one of the approver's security keys signed, over what :meth:`challenge` gave.

        Raises:
            Refused: ``approval.*``; ``approval.voided`` where policy or hand changed since: the call is judged anew,
                and people are asked again where it still takes one.
            Unavailable: ``log.unavailable``; the answer does not count.
        """
        plan_id = (await self._row(approval_id, approver)).plan_id
        async with self.locks.of(plan_id):
            await self._answer(approval_id, approver, _Said(answer, signed, asserted, asked))
        return await self.show(approval_id, approver)

    async def _answer(self, approval_id: str, approver: Principal, said: "_Said") -> None:
        pipeline = self.pipeline
        now = pipeline.clock()
        row = await self._row(approval_id, approver)
        approval.check_approver(row, approver, now)
        plan = await pipeline.load(row.plan_id)
        state = plan.steps[row.step_id]
        await self._check_frozen(plan, state, approver)
        if state.status is not StepStatus.HELD or state.approval_id != approval_id:
            raise Refused(Reason.APPROVAL_CLOSED)
        self._check_drift(plan, state, row)
        if state.args is None or state.forgotten:
            pipeline.resume(plan)  # which ends there
            raise Refused(Reason.APPROVAL_VOIDED, "what was to be approved was erased")
        since = now - pipeline.settings.plans.approval_ttl_seconds
        if await refused.request(plan, state, pipeline.store, pipeline.load, since) is not None:
            pipeline.resume(plan)
            raise Refused(Reason.APPROVAL_VOIDED, "the same call was refused")
        given = await self._verified(said, row, approver, state.approval_binding(row.tenant, row.plan_id), now)
        await self._record(plan, state, row, approver, given)

    def _check_drift(self, plan: PlanState, state: StepState, row: ApprovalRow) -> None:
        """Whether what the row asks is what the step waits for now, and policy and hand are still as they were."""
        pipeline = self.pipeline
        asking = (row.request.approval_id, row.asked, row.evaluation)
        if asking != (state.approval_id, state.asked, state.commitments.get(EVALUATION, "")):
            raise Refused(Reason.APPROVAL_MISMATCH, "it was asked anew meanwhile")
        manifest = pipeline.hands.manifest(row.tenant, state.step.hand)
        decision = state.decision
        stands = (
            decision is not None
            and decision.policy_digest == row.policy_digest
            and pipeline.engine.stands(row.tenant, plan.plan.principal.id, row.hand, decision)
        )
        try:
            approval.check_drift(row, stands=stands, manifest_digest=None if manifest is None else manifest.digest)
        except Refused:
            # Where the hand changed, the plan itself has the step judged anew, as it would before any dispatch. Where
            # the policy did, that is for ``gateway.approvals.upkeep``, at the gateway that takes the plan forward: this
            # one may still hold an older bundle.
            if stands:
                pipeline.resume(plan)
            raise

    async def _check_frozen(self, plan: PlanState, state: StepState, approver: Principal) -> None:
        """Neither does somebody who is frozen answer, nor is there an answer to what was frozen since it was asked.

        Raises:
            Refused: ``freeze.active``.
            Unavailable: it cannot be known what is frozen.
        """
        frozen = await self.pipeline.freezes.current()
        frozen.check_acts(approver)
        found = frozen.stopping(standing.concern(plan, state))
        if found is not None:
            self.pipeline.resume(plan)
            raise refusal(found)

    async def _verified(
        self, said: "_Said", row: ApprovalRow, approver: Principal, binding: Binding, now: float
    ) -> "_Given":
        """What the person said, with whatever vouches for it checked or made."""
        pipeline, audience = self.pipeline, self.pipeline.log.origin
        if said.signed is not None:
            answer = approval.verify_answer(
                said.signed, row, approver, binding, pipeline.jws, audience=audience, now=now
            )
            return _Given(answer, Attestation.APPROVER, said.signed)
        if said.asserted is not None:
            keys = await pipeline.directory.security_keys(row.tenant, approver.pseudonym)
            answer, key, count = approval.verify_assertion(
                said.asserted, row, approver, binding, keys, party=self.party, audience=audience, now=now
            )
            counted = await pipeline.directory.used(row.tenant, key, count)
            return _Given(answer, Attestation.WEBAUTHN, said.asserted.document(), [counted])
        if said.asked not in {None, row.asked}:
            raise Refused(Reason.APPROVAL_MISMATCH, "it was asked anew meanwhile")
        if said.answer is None:
            raise Malformed("no answer", pointer="/answer", expected="approve or refuse")
        payload = approval.attestation(row, approver, binding, said.answer, audience=audience, now=now)
        # In a thread, because the key may be in a service.
        proof = await asyncio.to_thread(pipeline.signer.sign, Purpose.APPROVAL, Typ.APPROVAL, payload)
        return _Given(said.answer, Attestation.GATEWAY, proof.encode("ascii"))

    async def _record(
        self,
        plan: PlanState,
        state: StepState,
        row: ApprovalRow,
        approver: Principal,
        given: "_Given",
    ) -> None:
        pipeline = self.pipeline
        answer, attested_by = given.answer, given.attested_by
        now = pipeline.clock()
        granted = 1 + await self._standing_answers(row, state.approval_binding(row.tenant, row.plan_id))
        committed = commit(given.proof, subject_key(row.tenant, approver.id, "@approvals"))
        draft = EntryDraft(
            EntryType.APPROVAL_GRANTED if answer is Answer.APPROVE else EntryType.APPROVAL_REFUSED,
            row.tenant,
            context_id=plan.plan.context_id,
            plan_id=row.plan_id,
            step_id=row.step_id,
            principal=approver.pseudonym,
            hand=state.step.hand,
            action=state.step.action,
            policy_digest=row.policy_digest,
            manifest_digest=row.manifest_digest,
            facts={"attested_by": str(attested_by), "quorum": row.request.quorum, "asked": row.asked},
            fields={"answer": committed},
            commitments={"plan": plan.commitment, **state.commitments},
        )
        guards = [
            pipeline.store.insert_answer(
                row.request.approval_id, row.asked, approver, answer, attested_by, committed.commitment, now
            )
        ]
        complete = answer is Answer.REFUSE or granted >= row.request.quorum
        status = ApprovalStatus.REFUSED if answer is Answer.REFUSE else ApprovalStatus.GRANTED
        writes = list(given.writes)
        if complete:
            guards.append(pipeline.store.asking_guard(row.request.approval_id, row.asked, answered=True))
            writes += [
                pipeline.store.approval_status(row.request.approval_id, status),
                *pipeline.store.notices(row.tenant, row.request.approval_id, status, now),
            ]
        # The plan may have gone on since it was looked at. From here to the record it does not: see ``answering``.
        self._check_drift(plan, state, row)
        if state.status is not StepStatus.HELD or state.answering:
            raise Refused(Reason.APPROVAL_CLOSED)
        state.answering = True
        try:
            if answer is Answer.APPROVE:
                if complete:
                    # Found again as `running` after a crash right here, the plan is taken up with its answer.
                    writes.append(pipeline.store.plan_status(plan, PlanStatus.RUNNING))
                await pipeline.log.append(Append([draft], writes, guards))
            else:
                ending = state.begin_ending()
                ending.fail(StepStatus.DENIED, Reason.APPROVAL_REFUSED)
                await pipeline.recorder.outcome(plan, state, ending, now, refusal=Append([draft], writes, guards))
        except Unavailable:
            pipeline.stalled.add(row.plan_id)
            raise
        finally:
            state.answering = False
        if answer is Answer.APPROVE:
            state.approvals = (*state.approvals, Approval(approver.pseudonym, attested_by))
            state.approved = complete
        else:
            pipeline.followers.announce(plan, [state])
        if complete:
            pipeline.resume(plan)
        if answer is Answer.REFUSE:
            await self._end_same(plan, state)

    async def _end_same(self, plan: PlanState, state: StepState) -> None:
        """Have the plans looked at in which people are asked about the same call: what was refused here ends there."""
        pipeline = self.pipeline
        try:
            for plan_id in await pipeline.store.waiting(plan, state):
                pipeline.resume(await pipeline.load(plan_id))
        except HandrailError as error:
            # The answer is on record. They end when they are looked at next, and nobody can approve them meanwhile.
            _log.warning("the same calls wait on", plan_id=plan.plan.plan_id, reason=str(error.reason))

    async def _standing_answers(self, row: ApprovalRow, binding: Binding) -> int:
        """How many earlier approvals still count: those of people who may still give them, whose proof still holds (a
        security key may have been revoked since)."""
        pipeline = self.pipeline
        frozen = await pipeline.freezes.current()
        given = [answer for answer in row.answers if answer.answer is Answer.APPROVE]
        proofs = await pipeline.payloads.open([answer.commitment for answer in given]) if given else {}
        counted = 0
        for answer in given:
            keys: Sequence[SecurityKey] = ()
            if answer.attested_by is Attestation.WEBAUTHN:
                keys = await pipeline.directory.security_keys(row.tenant, answer.approver)
            try:
                person = await pipeline.directory.person(row.tenant, answer.approver)
                _, proof = proofs.get(answer.commitment, (b"", b""))
                approval.check_proof(
                    proof,
                    answer,
                    row,
                    person,
                    binding,
                    keys,
                    jws=pipeline.jws,
                    signer=pipeline.signer,
                    audience=pipeline.log.origin,
                )
                if frozen.ever_on(row.tenant, person.pseudonym):
                    index, _ = await pipeline.log.committing(row.plan_id, answer.commitment)
                    if frozen.voids_answer(row.tenant, person.pseudonym, index):
                        continue
            except Refused:
                continue
            counted += approval.may_answer(row, person)
        return counted

    async def _row(self, approval_id: str, viewer: Principal) -> ApprovalRow:
        row = await self.pipeline.store.approval(approval_id)
        if row is None or row.tenant != viewer.tenant or not viewer.may_use(row.hand):
            raise Refused(Reason.REQUEST_NOT_FOUND)
        if Role.APPROVER not in viewer.roles and Role.AUDITOR not in viewer.roles:
            raise Refused(Reason.AUTH_FORBIDDEN)
        return row

    async def _view(self, row: ApprovalRow, viewer: Principal | None) -> dict[str, Any]:
        return view(row, await self._plan(row.plan_id), await self._names([row]), viewer)

    async def _names(self, rows: Sequence[ApprovalRow]) -> Mapping[str, str]:
        """Pseudonym -> id of everybody whom the rows, all of one tenant, name."""
        people = {name for row in rows for name in (row.principal, row.caller)}
        people |= {answer.approver for row in rows for answer in (*row.answers, *row.void_answers)}
        return await self.pipeline.directory.names(rows[0].tenant, people) if rows else {}

    async def _plan(self, plan_id: str) -> PlanState | None:
        try:
            return await self.pipeline.load(plan_id)
        except HandrailError:
            _log.warning("an approval's plan cannot be read", plan_id=plan_id)
            return None


@dataclass(frozen=True, slots=True)
class _Said:
    """One of three ways in which a person answers."""

    answer: Answer | None
    signed: bytes | None
    asserted: Assertion | None
    asked: int | None


@dataclass(frozen=True, slots=True)
class _Given:
    """An answer with its proof, and the rows that must be written with it."""

    answer: Answer
    attested_by: Attestation
    proof: bytes
    writes: Sequence[Write] = ()
