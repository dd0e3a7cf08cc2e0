"""The ingress of the Model Context Protocol: ``/mcp`` and ``/mcp/{hand}``."""

from gateway.ingress.mcp.endpoint import McpIngress

__all__ = ["McpIngress"]
