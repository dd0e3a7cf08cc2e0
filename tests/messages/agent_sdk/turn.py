"""One turn of claude-agent-sdk, as a program in an environment of its own: ``turn.py PROMPT [TOOL ...]``."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ResultMessage,
    ToolResultBlock,
    UserMessage,
    query,
)


def _said(message: Any) -> dict[str, Any] | None:
    match message:
        case ResultMessage():
            return {"type": "result", "result": message.result, "is_error": message.is_error}
        case UserMessage(content=list() as blocks):
            results = [block for block in blocks if isinstance(block, ToolResultBlock)]
            shown = [
                {"type": "tool_result", "tool_use_id": block.tool_use_id, "content": block.content} for block in results
            ]
            return {"type": "user", "message": {"content": shown}}
        case AssistantMessage():
            return {"type": "assistant", "model": message.model}
    return None


async def _turn(prompt: str, tools: list[str]) -> None:
    options = ClaudeAgentOptions(allowed_tools=tools, cwd=Path.cwd(), max_turns=5)
    async for message in query(prompt=prompt, options=options):
        if (said := _said(message)) is not None:
            sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    asyncio.run(_turn(sys.argv[1], sys.argv[2:]))
