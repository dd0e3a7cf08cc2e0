"""The JSON shapes of managed agents and their sessions; see ``schemas``."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.managed_agents.answers import Verdict
from gateway.ports.managed_agents import State, UseState
from gateway.web.schemas import Shape
from gateway.web.times import Time


class FollowRequest(Shape):
    """A session to follow."""

    session_id: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_-]+$", description="Id at Anthropic.")


class AgentSessionView(Shape):
    """A session at Anthropic."""

    connector: str = Field(description="Which [managed_agents] table.")
    session_id: str
    agent_id: str
    context_id: str
    state: State = Field(description="bypassed: something went past the gateway, and nothing is let go any more.")
    adopted_at: Time
    on_behalf_of: str = Field(description="Principal that its tool calls are of.")


class AgentSessionList(Shape):
    """Sessions, newest first."""

    sessions: list[AgentSessionView]


class SessionProblem(Shape):
    """Why a session is not followed at this moment."""

    code: str
    text: str


class ToolUseView(Shape):
    """A tool call of an agent."""

    event_id: str = Field(description="Of the event at Anthropic; the step of the plan has its name.")
    plan_id: str | None
    state: UseState
    verdict: Verdict | str | None = Field(description="allow, deny or result; bypassed; null before there is one.")
    reported: bool = Field(description="Whether what came of it is on record beside the step.")


class AgentSessionDetail(AgentSessionView):
    """A session and its tool calls."""

    problem: SessionProblem | None
    unreadable: list[str] = Field(description="Events that the session waits for and that nobody here can answer.")
    tool_uses: list[ToolUseView]


Lacks = Annotated[
    Literal["hand", "action"] | None, Field(description="What of that is not there, so that its calls are denied.")
]


class PolicyWord(Shape):
    """A permission policy of an agent."""

    toolset: str = Field(description="toolset, or the name of an MCP server.")
    tool: str = Field(description="* for every other tool of it.")
    policy: str = Field(description="What it is.")
    needed: str = Field(description="What it has to be so that the gateway is asked.")
    hand: str | None = Field(description="Whose action the tool is here; null where its calls are denied.")
    action: str | None
    lacks: Lacks


class CustomTool(Shape):
    """A custom tool of an agent."""

    tool: str
    hand: str | None = Field(description="null where its calls are denied.")
    action: str | None
    lacks: Lacks


class ManagedAgentView(Shape):
    """What an agent needs so that nothing of it goes past the gateway."""

    connector: str
    agent_id: str
    name: str
    version: int
    governed: bool = Field(description="Whether every policy is as it has to be.")
    policies: list[PolicyWord]
    custom_tools: list[CustomTool]
    hands_work_to: list[str] = Field(description="Agents that it calls; each has policies of its own.")
    unknown: list[str] = Field(description="What nobody here knows of it.")
