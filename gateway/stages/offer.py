"""Steps of remote hands: let go like any other, and then offered instead of dispatched."""

from gateway.model import StepStatus
from gateway.reasons import Reason
from gateway.state import PlanState, StepState


def remote(state: StepState) -> bool:
    """Whether the step's hand comes for it itself."""
    return state.manifest is not None and state.manifest.remote


def unfit(plan: PlanState) -> list[StepState]:
    """End steps that policy lets go in a jail alone: a remote hand runs in none of ours."""
    ended = []
    for state in plan:
        if remote(state) and plan.ready(state) and state.decision and state.decision.obligations.jail_profile:
            state.fail(StepStatus.FAILED, Reason.POLICY_OBLIGATION)
            ended.append(state)
    return ended
