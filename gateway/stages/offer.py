"""Steps of remote hands: let go like any other, and then offered instead of dispatched."""

from collections.abc import Mapping

from gateway.model import Obligations, StepStatus
from gateway.ports import Offers
from gateway.reasons import Reason
from gateway.settings import HandSettings
from gateway.state import PlanState, StepState


def remote(state: StepState) -> bool:
    """Whether the step's hand comes for it itself."""
    return state.manifest is not None and state.manifest.remote


async def unfit(plan: PlanState, offers: Offers, hands: Mapping[str, HandSettings]) -> list[StepState]:
    """End steps that could go now and are not offered: policy lets them go in a jail alone, or to named hosts alone,
    and a remote hand runs in no jail and behind no proxy of ours; or as many wait for their hand as may.

    Raises:
        Unavailable: ``log.unavailable``; it cannot be known how many wait.
    """
    ended = []
    room: dict[str, int] = {}
    for state in plan:
        if not remote(state) or not plan.ready(state):
            continue
        hand = state.step.hand
        if hand not in room:
            most = (hands.get(hand) or _DEFAULT).queue_max
            room[hand] = most - await offers.waiting(plan.plan.tenant, hand, most)
        duties = Obligations() if state.decision is None else state.decision.obligations
        if duties.jail_profile or duties.egress_hosts is not None:
            state.fail(StepStatus.FAILED, Reason.POLICY_OBLIGATION)
        elif room[hand] <= 0:
            state.fail(StepStatus.FAILED, Reason.OVERLOADED)
        else:
            room[hand] -= 1
            continue
        ended.append(state)
    return ended


_DEFAULT = HandSettings(adapter="remote")
