"""Step 5: a step that the policy wants a person to look at is held until the quorum answered for that exact call."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway import webauthn
from gateway.canonical import canonical, parse
from gateway.errors import Refused, Unavailable
from gateway.model import (
    Answer,
    ApprovalRequest,
    ApprovalStatus,
    Attestation,
    Binding,
    Decision,
    Effect,
    Principal,
    Role,
    StepStatus,
)
from gateway.ports import ApprovalAnswer, ApprovalRow, Purpose, Signer, Typ
from gateway.questions import Question
from gateway.reasons import Reason
from gateway.settings import PlanSettings
from gateway.stages.verify import Jws
from gateway.state import PlanState, StepState
from gateway.webauthn import Assertion, RelyingParty, SecurityKey

ANSWER_SECONDS = 300
"""Longest life of a signed answer."""
SKEW_SECONDS = 5
ANSWER_MEMBERS = frozenset({"v", "approval_id", "answer", "binding", "approver", "aud", "iat", "exp", "jti"})


def asks(state: StepState) -> Decision | None:
    """The decision by which a step is to be held; ``None`` where it is not."""
    decision = state.decision
    held = decision is not None and decision.effect is Effect.ASK and state.status is StepStatus.DEFERRED
    return decision if held else None


def hold(states: Sequence[StepState], limits: PlanSettings, now: float) -> dict[str, ApprovalRequest]:
    """Hold every step among ``states`` whose decision is ``ask``.

    Returns:
        Step id -> the request to record. Nothing is open before it is on record.
    """
    requests: dict[str, ApprovalRequest] = {}
    for state in states:
        decision = asks(state)
        if decision is None:
            continue
        duties = decision.obligations
        request = ApprovalRequest(
            approval_id=secrets.token_hex(16),
            approver_role=str(duties.approver_role or Role.APPROVER),
            quorum=duties.quorum or 1,
            enrolled_key=bool(duties.enrolled_key),
            requested_at=now,
            expires_at=now + limits.approval_ttl_seconds,
        )
        state.status = StepStatus.HELD
        state.wait_for(request, asked=1)
        requests[state.step.id] = request
    return requests


def rebind(
    plan: PlanState, requests: dict[str, ApprovalRequest], outdated: Mapping[str, Question]
) -> dict[str, Question]:
    """Leave a request open whose question is the same under the new policy: its id, its time to be approved and its
    links stay. The answers to it are void, because they were given under another bundle, and are asked for again.

    Args:
        requests: of :func:`hold`; those that an older request takes the place of are taken out.
        outdated: of ``standing.outdated``.

    Returns:
        Step id -> the question that is asked anew.
    """
    rebound: dict[str, Question] = {}
    for name in list(requests):
        question, state = outdated.get(name), plan.steps[name]
        if question is None or question.request is None:
            continue
        if not question.asks_the_same(state.decision, state.manifest_digest, state.args_sha256):
            continue
        del requests[name]
        state.wait_for(question.request, asked=question.asked + 1)
        rebound[name] = question
    return rebound


def fit(plan: PlanState, requests: dict[str, ApprovalRequest], room: int, limit: int) -> None:
    """Open no more requests than there is room for. Of a plan that is on record, what does not fit is denied.

    Args:
        requests: of :func:`hold`; those that do not fit are taken out.

    Raises:
        Unavailable: ``limit.approvals`` for a plan that is not on record yet; it may be sent again.
    """
    if len(requests) <= room:
        return
    if plan.log_index is None:
        raise Unavailable(Reason.LIMIT_APPROVALS, limit=limit)
    for name in list(requests)[room:]:
        del requests[name]
        plan.steps[name].approval_id = None
        plan.steps[name].fail(StepStatus.DENIED, Reason.LIMIT_APPROVALS, limit=limit)


def check_approver(row: ApprovalRow, approver: Principal, now: float) -> None:
    """Whether this person may answer this request now.

    Raises:
        Refused: ``approval.closed``, ``approval.expired``, ``approval.voided`` (with the request's ``state``, and the
            ``successor`` of one that was voided), ``approval.self`` or ``approval.role``.
    """
    if row.tenant != approver.tenant or not approver.may_use(row.hand):
        raise Refused(Reason.REQUEST_NOT_FOUND)
    if row.status is not ApprovalStatus.OPEN:
        raise Refused(_ENDED.get(row.status, Reason.APPROVAL_CLOSED), **_end(row))
    if now >= row.request.expires_at:
        raise Refused(Reason.APPROVAL_EXPIRED)
    if approver.pseudonym in {row.principal, row.caller}:
        raise Refused(Reason.APPROVAL_SELF)
    if not may_answer(row, approver):
        raise Refused(Reason.APPROVAL_ROLE, role=row.request.approver_role)
    if any(answer.approver == approver.pseudonym for answer in row.answers):
        approved = sum(answer.answer is Answer.APPROVE for answer in row.answers)
        raise Refused(
            Reason.APPROVAL_CLOSED,
            "answered twice by one person",
            state=str(row.status),
            approvals=approved,
            quorum=row.request.quorum,
        )


_ENDED: Final = {
    ApprovalStatus.EXPIRED: Reason.APPROVAL_EXPIRED,
    ApprovalStatus.VOIDED: Reason.APPROVAL_VOIDED,
}


def _end(row: ApprovalRow) -> dict[str, str]:
    """How a request ended, as a refusal says it."""
    return {"state": str(row.status)} | ({} if row.successor is None else {"successor": row.successor})


def may_answer(row: ApprovalRow, approver: Principal) -> bool:
    """Whether the person's roles and hands are those that the request asks for.

    A principal that may ask for steps answers none, not even those of others: an agent's client holds its API key, so
    nobody could tell the person's answer from the client's (invariant 9).
    """
    wanted = row.request.approver_role in {str(role) for role in approver.roles}
    return wanted and Role.AGENT not in approver.roles and approver.may_use(row.hand)


def check_drift(row: ApprovalRow, *, stands: bool, manifest_digest: str | None) -> None:
    """Whether the policy and the hand are still those that the request names.

    Args:
        stands: whether the decision to ask would be made the same way now.

    Raises:
        Refused: ``approval.voided``.
    """
    if not stands or row.manifest_digest != manifest_digest:
        raise Refused(Reason.APPROVAL_VOIDED)


def verify_answer(
    signed: bytes, row: ApprovalRow, approver: Principal, binding: Binding, jws: Jws, *, audience: str, now: float
) -> Answer:
    """Verify an ``approval+jws`` by the approver's enrolled key over exactly this call.

    Raises:
        Refused: ``approval.key`` for another key, ``approval.mismatch`` for another call, person or gateway,
            ``verify.*`` for a faulty JWS or times.
    """
    claims = _claims(signed, jws, _enrolled(approver))
    _check_times(claims, now)
    return _match(claims, row, approver.id, binding, audience)


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    issued, expires = claims["iat"], claims["exp"]
    if type(issued) is not int or type(expires) is not int or not 0 < expires - issued <= ANSWER_SECONDS:
        raise Refused(Reason.VERIFY_LIFETIME, limit_seconds=ANSWER_SECONDS)
    if issued > now + SKEW_SECONDS:
        raise Refused(Reason.VERIFY_NOT_YET_VALID)
    if expires <= now - SKEW_SECONDS:
        raise Refused(Reason.VERIFY_EXPIRED)


def verify_assertion(
    assertion: Assertion,
    row: ApprovalRow,
    approver: Principal,
    binding: Binding,
    keys: Sequence[SecurityKey],
    *,
    party: RelyingParty | None,
    audience: str,
    now: float,
) -> tuple[Answer, SecurityKey, int]:
    """Verify an answer that one of the approver's security keys signed over exactly this call.

    Returns:
        The answer, the key, and the key's counter, to be kept with the record.

    Raises:
        Refused: as :func:`verify_answer`; ``approval.key`` also for a counter that did not grow.
    """
    if party is None:
        raise Refused(Reason.APPROVAL_KEY, "the gateway has no name for security keys")
    key = _own_key(assertion, keys)
    count = webauthn.verify_assertion(assertion, key, origin=party.origin)
    webauthn.check_counter(key, count)
    claims = _members(parse(assertion.payload))
    _check_times(claims, now)
    return _match(claims, row, approver.id, binding, audience), key, count


def _own_key(assertion: Assertion, keys: Sequence[SecurityKey]) -> SecurityKey:
    for key in keys:
        if key.credential_id == assertion.credential_id:
            return key
    raise Refused(Reason.APPROVAL_KEY, "not an enrolled security key")


def check_proof(
    proof: bytes,
    answer: ApprovalAnswer,
    row: ApprovalRow,
    approver: Principal,
    binding: Binding,
    keys: Sequence[SecurityKey],
    *,
    jws: Jws,
    signer: Signer,
    audience: str,
) -> None:
    """Hold a recorded approval against its own signature: a row alone approves nothing.

    Args:
        keys: the approver's security keys as they are now.

    Raises:
        Refused: it is not an approval of exactly this call by this person.
    """
    if answer.attested_by is Attestation.WEBAUTHN:
        assertion = Assertion.from_document(proof)
        webauthn.verify_assertion(assertion, _own_key(assertion, keys), origin=None)
        claims = _members(parse(assertion.payload))
        if _match(claims, row, approver.id, binding, audience) is not Answer.APPROVE:
            raise Refused(Reason.APPROVAL_MISMATCH, "answer")
        return
    if answer.attested_by is Attestation.GATEWAY and row.request.enrolled_key:
        raise Refused(Reason.APPROVAL_KEY, "the policy wants an enrolled key")
    key_for = _enrolled(approver)
    if answer.attested_by is Attestation.GATEWAY:
        published = {key["kid"]: key for key in signer.jwks()["keys"] if key["purpose"] == Purpose.APPROVAL}
        key_for = published.__getitem__
    if _match(_claims(proof, jws, key_for), row, approver.id, binding, audience) is not Answer.APPROVE:
        raise Refused(Reason.APPROVAL_MISMATCH, "answer")


def _enrolled(approver: Principal) -> Callable[[str], Mapping[str, str]]:
    def key_for(kid: str) -> Mapping[str, str]:
        if approver.approval_jwk is None or kid != approver.approval_jwk["kid"]:
            raise Refused(Reason.APPROVAL_KEY, "not the enrolled key")
        return approver.approval_jwk

    return key_for


def _claims(signed: bytes, jws: Jws, key_for: Callable[[str], Mapping[str, str]]) -> dict[str, Any]:
    return _members(parse(jws.verify(signed, Typ.APPROVAL, key_for).payload))


def _members(claims: Any) -> dict[str, Any]:
    if not isinstance(claims, dict) or claims.keys() != ANSWER_MEMBERS or claims["v"] != 1:
        raise Refused(Reason.APPROVAL_MISMATCH, "members")
    return claims


def _match(claims: Mapping[str, Any], row: ApprovalRow, approver_id: str, binding: Binding, audience: str) -> Answer:
    expected: dict[str, Any] = {
        "approval_id": row.request.approval_id,
        "binding": binding.document(),
        "approver": approver_id,
        "aud": audience,
    }
    for member, value in expected.items():
        if claims[member] != value:
            raise Refused(Reason.APPROVAL_MISMATCH, member)
    try:
        return Answer(claims["answer"])
    except ValueError:
        raise Refused(Reason.APPROVAL_MISMATCH, "answer") from None


def attestation(
    row: ApprovalRow, approver: Principal, binding: Binding, answer: Answer, *, audience: str, now: float
) -> bytes:
    """The payload with which the gateway attests an answer that nobody's own key signed.

    A refusal runs nothing, so it needs no key: whoever has none at hand can still stop a call.

    Raises:
        Refused: ``approval.key`` for an approval where policy wants an enrolled key.
    """
    if row.request.enrolled_key and answer is Answer.APPROVE:
        raise Refused(Reason.APPROVAL_KEY, "the policy wants an enrolled key")
    return payload(row, approver, binding, answer, audience=audience, now=now)


def payload(
    row: ApprovalRow, approver: Principal, binding: Binding, answer: Answer, *, audience: str, now: float
) -> bytes:
    """What an answer says, as canonical JSON: what ``approval+jws`` signs, and a security key the SHA-256 of."""
    return canonical(
        {
            "v": 1,
            "approval_id": row.request.approval_id,
            "answer": str(answer),
            "binding": binding.document(),
            "approver": approver.id,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + ANSWER_SECONDS,
            "jti": secrets.token_hex(16),
        }
    )
