"""Step 5, before anybody is asked: a person's refusal stands for the same call as long as a request may wait.

An agent that was refused and asks again and again must not find the moment in which somebody slips. The same call is
one by the same caller for the same principal, of the same hand, action and resolved args, in the same context; where
its client names no context, in whichever. That is read from the plan on record, and no hash of args is kept for it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from gateway.errors import HandrailError, Unavailable
from gateway.model import StepStatus
from gateway.ports import PlanStore
from gateway.reasons import Reason
from gateway.stages.approval import asks
from gateway.state import PlanState, StepState

Load: TypeAlias = Callable[[str], Awaitable[PlanState]]
"""A plan by its id, as the record has it; see ``plans.under_way``."""


async def deny(plan: PlanState, states: Sequence[StepState], store: PlanStore, load: Load, since: float) -> None:
    """End every step among ``states`` that would be held, and whose call a person refused since then.

    Args:
        since: seconds since the epoch.

    Raises:
        Unavailable: ``log.unavailable``.
    """
    for state in filter(asks, states):
        for approval_id, plan_id, step_id in await store.refused(plan, state, since):
            if await _is_refused(plan, state, plan_id, step_id, load):
                state.fail(StepStatus.DENIED, Reason.APPROVAL_REFUSED, approval=approval_id)
                break


async def _is_refused(plan: PlanState, state: StepState, plan_id: str, step_id: str, load: Load) -> bool:
    """Whether a step on record was the same call, and a person refused it: rows only lead there."""
    try:
        other = await load(plan_id)
    except Unavailable:
        raise
    except HandrailError:
        return False  # it was dropped, or its rows are not sound: people are asked, as policy says
    known = other.steps.get(step_id)
    if known is None or known.args is None or _call(other, known) != _call(plan, state):
        return False
    if plan.plan.in_named_context and other.plan.context_id != plan.plan.context_id:
        return False
    return known.error is not None and known.error.reason is Reason.APPROVAL_REFUSED


def _call(plan: PlanState, state: StepState) -> tuple[object, ...]:
    the = plan.plan
    whose = the.tenant, the.caller.pseudonym, the.principal.pseudonym
    return (*whose, state.step.hand, state.step.action, state.args_bytes)
