"""The ``mcp`` adapter: MCP servers over stdio, in a jail."""
