"""What a step leaves behind in the account of its context: that it was judged, what it changes, who has read it."""

from collections.abc import Sequence

from gateway.manifest import SideEffects, Trust
from gateway.policy.accounts import ContextAccount, PastStep
from gateway.policy.memory import Origin, Source
from gateway.policy.recall import approve, asks, hear, public, tell_heard, trust
from gateway.state import PlanState, StepState


def written(context: ContextAccount, plan: PlanState, index: int) -> None:
    """Note that this process wrote about a context, and that its memory takes that in now."""
    context.unrecorded.discard(plan.plan.plan_id)
    context.newest = max(context.newest, index)
    if plan.plan.run is not None:
        context.runs.add(plan.plan.plan_id)  # of which another gateway may let a step go
    if index < context.as_of:
        context.torn = True  # what others wrote later is in there already


def judged(context: ContextAccount, plan: PlanState, judged: Sequence[StepState], now: float) -> None:
    """Take what was judged into a context's history."""
    for state in judged:
        if state.decision is not None:
            effect, status = str(state.decision.effect), str(state.status)
            past = PastStep(*state.names, effect, side_effects(state), status, now)
            context.note((plan.plan.plan_id, state.step.id), past, final=state.status.final)


def let_go(context: ContextAccount, plan: PlanState, state: StepState) -> int:
    """Remember what a person approved of a step that was let go, and what a model is told by it. Returns the bytes that
    are kept."""
    key = (plan.plan.plan_id, state.step.id)
    if state.approved and state.args is not None:
        origin = Origin(Source.APPROVED, *key, *state.names, side_effects=side_effects(state))
        approve(context.memory, state.args, state.manifest, origin)
    if plan.plan.run is not None or not asks(state.manifest, state.step.action):
        return 0
    tell_heard(context, state.names)
    return 0 if state.args is None else hear(context.memory, state.args, key, state.names)


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
