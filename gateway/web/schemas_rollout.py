"""The JSON shapes of what of a policy is being brought in; see ``schemas``."""

from pydantic import Field

from gateway.web.schemas import Shape
from gateway.web.times import Time


class LetGo(Shape):
    """Steps let go since this gateway started, by what the policy had said."""

    deny: int
    ask: int


class ObservedHand(Shape):
    """A hand on which only critical denials are enforced."""

    hand: str
    proposal: str = Field(description="By which two people put it under observation.")
    since: Time
    until: Time
    let_go: LetGo


class RolloutView(Shape):
    """What of the policy is being brought in."""

    observed: list[ObservedHand]


# --- candidate bundles on trial --------------------------------------------------------------------------------------


class Words(Shape):
    """What a bundle said of a step."""

    effect: str
    reasons: list[str] = Field(description="Codes; '(computed)' for one that the candidate's text does not hold.")


class Example(Shape):
    """A step with a difference."""

    plan_id: str
    step_id: str


class DifferenceGroup(Shape):
    """Differences that look alike."""

    kind: str
    hand: str
    action: str
    was: Words = Field(description="By the active bundle.")
    now: Words = Field(description="By the candidate.")
    obligations: list[str] | None = Field(None, description="Names of those that differ, where the effect is the same.")
    count: int
    examples: list[Example]


class CanaryCounts(Shape):
    """The newest decisions of a canary, over all gateways."""

    sample: int
    denied: int
    denied_active: int
    errors: int
    errors_active: int


class ComparisonView(Shape):
    """What a candidate said beside the active bundle, counted by all gateways together; no value of a call."""

    candidate: str
    decisions: int = Field(description="Steps of which both bundles' words could be compared.")
    unchanged: int
    faults: dict[str, int] = Field(description="Steps to which the candidate's engine gave no usable answer, by code.")
    not_comparable: int = Field(description="Steps where the active bundle's engine was late or away.")
    shed: int = Field(description="Inputs that were left out, because too many waited or the engine kept failing.")
    recent: CanaryCounts
    kinds: dict[str, int]
    rules: dict[str, dict[str, int]]
    groups: list[DifferenceGroup]
    not_grouped: dict[str, int]


class ShadowRequest(Shape):
    """The bundle to shadow, one that was brought."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    lasts_seconds: int = Field(604_800, ge=1, le=1_209_600, description="It ends by itself then.")


class ShadowState(Shape):
    """A shadow."""

    number: int
    digest: str
    by: str
    since: Time
    until: Time
    in_force: bool
    problem: str | None = Field(description="Why the gateway that was asked does not hold the candidate.")


class ShadowView(Shape):
    """The newest shadow and what came of it."""

    shadow: ShadowState | None
    gateways: list[str] = Field(description="Those that counted; what each counted since its last seconds may lack.")
    comparison: ComparisonView


class CanaryState(Shape):
    """A canary."""

    proposal: str = Field(description="By which two people made it; withdrawing it ends it.")
    digest: str
    active: str = Field(description="The bundle that it is held against.")
    percent: int
    since: Time
    until: Time
    in_force: bool
    stopped: str | None = Field(description="Why it stopped itself: denials or errors.")
    problem: str | None = Field(description="Why the gateway that was asked does not hold the candidate.")


class CanaryView(Shape):
    """The canary in force, or the last one, and what came of it."""

    canary: CanaryState | None
    gateways: list[str]
    comparison: ComparisonView
