"""An agent of LangChain that owns its loop and streams, at the stand-in. Tools of others are judged by the middleware,
and those of docs/client-tools.md by their own decorator: ``langchain_agent.py middleware|decorator``."""

import asyncio
import os
import sys

import office
from handrail.guards.langchain import GuardMiddleware
from langchain.agents import create_agent
from langchain.agents.middleware import ToolErrorMiddleware
from langchain.tools import tool
from langchain_anthropic import ChatAnthropic


@tool
def look_up(name: str) -> str:
    """Look a customer up."""
    return str(office.look_up.__wrapped__(name))


@tool
async def send(to: str, text: str) -> str:
    """Send a letter."""
    return str(office.send.__wrapped__(to, text))


async def main() -> None:
    model = ChatAnthropic(model="claude-test", base_url=os.environ["ANTHROPIC_BASE_URL"], max_retries=0, streaming=True)
    errors = ToolErrorMiddleware(on_error=lambda error, _: f"It failed: {type(error).__name__}")
    if sys.argv[1:] == ["decorator"]:
        agent = create_agent(model, [tool(office.look_up), tool(office.send)], middleware=[errors])
    else:
        agent = create_agent(model, [look_up, send], middleware=[errors, GuardMiddleware(office.guard)])
    async for _ in agent.astream({"messages": [("user", "Write to Ann.")]}, stream_mode="messages"):
        pass


asyncio.run(main())
