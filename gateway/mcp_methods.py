"""The methods of MCP, beside ``tools/call``, that a hand's action may be, and where a manifest keeps their lists: what
clients ask of servers, and what servers ask of clients while a call runs.

Such an action bears the method's name. No tool can: a tool's name has no slash.
"""

from enum import StrEnum
from typing import Final


class McpMethod(StrEnum):
    """A method that is an action where the operator declares it."""

    RESOURCES_LIST = "resources/list"
    RESOURCES_READ = "resources/read"
    RESOURCES_SUBSCRIBE = "resources/subscribe"
    PROMPTS_GET = "prompts/get"
    COMPLETION_COMPLETE = "completion/complete"


class McpQuestion(StrEnum):
    """What a server may ask of the client that waits for a call, where the operator declares it. Each question is an
    action of the hand whose args are ``{request}``, and each answer one whose args are ``{request, response}``."""

    SAMPLING = "sampling/createMessage"
    ELICITATION = "elicitation/create"
    ROOTS = "roots/list"


METHODS: Final = frozenset(McpMethod)
QUESTIONS: Final = frozenset(McpQuestion)
RESOURCE_METHODS: Final = frozenset({McpMethod.RESOURCES_LIST, McpMethod.RESOURCES_READ})

PROMPTS: Final = "prompts"
"""Member of the annotations of ``prompts/get``: the prompts that were pinned, as ``prompts/list`` shows them."""
TEMPLATES: Final = "resourceTemplates"
"""Member of the annotations of ``resources/read``: the templates, as ``resources/templates/list`` shows them."""

RESOURCE_NOT_FOUND: Final = -32002
"""JSON-RPC code of a resource that is not there, up to 2025-11-25; later it is ``INVALID_PARAMS`` (SEP-2164)."""
HOSTS: Final = "hosts"
"""Member of the annotations of ``elicitation/create``: where a person may be sent to."""

CODE_FACT: Final = "json_rpc_code"
"""Fact of ``hand.failed``: the code by which a server said that there is no such resource, or not with these params."""


def is_method(adapter: str, action: str) -> bool:
    """Whether an action of a hand is a method of MCP instead of a tool."""
    return adapter == "mcp" and (action in METHODS or action in QUESTIONS)


def needs_its_client(adapter: str, action: str) -> bool:
    """Whether it is for nothing once its client does not wait: what a server asks, and what a client watches. Nobody
    can approve one, for it would run only after that."""
    return adapter == "mcp" and (action in QUESTIONS or action == McpMethod.RESOURCES_SUBSCRIBE)


def is_question(adapter: str, action: str) -> bool:
    """Whether it is one that the server asks, and the client answers."""
    return adapter == "mcp" and action in QUESTIONS
