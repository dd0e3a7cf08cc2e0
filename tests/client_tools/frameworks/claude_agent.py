"""claude-agent-sdk with the guard's hooks: prints what the model was told of its call."""

import asyncio
import json
import os
import sys

from claude_agent_sdk import ClaudeAgentOptions, ToolResultBlock, UserMessage, query
from handrail import Guard
from handrail.guards.claude_agent import hooks

guard = Guard(
    os.environ["HANDRAIL_URL"], os.environ["HANDRAIL_API_KEY"], hand="claude-code", context_id=os.environ["TICKET"]
)


async def main() -> None:
    told = []
    options = ClaudeAgentOptions(allowed_tools=["Bash", "Read", "WebFetch"], max_turns=5, hooks=hooks(guard))
    async for message in query(prompt="Go on.", options=options):
        if isinstance(message, UserMessage) and isinstance(message.content, list):
            told += [block.content for block in message.content if isinstance(block, ToolResultBlock)]
    sys.stdout.write(json.dumps(told))


asyncio.run(main())
