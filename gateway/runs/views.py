"""What callers see of a run, and the events of one who follows it. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.errors import Refused
from gateway.manifest import Manifest
from gateway.model import PlanStatus, StepStatus, TurnKind
from gateway.plans.followers import Event
from gateway.ports.runs import Run, RunStatus, Turn
from gateway.reasons import TEXTS, Reason
from gateway.runs import conversation, money
from gateway.runs.brains import key_missing, key_refused
from gateway.runs.conversation import Answer
from gateway.state import PlanState, StepState
from gateway.times import format_time

Price = Callable[[Mapping[str, int]], int | None]
"""Kind -> tokens of an answer, to what it costs in millionths; ``None`` where nobody knows."""
_PER_TURN: Final = 4
"""Ids of events between one turn and the next: it began, it waits for people, it is over."""
_UNAUTHORISED: Final = "status 401"


def turn_of(event_id: int) -> int:
    """The turn that an event is about."""
    return event_id // _PER_TURN


def turn_events(turn: Turn, plan: PlanState, price: Price) -> list[Event]:
    """Everything that is to be said of a turn as it stands, in order."""
    first = turn.turn.number * _PER_TURN
    about = {"turn": turn.turn.number, "kind": str(turn.turn.kind), "brain": turn.turn.brain, "plan_id": turn.plan_id}
    events: list[Event] = [(first + 1, "turn", {**about, "status": "running", **_calls(turn, plan)})]
    if plan.status is PlanStatus.WAITING:
        events.append((first + 2, "turn", {**about, "status": "waiting", **_calls(turn, plan)}))
    if plan.status is PlanStatus.DONE:
        events.append(
            (first + 3, "turn", {**about, "status": "done", **_calls(turn, plan), **_said(turn, plan, price)})
        )
    return events


def done_event(turn: Turn, shown: Mapping[str, Any]) -> Event:
    """The last event: the run's view."""
    return turn.turn.number * _PER_TURN + 1, "done", dict(shown)


def _calls(turn: Turn, plan: PlanState) -> dict[str, Any]:
    """The calls of a turn that is about tools."""
    if turn.turn.kind is not TurnKind.TOOLS:
        return {}
    return {"steps": [_call(state) for state in plan]}


def _call(state: StepState) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "step_id": state.step.id,
        "hand": state.step.hand,
        "action": state.step.action,
        "status": str(state.status),
    }
    if state.error is not None:
        shown["code"] = str(state.error.reason)
    if state.approval_id is not None:
        shown["approval_id"] = state.approval_id
    return shown


def _said(turn: Turn, plan: PlanState, price: Price) -> dict[str, Any]:
    """What came of a question."""
    if turn.turn.kind is not TurnKind.MODEL:
        return {}
    [state] = plan
    answer = answer_of(state)
    if answer is None:
        return {"code": str(Reason.RUN_ERASED if state.error is None else state.error.reason)}
    said = {"text": answer.text, "calls": len(answer.calls), "tokens": dict(answer.usage)}
    cost = price(answer.usage)
    return said if cost is None else {**said, "spent": money.amount(cost)}


def answer_of(state: StepState) -> Answer | None:
    """What a model answered; ``None`` where it did not, or nobody can read it any more."""
    if state.status is not StepStatus.SUCCEEDED or state.result is None:
        return None
    try:
        return conversation.read(state.result.structured)
    except Refused:
        return None


def listed(run: Run, last: Turn | None, principal: str, undriven: float | None) -> dict[str, Any]:
    """A run in a list: whether it waits for people is not looked up.

    Args:
        undriven: since when no gateway takes it forward (seconds since the epoch); ``None`` where one does.
    """
    ended = last is not None and last.turn.kind is TurnKind.END
    status = RunStatus.RUNNING if undriven is None else RunStatus.INTERRUPTED
    if ended and last is not None and last.status is not None:
        status = last.status
    shown: dict[str, Any] = {
        "run_id": run.run_id,
        "status": str(status),
        "principal": principal,
        "brain": run.brain if last is None else last.turn.brain,
        "created_at": format_time(run.created_at),
        "deadline_at": format_time(run.deadline_at),
        "steps": 0 if last is None else last.turn.steps,
        "tokens": 0 if last is None else last.turn.tokens,
        **_spent(run, run.spent if last is None else last.turn.spent),
    }
    if ended and last is not None:
        shown["ended_at"] = format_time(last.at)
        if last.reason:
            shown["code"] = last.reason
    elif undriven is not None:
        shown["interrupted_at"] = format_time(undriven)
    return shown


def shown(
    run: Run,
    turns: Sequence[Turn],
    principal: str,
    question: PlanState | None,
    plan: PlanState | None,
    manifest: Manifest | None,
    undriven: float | None,
    price: Price,
) -> dict[str, Any]:
    """A run as it stands.

    Args:
        question: the plan of the last question to a model.
        plan: the plan of the last turn.
        manifest: of the hand that the question was put to, where it is pinned now.
        undriven: as of :func:`listed`.
        price: of answers of the brain that the last question was put to.
    """
    last = turns[-1] if turns else None
    view = listed(run, last, principal, undriven)
    view.pop("code", None)
    going = last is not None and last.turn.kind is not TurnKind.END
    if going and plan is not None and plan.status is PlanStatus.WAITING:
        if undriven is None:
            view["status"] = str(RunStatus.WAITING)
        view["approvals"] = [one.approval_id for one in plan if one.status is StepStatus.HELD]
    state = None if question is None else next(iter(question))
    answer = None if state is None else answer_of(state)
    if answer is not None:
        view["text"] = answer.text
        asked = [one.turn for one in turns if one.turn.kind is TurnKind.MODEL][-1]
        if last is not None and last.turn.tokens < asked.tokens + answer.tokens:
            # No turn counts the last answer yet.
            view["tokens"] = asked.tokens + answer.tokens
            cost = price(answer.usage)
            view |= _spent(run, None if asked.spent is None or cost is None else asked.spent + cost)
    if last is not None and last.reason:
        view["error"] = _error(last, state, manifest)
    return {
        **view,
        "context_id": run.run_id,
        "hands": None if run.hands is None else list(run.hands),
        "budget": {
            "steps": run.steps_max,
            "tokens": run.tokens_max,
            "money": None if run.money_max is None else money.amount(run.money_max),
        },
        "turns": [
            {"turn": one.turn.number, "kind": str(one.turn.kind), "brain": one.turn.brain, "plan_id": one.plan_id}
            for one in turns
            if one.turn.kind is not TurnKind.END
        ],
        "log_index": run.log_index,
    }


def _spent(run: Run, millionths: int | None) -> dict[str, Any]:
    """What a run cost, where its brains have prices; null where nobody knows."""
    if not run.currency:
        return {}
    return {"spent": None if millionths is None else money.amount(millionths), "currency": run.currency}


def _error(last: Turn, state: StepState | None, manifest: Manifest | None) -> dict[str, Any]:
    """Why a run did not end well, with what its last question says of it."""
    code = Reason(last.reason)
    error: dict[str, Any] = {"code": str(code), "text": TEXTS[code]}
    if state is not None and state.error is not None and state.error.reason is code:
        error = {**state.error.facts, **error}
    if last.note:
        error["problem"] = last.note
    if last.note == _UNAUTHORISED and state is not None:
        error["why"] = key_refused(state.step.hand, manifest)
    elif code is Reason.SECRET_MISSING:
        error["why"] = key_missing(manifest)
    return error
