"""The methods of MCP, beside ``tools/call``, that a hand's action may be, and where a manifest keeps their lists.

Such an action bears the method's name. No tool can: a tool's name has no slash.
"""

from enum import StrEnum
from typing import Final


class McpMethod(StrEnum):
    """A method that is an action where the operator declares it."""

    RESOURCES_LIST = "resources/list"
    RESOURCES_READ = "resources/read"
    PROMPTS_GET = "prompts/get"
    COMPLETION_COMPLETE = "completion/complete"


METHODS: Final = frozenset(McpMethod)
RESOURCE_METHODS: Final = frozenset({McpMethod.RESOURCES_LIST, McpMethod.RESOURCES_READ})

PROMPTS: Final = "prompts"
"""Member of the annotations of ``prompts/get``: the prompts that were pinned, as ``prompts/list`` shows them."""
TEMPLATES: Final = "resourceTemplates"
"""Member of the annotations of ``resources/read``: the templates, as ``resources/templates/list`` shows them."""

RESOURCE_NOT_FOUND: Final = -32002
"""JSON-RPC code of a resource that is not there, up to 2025-11-25; later it is ``INVALID_PARAMS`` (SEP-2164)."""
CODE_FACT: Final = "json_rpc_code"
"""Fact of ``hand.failed``: the code by which a server said that there is no such resource, or not with these params."""


def is_method(adapter: str, action: str) -> bool:
    """Whether an action of a hand is a method of MCP instead of a tool."""
    return adapter == "mcp" and action in METHODS
