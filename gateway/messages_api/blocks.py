"""The closed sets of the Messages API: blocks and deltas.

What is in none of them is refused: a block that nobody here knows could be one that has a client act.
"""

from typing import Final

TOOL_USE: Final = "tool_use"
"""The block by which a model has the *client* act."""
TEXT: Final = "text"
CALLS: Final = (TOOL_USE, "server_tool_use", "mcp_tool_use")
"""The blocks that call a tool, whoever runs it; what it is called with is their ``input``. A tuple: what a
sender says a type is may be no text."""

THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
_UPSTREAM: Final = frozenset(
    {
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "advisor_tool_result",
        "mcp_tool_use",
        "mcp_tool_result",
        "mcp_tool_listing",
        "container_upload",
    }
)
"""What was done at Anthropic's, by tools that the request named and the policy let pass."""
_KEPT: Final = frozenset({"compaction", "fallback"})

ANSWERED: Final = frozenset({TEXT, TOOL_USE}) | THOUGHTS | _UPSTREAM | _KEPT
"""Blocks of an answer (SDK 2.11: ``ContentBlock`` and ``BetaContentBlock``)."""

ASKED: Final = ANSWERED | {"image", "document", "search_result", "tool_result", "tool_addition", "tool_removal"}
"""Blocks of a request (``ContentBlockParam`` and ``BetaContentBlockParam``)."""

DELTAS: Final = {
    "text_delta": frozenset({TEXT}),
    "citations_delta": frozenset({TEXT}),
    "thinking_delta": frozenset({"thinking"}),
    "signature_delta": frozenset({"thinking"}),
    "compaction_delta": frozenset({"compaction"}),
    "input_json_delta": frozenset(CALLS),
}
"""Delta -> the blocks that it may add to."""
