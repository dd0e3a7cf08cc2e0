"""Step 7: the call itself. The decision, the credential and the intent are durable by now. What is tried again, the
hand's guard decides (``hand_adapters.resilience``); that it is, goes on record first (``stages.attempts``).
"""

from dataclasses import replace
from functools import partial

import structlog

from gateway.calls import HandCall, Progress, Relay
from gateway.conversations import Conversations
from gateway.errors import HandrailError
from gateway.halts import Halted, Halts
from gateway.manifest import Oversize, PersonalData
from gateway.model import StepStatus
from gateway.ports import HandFailure, Runs
from gateway.reasons import Reason
from gateway.stages.attempts import Attempts
from gateway.stages.standing import concern
from gateway.state import PlanState, StepState

_log = structlog.get_logger("handrail.dispatch")


async def dispatch(
    plan: PlanState,
    state: StepState,
    hands: Runs,
    attempts: Attempts,
    halts: Halts,
    conversations: Conversations,
    relay: Relay | None = None,
) -> None:
    """Run the step on its hand. Sets ``result``, or ends the step as ``failed`` or ``ambiguous``; as ``cancelled``
    where a freeze came after the record of its intent, or its client took it back, and surely before the hand acted.
    Sets ``attempts``.
    """
    if state.manifest is None or state.args is None or state.decision is None:
        raise RuntimeError("only a decided step is dispatched")
    duties = state.decision.obligations
    progress = Progress()
    call = HandCall(
        tenant=plan.plan.tenant,
        principal_id=plan.plan.principal.id,
        subject=plan.plan.principal.pseudonym,
        context_id=plan.plan.context_id,
        plan_id=plan.plan.plan_id,
        step_id=state.step.id,
        hand=state.step.hand,
        action=state.step.action,
        args=state.args,
        args_bytes=state.args_bytes,
        credential=state.credential,
        secrets_named=state.secrets_named,
        manifest_digest=state.manifest.digest,
        deadline_seconds=deadline_seconds(state),
        result_max_bytes=result_limit(state),
        truncates=truncates(state),
        jail_profile=duties.jail_profile,
        egress_hosts=duties.egress_hosts,
        idempotency_key=state.step.idempotency_key,
        prove=partial(attempts.credentials.prove, state.credential),
        renew=partial(attempts.renew, plan, state),
        progress=progress,
        conversation=conversations.of(plan.plan.plan_id),
        carried=conversations.carries(plan.plan.plan_id),
        relay=None if rewrites(state) else relay,
    )
    state.credential = ""
    if not _confined(state, hands, duties.jail_profile):
        return
    try:
        state.result = await halts.run(concern(plan, state), partial(hands.run, call))
        progress.attempts = state.result.attempts
    except Halted as halted:
        if not halted.begun:
            progress.attempts = 0
        acted = halted.begun and not progress.unsent
        status = StepStatus.AMBIGUOUS if acted else StepStatus.CANCELLED
        if halted.freeze is None:
            state.fail(status, halted.reason)
        else:
            state.fail(status, Reason.FREEZE_ACTIVE, freeze=halted.freeze.id, scope=str(halted.freeze.scope))
    except HandrailError as error:
        failure = getattr(error, "failure", HandFailure.UNKNOWN)
        status = StepStatus.AMBIGUOUS if failure is HandFailure.UNKNOWN else StepStatus.FAILED
        if error.reason is Reason.FREEZE_ACTIVE and progress.unsent:
            status = StepStatus.CANCELLED
        if error.reason is Reason.HAND_CANCELLED and failure is HandFailure.NOT_EXECUTED:
            status = StepStatus.CANCELLED
        state.fail(status, error.reason, **error.facts)
    except Exception:  # noqa: BLE001
        # An adapter of a third party may raise anything. Whether its tool acted, nobody can tell.
        _log.exception("adapter raised", hand=state.step.hand, action=state.step.action)
        state.fail(StepStatus.AMBIGUOUS, Reason.HAND_LOST_REPLY)
    finally:
        state.attempts = progress.attempts
    if state.error is not None:
        state.error = replace(state.error, facts={**state.error.facts, **state.tried()})


def _confined(state: StepState, hands: Runs, profile: str | None) -> bool:
    """Name the jail that the step runs in. Where policy asks for a profile that there is not, or of a hand that runs in
    no jail here, the step fails and nothing runs."""
    try:
        state.jail = hands.confinement(state.step.hand, profile)
    except HandrailError as error:
        state.fail(StepStatus.FAILED, error.reason if profile is None else Reason.POLICY_OBLIGATION)
        return False
    if profile is not None and state.jail is None:
        state.fail(StepStatus.FAILED, Reason.POLICY_OBLIGATION)
        return False
    return True


def deadline_seconds(state: StepState) -> float:
    """How long the step's call may take: the manifest's limit or the decision's, whichever is narrower."""
    if state.manifest is None or state.decision is None:
        raise RuntimeError("only a decided step has a deadline")
    limit = state.manifest.actions[state.step.action].deadline_seconds
    return min(limit, state.decision.obligations.deadline_seconds or limit)


def result_limit(state: StepState) -> int:
    """Bytes that the step's result may have: the manifest's limit or the decision's, whichever is narrower."""
    if state.manifest is None or state.decision is None:
        raise RuntimeError("only a decided step has a result")
    limit = state.manifest.actions[state.step.action].result_max_bytes
    return min(limit, state.decision.obligations.result_max_bytes or limit)


def rewrites(state: StepState) -> bool:
    """Whether something is taken out of the step's result, so that nobody may see it as it comes."""
    if state.manifest is None or state.decision is None:
        raise RuntimeError("only a decided step has a result")
    duties = state.decision.obligations
    mode = state.manifest.actions[state.step.action].personal_data
    return bool(duties.redact or duties.redact_personal) or mode is PersonalData.REDACT


def truncates(state: StepState) -> bool:
    """Whether text of its result over :func:`result_limit` is cut, instead of failing it."""
    return state.manifest is not None and state.manifest.actions[state.step.action].oversize is Oversize.TRUNCATE
