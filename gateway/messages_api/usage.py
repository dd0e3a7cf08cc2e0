"""What a message cost, in tokens."""

from collections.abc import Mapping
from typing import Any

_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def tokens(structured: Any) -> Mapping[str, int]:
    """``{input_tokens, output_tokens}`` of a Message, or of what there was of one that broke off; input is all that the
    model read, from caches too. Empty where it says nothing."""
    message = structured.get("so_far", structured) if isinstance(structured, Mapping) else None
    usage = message.get("usage") if isinstance(message, Mapping) else None
    if not isinstance(usage, Mapping):
        return {}
    read = sum(_count(usage.get(name)) for name in _INPUT)
    return {"input_tokens": read, "output_tokens": _count(usage.get("output_tokens"))}


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0
