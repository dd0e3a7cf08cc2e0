"""The mcp adapter: stdio MCP servers in the jail."""

from hand_adapters.mcp.adapter import McpAdapter

__all__ = ["McpAdapter"]
