"""What a step leaves behind in the account of its context: that it was judged, what it changes, who has read it."""

from collections.abc import Sequence

from gateway.manifest import SideEffects, Trust
from gateway.policy.accounts import ContextAccount, PastStep
from gateway.policy.recall import public, trust
from gateway.state import PlanState, StepState


def written(context: ContextAccount, plan: PlanState, index: int) -> None:
    """Note that this process wrote about a context, and that its memory takes that in now."""
    context.unrecorded.discard(plan.plan.plan_id)
    context.newest = max(context.newest, index)
    if index < context.as_of:
        context.torn = True  # what others wrote later is in there already


def judged(context: ContextAccount, plan: PlanState, judged: Sequence[StepState], now: float) -> None:
    """Take what was judged into a context's history."""
    for state in judged:
        if state.decision is not None:
            effect, status = str(state.decision.effect), str(state.status)
            past = PastStep(*state.names, effect, side_effects(state), status, now)
            context.note((plan.plan.plan_id, state.step.id), past, final=state.status.final)


def read_by_client(context: ContextAccount, released: Sequence[StepState]) -> None:
    """The client has what comes of a released step, whether or not it ever says so."""
    for state in released:
        if untrusted(state):
            context.read(state.names, str(Trust.UNTRUSTED))
        if not public(state.manifest):
            context.read_private(state.names)


def untrusted(state: StepState) -> bool:
    """Whether what comes of a step is somebody's whom the operator does not trust."""
    return trust(state.manifest, state.step.action) is not Trust.TRUSTED


def side_effects(state: StepState) -> str:
    """What a step may change; what is not known any more counts as the worst."""
    if state.manifest is None:
        return str(SideEffects.EXTERNAL)
    return str(state.manifest.actions[state.step.action].side_effects)


def taint(action: tuple[str, str], trust: str) -> dict[str, str]:
    """An action whose results were read, as policies see it."""
    return {"hand": action[0], "action": action[1], "trust": str(trust)}
