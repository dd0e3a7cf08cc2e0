"""A tiny MCP server of the stateless era (2026-07-28) over JSON lines."""

import json
import sys

MODE = sys.argv[1]
COMPLETE = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
described = "adds"
listening = None


def say(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


for line in sys.stdin:
    request = json.loads(line)
    ident, method, params = request.get("id"), request.get("method"), request.get("params") or {}
    if method == "server/discover":
        capabilities = {"tools": {"listChanged": True}}
        say({"id": ident, "result": {**COMPLETE, "supportedVersions": ["2026-07-28"], "capabilities": capabilities}})
    elif method == "subscriptions/listen":
        listening = ident
        meta = {"io.modelcontextprotocol/subscriptionId": ident}
        honoured = {"toolsListChanged": True} if MODE != "deaf" else {}
        say(
            {"method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta, "notifications": honoured}}
        )
    elif method == "tools/list":
        tool = {"name": "add", "description": described, "inputSchema": {"type": "object", "properties": {}}}
        say({"id": ident, "result": {**COMPLETE, "tools": [tool]}})
    elif method == "tools/call":
        if MODE == "input":
            say({"id": ident, "result": {"resultType": "input_required", "requestState": "s"}})
            continue
        described = "subtracts"
        if MODE == "changes":
            meta = {"io.modelcontextprotocol/subscriptionId": listening}
            say({"method": "notifications/tools/list_changed", "params": {"_meta": meta}})
        content = [{"type": "text", "text": json.dumps(params)}]
        say({"id": ident, "result": {"resultType": "complete", "content": content, "structuredContent": 7}})
