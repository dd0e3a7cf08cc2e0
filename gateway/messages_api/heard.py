"""What of a request to a model nobody here answers for: neither what its user said nor what the model did.

Definitions of tools come from servers that the client knows, and results from calls that it made where nobody judged
them. A text in either can steer a model as well as one that a hand returned. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.messages_api.blocks import CALLS, TEXT

_SPOKEN: Final = frozenset({TEXT, "thinking", "redacted_thinking", *CALLS})
"""Types of blocks that somebody said, or a model did. Everything else, of tomorrow's types too, was brought in."""
_CACHE: Final = "cache_control"
_MARKS: Final = frozenset({"type", "id", "tool_use_id", "is_error", _CACHE})
"""Members of blocks that tell nothing, of which a client changes some from turn to turn."""


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
        yield {name: value for name, value in tool.items() if name != _CACHE}
    yield from _brought(args.get("system"))
    for message in _mappings(args.get("messages")):
        yield from _brought(message.get("content"))


def answered(structured: Mapping[str, Any]) -> Iterator[dict[str, Any]] | None:
    """The same of what a model answered, once or to a batch; ``None`` where that is no answer.

    Args:
        structured: of the result of an action of a model's hand.
    """
    if "content" in structured:
        return _brought(structured["content"])
    return _of_lines(structured["lines"]) if "lines" in structured else None


def _of_lines(lines: Any) -> Iterator[dict[str, Any]]:
    for line in _mappings(lines):
        result = line.get("result")
        message = result.get("message") if isinstance(result, Mapping) else None
        if isinstance(message, Mapping):
            yield from _brought(message.get("content"))
        else:
            yield dict(line)


def _brought(content: Any) -> Iterator[dict[str, Any]]:
    return (_bare(block) for block in _mappings(content) if not _spoken(block))


def _spoken(block: Mapping[str, Any]) -> bool:
    kind = block.get("type")
    return isinstance(kind, str) and kind in _SPOKEN


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    return (one for one in value if isinstance(one, Mapping)) if isinstance(value, list) else iter(())


def _bare(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block without its marks, and those in it. A text that stands for blocks is one, as it would be in a list."""
    bare = {name: value for name, value in block.items() if name not in _MARKS}
    content = bare.get("content")
    if isinstance(content, str):
        bare["content"] = [{"text": content}]
    elif isinstance(content, list):
        bare["content"] = [_bare(one) if isinstance(one, Mapping) else one for one in content]
    return bare
