"""Who follows which plan's progress. A follower that does not read is cut off rather than remembered."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.state import PlanState, StepState

Event = tuple[int, str, dict[str, Any]]
"""``(id, event, data)``: the id is a log index, so that a follower can resume anywhere."""

QUEUE_LENGTH: Final = 256
"""Events kept for a follower that does not read."""


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
        events: list[Event] = [(state.log_index or 0, "step", state.view(plan.plan.plan_id)) for state in states]
        latest = max((event[0] for event in events), default=plan.log_index or 0)
        events.append((latest, "plan", {"status": str(plan.status)}))
        for queue in queues:
            try:
                for event in events:
                    queue.put_nowait(event)
            except asyncio.QueueFull:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)
