"""The mcp adapter: MCP servers that run in the jail, and those that are reached over streamable HTTP."""

import logging

from hand_adapters.mcp.adapter import McpAdapter
from hand_adapters.mcp.http_adapter import McpHttpAdapter

# The SDK's client session logs what a server said wrong together with the values it said (pydantic's text).
logging.getLogger("client").setLevel(logging.CRITICAL)

__all__ = ["McpAdapter", "McpHttpAdapter"]
