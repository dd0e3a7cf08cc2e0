"""The JSON shapes of what of a policy is being brought in; see ``schemas``."""

from pydantic import Field

from gateway.web.schemas import Shape


class LetGo(Shape):
    """Steps let go since this gateway started, by what the policy had said."""

    deny: int
    ask: int


class ObservedHand(Shape):
    """A hand on which only critical denials are enforced."""

    hand: str
    proposal: str = Field(description="By which two people put it under observation.")
    since: float
    until: float
    let_go: LetGo


class RolloutView(Shape):
    """What of the policy is being brought in."""

    observed: list[ObservedHand]
