"""Step 5, before anybody is asked: a person's refusal stands for the same call as long as a request may wait.

An agent that was refused and asks again and again must not find the moment in which somebody slips. The same call is
one by the same caller for the same principal, of the same hand, action and resolved args, in the same context; where
its client names no context, in whichever. That is read from the plan on record, and no hash of args is kept for it.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
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
    await _end(plan, filter(asks, states), store, load, since)


async def fallen(plan: PlanState, store: PlanStore, load: Load, since: float) -> list[StepState]:
    """End every step that waits for people, and whose call a person refused since then where it was asked about, too.

    Raises:
        Unavailable: ``log.unavailable``.
    """
    waiting = [state for state in plan if state.status is StepStatus.HELD and not (state.approved or state.answering)]
    return await _end(plan, waiting, store, load, since)


async def _end(
    plan: PlanState, states: Iterable[StepState], store: PlanStore, load: Load, since: float
) -> list[StepState]:
    read: dict[str, PlanState | None] = {}
    ended = []
    for state in states:
        approval_id = await _find(plan, state, store, load, since, read)
        if approval_id is not None:
            state.fail(StepStatus.DENIED, Reason.APPROVAL_REFUSED, approval=approval_id)
            ended.append(state)
    return ended


async def request(plan: PlanState, state: StepState, store: PlanStore, load: Load, since: float) -> str | None:
    """Id of a request in which a person refused a step's call since then; ``None`` where nobody did.

    Raises:
        Unavailable: ``log.unavailable``.
    """
    return await _find(plan, state, store, load, since, {})


async def _find(
    plan: PlanState, state: StepState, store: PlanStore, load: Load, since: float, read: dict[str, PlanState | None]
) -> str | None:
    for approval_id, plan_id, step_id in await store.refused(plan, state, since):
        if plan_id not in read:
            read[plan_id] = await _read(plan_id, load)
        if _is_refused(plan, state, read[plan_id], step_id):
            return approval_id
    return None


async def _read(plan_id: str, load: Load) -> PlanState | None:
    try:
        return await load(plan_id)
    except Unavailable:
        raise
    except HandrailError:
        return None  # it was dropped, or its rows are not sound: people are asked, as policy says


def _is_refused(plan: PlanState, state: StepState, other: PlanState | None, step_id: str) -> bool:
    """Whether a step on record was the same call, and a person refused it: rows only lead there."""
    known = None if other is None or state.args is None else other.steps.get(step_id)
    if other is None or known is None or known.args is None or _call(other, known) != _call(plan, state):
        return False
    if plan.plan.in_named_context and other.plan.context_id != plan.plan.context_id:
        return False
    return known.error is not None and known.error.reason is Reason.APPROVAL_REFUSED


def _call(plan: PlanState, state: StepState) -> tuple[object, ...]:
    the = plan.plan
    whose = the.tenant, the.caller.pseudonym, the.principal.pseudonym
    return (*whose, state.step.hand, state.step.action, state.args_bytes)
