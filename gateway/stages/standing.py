"""Before a step runs later than it was asked for: does everything that let it go still hold? (invariant 4)

A plan can wait an hour for a person and a day for a restart. In that time people are revoked, policies change and hands
drift. So every later round asks again before it dispatches anything.
"""

from gateway.errors import Refused
from gateway.freeze import Concern, Freeze, FreezeState
from gateway.model import IssuerKey, Principal, StepStatus
from gateway.ports import Directory, Hands, PolicyEngine
from gateway.questions import Question
from gateway.reasons import Reason
from gateway.state import PlanState, StepError, StepState


async def fallen(
    plan: PlanState, directory: Directory, hands: Hands, frozen: FreezeState, now: float
) -> list[StepState]:
    """End what may no longer run: it is frozen, the subject, the caller or the issuer was revoked or lost the hand
    since the plan came in, the approval grew old, or the args were erased. In a plan's first round only steps on a
    frozen hand fall: a plan that is frozen as a whole does not come in.

    Raises:
        Refused: ``freeze.active`` for a new plan.
    """
    if plan.log_index is None:
        frozen.admit(plan.plan)
        return _on_frozen_hands(plan, hands, frozen)
    people = await _people(plan, directory, now)
    ended = []
    for state in plan:
        if state.status.final or state.dispatched:
            continue
        freeze = frozen.stopping(concern(plan, state))
        if freeze is not None:
            _freeze(plan, state, hands, freeze)
        elif not people or not all(person.may_use(state.step.hand) for person in people):
            state.fail(StepStatus.DENIED, Reason.AUTH_FORBIDDEN)
        elif state.approved and now >= state.approval_expires_at:
            state.fail(StepStatus.EXPIRED, Reason.APPROVAL_EXPIRED)
        elif state.decision is not None and (state.args is None or state.forgotten):
            state.fail(StepStatus.DENIED, Reason.SCHEMA_ERASED)
        else:
            continue
        ended.append(state)
    return ended


async def withdrawn(
    plan: PlanState,
    state: StepState,
    directory: Directory,
    hands: Hands,
    engine: PolicyEngine,
    frozen: FreezeState,
    now: float,
) -> StepError | None:
    """Why a step whose intent is on record may not be sent any more, or not again: what :func:`fallen` and
    :func:`outdated` ask before a dispatch, at the moment when a remote hand claims it, or a call is tried again.
    ``None`` where all holds."""
    freeze = frozen.stopping(concern(plan, state))
    if freeze is not None:
        return StepError(Reason.FREEZE_ACTIVE, {"freeze": freeze.id, "scope": str(freeze.scope)})
    people = await _people(plan, directory, now)
    if not people or not all(person.may_use(state.step.hand) for person in people):
        return StepError(Reason.AUTH_FORBIDDEN)
    if state.approved and now >= state.approval_expires_at:
        return StepError(Reason.APPROVAL_EXPIRED)
    if state.decision is None or state.args is None:
        return StepError(Reason.SCHEMA_ERASED)
    manifest = hands.manifest(plan.plan.tenant, state.step.hand)
    if manifest is None or manifest.digest != state.manifest_digest:
        return StepError(Reason.HAND_DRIFTED)
    if not engine.stands(plan.plan.tenant, plan.plan.principal.id, state.step.hand, state.decision):
        return StepError(Reason.POLICY_OUTDATED)
    return None


def outdated(plan: PlanState, hands: Hands, engine: PolicyEngine) -> dict[str, Question]:
    """Have every decision judged anew that policy or hand have outdated before it was acted on.

    Returns:
        Step id -> what people were asked under it.
    """
    questions: dict[str, Question] = {}
    for state in plan:
        if state.decision is None or state.dispatched or state.status.final or state.answering:
            continue
        manifest = hands.manifest(plan.plan.tenant, state.step.hand)
        digest = None if manifest is None else manifest.digest
        the = plan.plan
        if state.manifest_digest == digest and engine.stands(
            the.tenant, the.principal.id, state.step.hand, state.decision
        ):
            continue
        question = state.question()
        if question is not None:
            questions[state.step.id] = question
        state.rejudge()
    return questions


def concern(plan: PlanState, state: StepState) -> Concern:
    """What a step rests on, as freezes are told: also on everybody who approved it, once it is approved. Until then the
    answers of whoever is frozen do not count."""
    approvers = (one.approver for one in state.approvals) if state.approved else ()
    people = {plan.plan.principal.pseudonym, plan.plan.caller.pseudonym, *approvers}
    return Concern(plan.plan.tenant, people, state.step.hand, plan.plan.context_id, state.log_index)


def _on_frozen_hands(plan: PlanState, hands: Hands, frozen: FreezeState) -> list[StepState]:
    ended = []
    for state in plan:
        freeze = frozen.stopping(concern(plan, state)) if state.decision is None else None
        if freeze is not None:
            _freeze(plan, state, hands, freeze)
            ended.append(state)
    return ended


def _freeze(plan: PlanState, state: StepState, hands: Hands, freeze: Freeze) -> None:
    manifest = hands.manifest(plan.plan.tenant, state.step.hand)
    if state.manifest_digest is None and manifest is not None:
        state.offer(manifest)  # so that the entry names the hand
    state.fail(StepStatus.DENIED, Reason.FREEZE_ACTIVE, freeze=freeze.id, scope=str(freeze.scope))


async def _people(plan: PlanState, directory: Directory, now: float) -> list[Principal]:
    """Subject and caller as they are now; empty where one of them, or the issuer's key, is revoked.

    A key never goes by itself: one that is missing was taken away, or its row was tampered with.
    """
    the = plan.plan
    try:
        key = (await directory.issuer(the.issuer.id, the.tenant)).keys.get(the.kid)
        names = {the.principal.pseudonym, the.caller.pseudonym}
        people = [await directory.person(the.tenant, name) for name in names]
    except Refused:
        return []
    return people if key is not None and _stands(key, plan.log_index, now) else []


def _stands(key: IssuerKey, received: int | None, now: float) -> bool:
    """Whether a plan that the log received at an index is the key owner's: the key is not revoked, or was not in wrong
    hands yet when a checkpoint covered that index."""
    if key.revoked_at is None or now < key.revoked_at:
        return True
    return key.covered_size is not None and received is not None and received < key.covered_size
