"""A plan from its record: rows for the states, the side table for the values. What was erased stays unknown."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from gateway.calls import HandResult
from gateway.canonical import canonical
from gateway.errors import HandrailError, Refused
from gateway.evaluation import FIELD as EVALUATION
from gateway.model import (
    Answer,
    ApprovalStatus,
    Attestation,
    Binding,
    Decision,
    DecisionReason,
    Effect,
    Issuer,
    Obligations,
    Plan,
    Principal,
    Step,
    StepStatus,
)
from gateway.ports import (
    ApprovalAnswer,
    ApprovalRow,
    Directory,
    Hands,
    Payloads,
    StoredPlan,
    StoredReport,
    StoredStep,
)
from gateway.questions import Approval
from gateway.reasons import Reason
from gateway.stages import schema, verify
from gateway.state import PlanState, Reported, StepError, StepState
from gateway.webauthn import SecurityKey

ProofCheck = Callable[[bytes, ApprovalAnswer, ApprovalRow, Principal, Binding, Sequence[SecurityKey]], None]
"""``stages.approval.check_proof`` with the keys that it needs."""


async def revive(
    stored: StoredPlan, payloads: Payloads, directory: Directory, hands: Hands, check: ProofCheck
) -> PlanState:
    """Rebuild the state that the record describes; no step changes by being looked at.

    Rows are believed as far as something that a writer of rows cannot change vouches for them: the exact JWS for what
    was asked; the log for who sent it; a key of the gateway, and the log, for a step's state (``store.plans``); and the
    signed answers themselves for an approval.

    Raises:
        HandrailError: ``gateway.internal`` where the record contradicts itself.
    """
    wanted = {stored.commitment, *(c for step in stored.steps for c in step.commitments.values())}
    wanted |= {step.reported.commitment for step in stored.steps if step.reported is not None}
    wanted |= {answer.commitment for row in stored.approvals for answer in row.answers}
    opened = {name: value for name, (_, value) in (await payloads.open(sorted(wanted))).items()}
    principal = await _principal(directory, stored.tenant, stored.principal)
    caller = await _principal(directory, stored.tenant, stored.caller)
    issuer = Issuer(stored.issuer, stored.tenant, {})
    raw = opened.get(stored.commitment)
    if raw is None:
        plan = _erased(stored, issuer, principal, caller)
        for step in stored.steps:
            opened.pop(step.commitments.get("args", ""), None)  # of others; what was to be done with them is gone
    else:
        known = {step.step_id: opened[step.commitments["args"]] for step in stored.steps if _has_args(step, opened)}
        plan = schema.admit(
            verify.restore(raw, stored.plan_id, issuer, stored.kid, principal, caller, stored.received_at, known),
            steps_max=len(stored.steps),
        )
        if (plan.tenant, plan.context_id) != (stored.tenant, stored.context_id):
            raise HandrailError(Reason.INTERNAL, f"plan {stored.plan_id}: the row contradicts the plan")
    states = {row.step_id: _state(plan.tenant, plan.steps[row.step_id], row, opened, hands) for row in stored.steps}
    for row in stored.approvals:
        state = states[row.step_id]
        if state.approval_id is None or row.status in {ApprovalStatus.OPEN, ApprovalStatus.GRANTED}:
            _check_asking(row, state)
            state.wait_for(row.request, asked=row.asked)
            if state.commitments.get(EVALUATION) not in opened:
                state.request = None  # what it was decided to ask for in full is not known any more
            state.approved = row.status is ApprovalStatus.GRANTED
            proved = []
            for answer in row.answers:
                person = await _principal(directory, stored.tenant, answer.approver)
                keys: Sequence[SecurityKey] = ()
                if answer.attested_by is Attestation.WEBAUTHN:
                    keys = await directory.security_keys(stored.tenant, answer.approver)
                if answer.answer is Answer.APPROVE and _proves(answer, state, row, person, opened, keys, check):
                    proved.append(Approval(person.pseudonym, answer.attested_by))
            state.approvals = tuple(proved)
            if state.approved and len(proved) < row.request.quorum:
                # The row says granted, and the signed answers do not. It is as good as expired.
                state.approval_expires_at = 0.0
    return PlanState(plan, None, stored.commitment, states, stored.log_index)


def _has_args(row: StoredStep, opened: dict[str, bytes]) -> bool:
    return row.commitments.get("args", "") in opened


def _state(tenant: str, step: Step, row: StoredStep, opened: dict[str, bytes], hands: Hands) -> StepState:
    state = StepState(step, StepStatus(row.status))
    state.manifest_digest = row.manifest_digest
    manifest = hands.manifest(tenant, step.hand)
    if manifest is not None and manifest.digest == row.manifest_digest:
        state.manifest = manifest
    state.commitments = dict(row.commitments)
    args = opened.get(row.commitments.get("args", ""))
    if args is not None:
        if step.detached is None and not step.references and canonical(step.args) != args:
            raise HandrailError(Reason.INTERNAL, f"step {step.id}: the record holds other args than the plan")
        schema.put_args(state, orjson.loads(args), args)
    state.decision = _decision(row, opened)
    state.forgotten = state.decision is not None and (row.commitments.get(EVALUATION) not in opened or args is None)
    state.step_jti = row.step_jti
    state.dispatched = row.step_jti is not None
    result = opened.get(row.commitments.get("result", ""))
    if result is not None:
        document = orjson.loads(result)
        state.result = HandResult(tuple(document["content"]), document["structured"], row.status == "failed")
    if row.error is not None:
        facts = {name: value for name, value in row.error.items() if name != "code"}
        state.error = StepError(Reason(row.error["code"]), facts)
    state.personal_data, state.personal_data_taken = row.personal_data
    state.truncated = row.truncated
    state.reported = None if row.reported is None else _reported(row.reported, opened)
    state.receipt = row.receipt
    state.log_index = row.log_index
    return state


def _reported(row: StoredReport, opened: dict[str, bytes]) -> Reported:
    value = opened.get(row.commitment)
    result = None
    if value is not None:
        document = orjson.loads(value)
        result = HandResult(tuple(document["content"]), document["structured"], row.is_error)
    return Reported(row.is_error, row.at, row.log_index, result, *row.personal_data, row.truncated)


def _decision(row: StoredStep, opened: dict[str, bytes]) -> Decision | None:
    if row.effect is None or row.policy_digest is None:
        return None
    reasons = tuple(DecisionReason(code) for code in row.reasons)
    obligations = Obligations()
    evaluation = opened.get(row.commitments.get("evaluation", ""))
    if evaluation is not None:
        document: dict[str, Any] = orjson.loads(evaluation)["decisions"].get(row.step_id, {})
        said = tuple(DecisionReason(reason["code"], reason["message"]) for reason in document.get("reasons", []))
        if tuple(reason.code for reason in said) == row.reasons:
            reasons = said
        obligations = Obligations.from_document(document.get("obligations", {}))
    return Decision(
        row.step_id,
        Effect(row.effect),
        reasons,
        row.policy_digest,
        obligations,
    )


def _check_asking(row: ApprovalRow, state: StepState) -> None:
    """An open or granted request is about the step's own decision. One that is about an earlier decision was put back
    from an older copy: its MAC holds, but answers that are void by now would count again."""
    if row.status in {ApprovalStatus.OPEN, ApprovalStatus.GRANTED} and row.evaluation != state.commitments.get(
        EVALUATION, ""
    ):
        raise HandrailError(Reason.INTERNAL, f"the row of request {row.request.approval_id} was put back")


def _proves(
    answer: ApprovalAnswer,
    state: StepState,
    row: ApprovalRow,
    person: Principal,
    opened: dict[str, bytes],
    keys: Sequence[SecurityKey],
    check: ProofCheck,
) -> bool:
    """Whether the signed answer is there and is an approval of exactly this call."""
    proof = opened.get(answer.commitment)
    if proof is None or state.args is None or state.decision is None:
        return False
    try:
        check(proof, answer, row, person, state.approval_binding(row.tenant, row.plan_id), keys)
    except HandrailError:
        return False
    return True


async def _principal(directory: Directory, tenant: str, pseudonym: str) -> Principal:
    """The principal as it is now; one that is gone has no rights, and one that was erased no id but its pseudonym."""
    try:
        return await directory.person(tenant, pseudonym)
    except Refused:
        known = (await directory.names(tenant, [pseudonym])).get(pseudonym, pseudonym)
        return Principal(known, tenant, pseudonym, frozenset(), frozenset())


def _erased(stored: StoredPlan, issuer: Issuer, principal: Principal, caller: Principal) -> Plan:
    """A plan whose content was erased: its steps are known by name alone, and none of them can still run."""
    return Plan(
        plan_id=stored.plan_id,
        context_id=stored.context_id,
        tenant=stored.tenant,
        issuer=issuer,
        kid=stored.kid,
        principal=principal,
        caller=caller,
        steps={row.step_id: Step(row.step_id, row.hand, row.action, {}) for row in stored.steps},
        jti="",
        expires_at=0,
        received_at=stored.received_at,
        raw=b"",
    )
