"""What the API is known to check of a conversation.

An agent's loop that a gateway left invalid stops here, as it would there. The words of the errors are
this module's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any


class Invalid(Exception):
    """What is wrong with the request, for its sender."""


def check(request: Any) -> None:
    """Refuse what the API would: a request without its fields, or a call of a tool without its result.

    Raises:
        Invalid: it is such a request.
    """
    if not isinstance(request, dict):
        raise Invalid("the body is no JSON object")
    for name in ("model", "messages", "max_tokens"):
        if name not in request:
            raise Invalid(f"{name}: Field required")
    check_messages(request["messages"])


def check_messages(messages: Any) -> None:
    """As :func:`check`, of the messages alone.

    Raises:
        Invalid: they are no conversation.
    """
    if not isinstance(messages, list) or not messages:
        raise Invalid("messages: at least one message is required")
    seen: set[str] = set()
    waiting: list[str] = []
    for place, message in enumerate(messages):
        where = f"messages.{place}"
        if not isinstance(message, dict) or message.get("role") not in {"user", "assistant", "system"}:
            raise Invalid(f"{where}.role: must be user or assistant")
        if message["role"] == "system":  # the API takes it under a beta, anywhere
            continue
        blocks = _blocks(message, where)
        waiting = (
            _answered(blocks, waiting, where) if message["role"] == "user" else _called(blocks, waiting, seen, where)
        )
    if messages[-1].get("role") == "assistant" and waiting:
        raise Invalid(f"messages.{len(messages) - 1}: tool_use ids without tool_result: {', '.join(waiting)}")


def _blocks(message: Mapping[str, Any], where: str) -> Sequence[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise Invalid(f"{where}.content: must be a string or a list")
    for index, block in enumerate(content):
        if not isinstance(block, dict) or "type" not in block:
            raise Invalid(f"{where}.content.{index}.type: Field required")
        if block["type"] == "text" and not block.get("text"):
            raise Invalid(f"{where}.content.{index}: text content blocks must be non-empty")
    return content


def _called(blocks: Sequence[Mapping[str, Any]], waiting: Sequence[str], seen: set[str], where: str) -> list[str]:
    if waiting:
        raise Invalid(f"{where}: tool_use ids without tool_result: {', '.join(waiting)}")
    ids = [str(block.get("id")) for block in blocks if block["type"] == "tool_use"]
    for each in ids:
        if each in seen:
            raise Invalid(f"{where}: tool_use ids must be unique")
        seen.add(each)
    return ids


def _answered(blocks: Sequence[Mapping[str, Any]], waiting: Sequence[str], where: str) -> list[str]:
    results = [str(block.get("tool_use_id")) for block in blocks if block["type"] == "tool_result"]
    for each in results:
        if each not in waiting:
            raise Invalid(f"{where}: unexpected tool_use_id in tool_result: {each}")
    missing = [each for each in waiting if each not in results]
    if missing:
        raise Invalid(f"{where}: tool_use ids without tool_result: {', '.join(missing)}")
    return []
