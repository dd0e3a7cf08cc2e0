"""The JSON shapes of hands' objectives; see ``schemas``."""

from pydantic import Field

from gateway.web.schemas import Shape
from gateway.web.times import Time


class ObjectiveView(Shape):
    """What is expected of a hand."""

    availability: float | None
    latency_seconds: float | None
    latency_quantile: float | None
    window_days: int


class MeasuredView(Shape):
    """What this gateway process saw of it; null is not known yet."""

    since: Time
    calls: int
    faults: int = Field(description="Calls that the hand did not answer, or not soundly.")
    late: int = Field(description="Answers beyond latency_seconds.")
    availability: float | None = Field(description="Answered of all calls.")
    within_latency: float | None = Field(description="Of the answers, those within latency_seconds.")
    budget_left: float | None = Field(None, description="Of the faults that availability allows; below 0 it is missed.")
    burn_rate: float | None = Field(
        None, description="Faults of the last hour, as a multiple of what would use the budget up in the window."
    )


class HandObjectiveView(Shape):
    """One hand."""

    id: str
    objective: ObjectiveView
    measured: MeasuredView


class ObjectiveList(Shape):
    """The hands with objectives that the caller may see."""

    hands: list[HandObjectiveView]
