"""Who follows which plan's progress. A follower that does not read is cut off rather than remembered."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.model import PlanStatus
from gateway.state import PlanState, StepState

Event = tuple[int, str, dict[str, Any]]
"""``(id, event, data)``. Ids grow, and follow from log indices alone, so that a follower can resume anywhere, also at
another gateway or after a restart."""

QUEUE_LENGTH: Final = 256
"""Events kept for a follower that does not read."""


_PER_ENTRY: Final = 1024
"""Ids between one log index and the next: one for each step there may be (1,000), and the plan's two."""


def step_event(plan: PlanState, state: StepState) -> Event:
    """A step as it stands. Steps that nothing was said of yet share the plan's entry, so their place counts too."""
    place = list(plan.steps).index(state.step.id)
    return (state.log_index or 0) * _PER_ENTRY + place, "step", state.view(plan.plan.plan_id)


def plan_event(plan: PlanState) -> Event:
    """The plan's status, after its newest step."""
    return (_newest(plan) + 1) * _PER_ENTRY - 2, "plan", {"status": str(plan.status)}


def done_event(plan: PlanState) -> Event:
    """The last event."""
    return (_newest(plan) + 1) * _PER_ENTRY - 1, "done", {"status": str(plan.status)}


def plan_events(plan: PlanState) -> list[Event]:
    """Everything that is to be said of a plan as it stands, in order."""
    steps = [step_event(plan, state) for state in plan if state.log_index is not None]
    events = [*sorted(steps, key=lambda event: event[0]), plan_event(plan)]
    if plan.status is PlanStatus.DONE:
        events.append(done_event(plan))
    return events


def newest_id(plan: PlanState) -> int:
    """Id of the newest event that was said of a plan."""
    return plan_event(plan)[0]


def index_of(event_id: int) -> int:
    """The log index that an event's id follows from."""
    return event_id // _PER_ENTRY


def _newest(plan: PlanState) -> int:
    return max([plan.log_index or 0, *(state.log_index or 0 for state in plan)])


class Followers:
    """Queues of events by plan id."""

    def __init__(self) -> None:
        self._queues: dict[str, set[asyncio.Queue[Event | None]]] = {}

    @contextlib.contextmanager
    def follow(self, plan_id: str) -> Iterator[asyncio.Queue[Event | None]]:
        """A queue of the plan's events from now on; ``None`` in it means: cut off, resume from the last id."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(QUEUE_LENGTH)
        queues = self._queues.setdefault(plan_id, set())
        queues.add(queue)
        try:
            yield queue
        finally:
            queues.discard(queue)
            if not queues:
                self._queues.pop(plan_id, None)

    def announce(self, plan: PlanState, states: Sequence[StepState]) -> None:
        """Tell the plan's followers what changed."""
        queues = self._queues.get(plan.plan.plan_id)
        if not queues:
            return
        events = sorted((step_event(plan, state) for state in states), key=lambda event: event[0])
        events.append(plan_event(plan))
        if plan.status is PlanStatus.DONE:
            events.append(done_event(plan))
        for queue in queues:
            try:
                for event in events:
                    queue.put_nowait(event)
            except asyncio.QueueFull:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)
