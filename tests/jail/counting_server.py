"""An MCP server over standard streams whose one tool says how many calls this process has had. Standard library
only."""

# ruff: noqa: T201

import itertools
import json
import sys

TOOL = {
    "name": "call",
    "description": "counts",
    "inputSchema": {"type": "object", "properties": {"how": {"type": "string"}}, "required": ["how"]},
}
calls = itertools.count(1)


def answer(method):
    """The result of a request, or ``None`` for a notification."""
    match method:
        case "initialize":
            return {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "counting", "version": "1"},
            }
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            return {"content": [], "structuredContent": {"calls": next(calls)}}
    return None


for line in sys.stdin:
    asked = json.loads(line)
    said = answer(asked.get("method"))
    if said is not None:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": said}), flush=True)
