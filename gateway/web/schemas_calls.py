"""The JSON shapes of calls that clients make themselves, and of Claude Code's hooks."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.web.schemas import Shape, StepView

CALLS_MAX = 64
"""Calls that are judged together."""


class CallGiven(Shape):
    """A call that the client is about to make."""

    hand: str = Field(max_length=64)
    action: str = Field(max_length=128)
    args: dict[str, Any]


class CallsGiven(Shape):
    """Calls that come together, in one context."""

    context_id: str = Field(max_length=128)
    calls: list[CallGiven] = Field(min_length=1, max_length=CALLS_MAX)


class CallJudged(Shape):
    """What became of one call."""

    go: bool = Field(description="Whether the client may make the call now, this once.")
    text: str = Field(description="Where it may not: what a model may be told, and no more.")
    plan_id: str
    step: StepView


class CallsJudged(Shape):
    """What became of each call, in their order."""

    calls: list[CallJudged]


class HookGiven(BaseModel):
    """A hook's input. What nothing here looks at is ignored: each version of Claude Code says more."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hook_event_name: str = Field(max_length=64)
    session_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,96}$")
    tool_name: str = Field("", max_length=128)
    tool_input: dict[str, Any] = {}
    tool_response: Any = None
    error: Any = None


class HookAnswer(BaseModel):
    """What Claude Code takes for an answer; empty where nothing is decided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hookSpecificOutput: dict[str, str] | None = None  # noqa: N815 - Claude Code's own name
    systemMessage: str | None = None  # noqa: N815
