"""The JSON shapes of runs; see ``schemas``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.model import TurnKind
from gateway.ports.runs import RunStatus
from gateway.web.schemas import Shape
from gateway.web.times import Time

PROMPT_MAX = 65_536
_Id = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
_SPENT = "What its answers cost; null where that is not known, absent where no brain had prices."
_Purpose = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,255}$")]


class RunBudget(Shape):
    """What a run may use."""

    steps: int | None = Field(None, ge=1, strict=True, description="Questions to models and calls of tools together.")
    tokens: int | None = Field(None, ge=1, strict=True, description="In and out together, cached ones too.")
    money: float | None = Field(
        None, ge=0.000001, le=1_000_000_000, strict=True, description="In the currency of the brains' prices."
    )


class RunRequest(Shape):
    """Have the gateway ask a model, with hands as its tools, until it is done."""

    prompt: str = Field(min_length=1, max_length=PROMPT_MAX, description="What is wanted; erasable, and in no entry.")
    system: str = Field("", max_length=PROMPT_MAX, description="What the model is told before; erasable.")
    purpose: _Purpose | None = Field(None, description="Of the run, for policies and for the choice of a brain.")
    brain: _Id | None = Field(None, description="Which brain is asked first. Default: the gateway chooses.")
    data_classes: tuple[_Id, ...] = Field((), max_length=32, description="Classes of data that the model will see.")
    hands: tuple[_Id, ...] | None = Field(
        None, max_length=256, description="Whose tools the model is offered. Default: of every hand that you may use."
    )
    budget: RunBudget = RunBudget()
    deadline_seconds: int | None = Field(
        None, ge=1, strict=True, description="How long it may take, waiting for people included."
    )


class RunError(BaseModel):
    """Why a run did not end well. Further members are safe facts."""

    model_config = ConfigDict(frozen=True, extra="allow")

    code: str = Field(description="The closed reason code.")
    text: str
    problem: str | None = Field(None, description="A word more: which budget, why the model stopped, which status.")
    why: str | None = Field(None, description="What to do about it.")


class RunTurnView(Shape):
    """One turn: what was put to a model, or the calls that it asked for."""

    turn: int
    kind: TurnKind
    brain: str
    plan_id: str


class RunSummary(Shape):
    """A run in a list."""

    run_id: str
    status: RunStatus
    principal: str
    brain: str = Field(description="That was asked last.")
    created_at: Time
    deadline_at: Time
    ended_at: Time | None = None
    interrupted_at: Time | None = Field(None, description="Since when no gateway takes it forward.")
    steps: int
    tokens: int
    spent: float | None = Field(None, description=_SPENT)
    currency: str | None = Field(None, description="Of spent.")
    code: str | None = Field(None, description="Why it did not end well.")


class RunView(Shape):
    """A run as it stands."""

    run_id: str
    context_id: str
    status: RunStatus
    principal: str
    brain: str = Field(description="That was asked last.")
    hands: list[str] | None
    created_at: Time
    deadline_at: Time
    ended_at: Time | None = None
    interrupted_at: Time | None = Field(None, description="Since when no gateway takes it forward.")
    budget: RunBudget
    steps: int
    tokens: int
    spent: float | None = Field(None, description=_SPENT)
    currency: str | None = Field(None, description="Of spent, and of the budget's money.")
    text: str | None = Field(None, description="What the model said last; absent once it is erased.")
    approvals: list[str] | None = Field(None, description="Requests that it waits for.")
    error: RunError | None = None
    turns: list[RunTurnView]
    log_index: int = Field(description="Of the entry that says that it began.")


class RunList(Shape):
    """A page of runs, newest first."""

    runs: list[RunSummary]
    next: int | None = Field(description="For after; null on the last page.")
