"""The JSON shapes of dead letters; see ``schemas``."""

from pydantic import Field

from gateway.model import StepStatus
from gateway.ports import Verdict
from gateway.settling import WHY_MAX
from gateway.web.schemas import Shape
from gateway.web.times import Time

_WHY = "Words for people; erasable, and in no entry."


class DiscardRequest(Shape):
    """Nothing more is to be done."""

    why: str = Field(min_length=1, max_length=WHY_MAX, description=_WHY)


class RetryRequest(Shape):
    """Try it again, as a new plan."""

    why: str = Field(min_length=1, max_length=WHY_MAX, description=_WHY)
    not_executed: bool = Field(
        False,
        description="You say that the step did not happen. A step that may have run, on an action that is not "
        "idempotent, is not retried without it.",
    )


class SettledView(Shape):
    """How a dead letter was settled."""

    verdict: Verdict
    by: str
    at: Time
    retry_plan: str | None = Field(description="The plan that tries it again.")


class DeadLetterView(Shape):
    """A step that ended in doubt, or did not reach its hand."""

    plan_id: str
    step_id: str
    context_id: str
    principal: str
    hand: str
    action: str
    status: StepStatus = Field(description="ambiguous: it may have run. failed: it did not reach its hand.")
    reason: str = Field(description="The closed reason code.")
    ended_at: Time
    age_seconds: int
    log_index: int = Field(description="Of the entry that ended the step.")
    hand_usable: bool = Field(description="Whether the hand is pinned, and still has the action.")
    settled: SettledView | None


class DeadLetterList(Shape):
    """A page of dead letters, newest first."""

    dead_letters: list[DeadLetterView]
    next: int | None = Field(description="For after; null on the last page.")


class DiscardedView(Shape):
    """What was settled."""

    plan_id: str
    step_id: str
    verdict: Verdict
