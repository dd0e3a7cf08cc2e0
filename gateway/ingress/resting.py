"""Waiting until a step needs nobody any more."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from gateway.errors import Unavailable
from gateway.model import Principal, StepStatus
from gateway.plans.followers import Event
from gateway.plans.patience import Patience
from gateway.reasons import Reason


class Follows(Protocol):
    """What of the pipeline is asked by whoever waits."""

    @property
    def patience(self) -> Patience:
        """Of those who wait for people."""

    async def view(self, plan_id: str, viewer: Principal) -> dict[str, Any]:
        """A plan as it stands."""

    def events(self, plan_id: str, viewer: Principal, after: int = 0) -> AsyncIterator[Event]:
        """Its progress."""


async def rested(
    pipeline: Follows, view: dict[str, Any], step_id: str, viewer: Principal, seconds: float
) -> dict[str, Any]:
    """The plan's view once a step of it has its last status, or ``seconds`` later, or as it stands where the process is
    about to stop."""
    if ended(view, step_id) or seconds <= 0:
        return view
    plan_id = view["plan_id"]
    with contextlib.suppress(TimeoutError):
        async with pipeline.patience.within(seconds):
            while not ended(view, step_id):
                async with contextlib.aclosing(pipeline.events(plan_id, viewer)) as events:  # type: ignore[type-var]
                    async for _ in events:
                        view = await pipeline.view(plan_id, viewer)
                        if ended(view, step_id):
                            break
    return await pipeline.view(plan_id, viewer)


def ended(view: Mapping[str, Any], step_id: str) -> bool:
    """Whether nothing becomes of a step any more."""
    return StepStatus(step_of(view, step_id)["status"]).final


def step_of(view: Mapping[str, Any], step_id: str) -> Mapping[str, Any]:
    """A step of a plan's view.

    Raises:
        Unavailable: ``gateway.internal``: it has none of that id.
    """
    for step in view["steps"]:
        if step["id"] == step_id:
            found: Mapping[str, Any] = step
            return found
    raise Unavailable(Reason.INTERNAL, "a plan without its step")
