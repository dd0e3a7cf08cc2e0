"""What of a request to a model nobody here answers for: neither what its user said nor what the model did.

Definitions of tools come from servers that the client knows, and results from calls that it made where nobody judged
them. A text in either can steer a model as well as one that a hand returned. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_SPOKEN: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "mcp_tool_use"})
"""Types of blocks that somebody said, or a model did. Everything else, of tomorrow's types too, was brought in."""
_MARKS: Final = frozenset({"type", "id", "tool_use_id", "is_error", "cache_control"})
"""Members that tell nothing, of which a client changes some from turn to turn."""


def heard(args: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Definitions of tools, their results, documents and whatever else was brought into a conversation, in its order.

    Args:
        args: of one of ``manifest.CONVERSATIONS``, as policies are shown them (``showing.shown``).
    """
    for one in _mappings(args.get("requests")):
        params = one.get("params")
        if isinstance(params, Mapping):
            yield from heard(params)
    for tool in _mappings(args.get("tools")):
        yield _bare(tool)
    said = [args.get("system"), *(message.get("content") for message in _mappings(args.get("messages")))]
    for content in said:
        for block in _mappings(content):
            if not _spoken(block):
                yield _bare(block)


def _spoken(block: Mapping[str, Any]) -> bool:
    kind = block.get("type")
    return isinstance(kind, str) and kind in _SPOKEN


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    return (one for one in value if isinstance(one, Mapping)) if isinstance(value, list) else iter(())


def _bare(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block without its marks. A text that stands for blocks is one, as it would be in a list."""
    return dict(_member(name, value) for name, value in block.items() if name not in _MARKS)


def _member(name: str, value: Any) -> tuple[str, Any]:
    if name == "content" and isinstance(value, str):
        return "text", value
    if isinstance(value, list):
        return name, [_bare(one) if isinstance(one, Mapping) else one for one in value]
    return name, value
