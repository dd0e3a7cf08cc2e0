"""Which steps are dead letters, and what a person must say before one is tried again. Pure."""

from typing import Final

from gateway.model import StepStatus
from gateway.reasons import Reason
from gateway.state import StepState

UNREACHED: Final = frozenset(
    {
        Reason.HAND_UNAVAILABLE,
        Reason.HAND_CIRCUIT_OPEN,
        Reason.HAND_BUSY,
        Reason.OVERLOADED,
        Reason.CLAIM_EXPIRED,
        Reason.SECRET_UNAVAILABLE,
        Reason.CONNECTION_UNAVAILABLE,
    }
)
"""Why a step failed although nothing is wrong with it: its hand, or what its hand needs, could not be reached."""


def is_dead(state: StepState) -> bool:
    """Whether an ended step waits for a person: nobody can tell whether it ran, or its hand was not reached."""
    if state.status is StepStatus.AMBIGUOUS:
        return True
    return state.status is StepStatus.FAILED and state.error is not None and state.error.reason in UNREACHED


def may_have_run(state: StepState) -> bool:
    """Whether running a dead letter's call again could be a second run that counts: nobody can tell whether it ran, and
    the manifest that it was decided by, which is still the pinned one, does not say that twice is the same as once.
    """
    if state.status is not StepStatus.AMBIGUOUS:
        return False
    action = None if state.manifest is None else state.manifest.actions.get(state.step.action)
    return action is None or not action.idempotent
