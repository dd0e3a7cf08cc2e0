"""A server of MCP with one tool, over HTTP and without sessions: ``python -m bench.tool_server PORT``."""

import sys

import uvicorn
from mcp.server.mcpserver import MCPServer

server = MCPServer("desk")


@server.tool()
def look(name: str) -> str:
    """Look something up."""
    return f"{name} lies on the desk."


if __name__ == "__main__":
    app = server.streamable_http_app(stateless_http=True)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
