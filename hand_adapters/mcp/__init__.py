"""The mcp adapter: stdio MCP servers in the jail."""

import logging

from hand_adapters.mcp.adapter import McpAdapter

# The SDK's client session logs what a server said wrong together with the values it said (pydantic's text).
logging.getLogger("client").setLevel(logging.CRITICAL)

__all__ = ["McpAdapter"]
