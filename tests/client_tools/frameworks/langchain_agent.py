"""An agent of LangChain that owns its loop and streams, at the stand-in. Tools of others are judged by the middleware,
also where another middleware has another one run than the model called, and those of docs/client-tools.md by their own
decorator: ``langchain_agent.py middleware|another|decorator``."""

import asyncio
import os
import sys
from typing import Annotated, Any

import office
from handrail.guards.langchain import GuardMiddleware
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolErrorMiddleware
from langchain.messages import ToolMessage
from langchain.tools import InjectedToolCallId, tool
from langchain_anthropic import ChatAnthropic
from langgraph.types import Command
from pydantic import BaseModel, Field, field_validator


@tool
def look_up(name: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Look a customer up; a command to the graph has what the model reads of it."""
    said = str(office.look_up.__wrapped__(name))
    return Command(update={"messages": [ToolMessage(said, tool_call_id=tool_call_id)]})


@tool
async def send(to: str, text: str) -> str:
    """Send a letter."""
    return str(office.send.__wrapped__(to, text))


class Letter(BaseModel):
    """What the model called a name is whom a letter goes to; what the letter says is left to a default."""

    to: str = Field(alias="name")
    text: str = "Hello"
    tool_call_id: Annotated[str, InjectedToolCallId]

    @field_validator("to")
    @classmethod
    def _of_the_family(cls, to: str) -> str:
        return f"{to} Smith"


@tool("send", args_schema=Letter)
async def write(to: str, text: str, tool_call_id: str) -> str:
    """Send a letter."""
    return f"{office.send.__wrapped__(to, text)} ({tool_call_id[:4]})"


class Another(AgentMiddleware[Any, Any]):
    """Has a letter written where the model looks somebody up."""

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await handler(request.override(tool=write))


async def main() -> None:
    model = ChatAnthropic(model="claude-test", base_url=os.environ["ANTHROPIC_BASE_URL"], max_retries=0, streaming=True)
    errors = ToolErrorMiddleware(on_error=lambda error, _: f"It failed: {type(error).__name__}")
    if sys.argv[1:] == ["decorator"]:
        agent = create_agent(model, [tool(office.look_up), tool(office.send)], middleware=[errors])
    else:
        before = [errors, Another()] if sys.argv[1:] == ["another"] else [errors]
        agent = create_agent(model, [look_up, send], middleware=[*before, GuardMiddleware(office.guard)])
    async for _ in agent.astream({"messages": [("user", "Write to Ann.")]}, stream_mode="messages"):
        pass


asyncio.run(main())
