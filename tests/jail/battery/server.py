"""An MCP server over standard streams with one tool: the battery. Standard library only."""

# ruff: noqa: T201

import json
import sys

import driver

ORDERS = {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}}
TOOL = {
    "name": "battery",
    "description": "runs the probes",
    "inputSchema": {"type": "object", "properties": {"orders": ORDERS}, "required": ["orders"]},
}


def answer(request):
    """The result of a request, or ``None`` for one that wants none."""
    match request.get("method"):
        case "initialize":
            return {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "battery", "version": "1"},
            }
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            found = driver.battery(request["params"]["arguments"]["orders"])
            return {"content": [], "structuredContent": found}
    return None


for line in sys.stdin:
    asked = json.loads(line)
    said = answer(asked)
    if said is not None:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": said}), flush=True)
    elif "id" in asked:
        refused = {"code": -32601, "message": "no"}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": refused}), flush=True)
