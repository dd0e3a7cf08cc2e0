"""What a message cost, in tokens."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.canonical import MAX_SAFE_INTEGER

INPUT: Final = "input_tokens"
OUTPUT: Final = "output_tokens"
_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def tokens(structured: Any) -> Mapping[str, int]:
    """``{input_tokens, output_tokens}`` of a Message, or of what there was of one that broke off; input is all that the
    model read, from caches too, and no number is above 2^53 - 1. Empty where it says nothing."""
    message = structured.get("so_far", structured) if isinstance(structured, Mapping) else None
    usage = message.get("usage") if isinstance(message, Mapping) else None
    if not isinstance(usage, Mapping):
        return {}
    read = sum(_count(usage.get(name)) for name in _INPUT)
    return {INPUT: min(read, MAX_SAFE_INTEGER), OUTPUT: _count(usage.get(OUTPUT))}


def total(used: Mapping[str, Any]) -> int:
    """Input and output together, of what :func:`tokens` found, or of the facts of the entry that says so."""
    return _count(used.get(INPUT)) + _count(used.get(OUTPUT))


def _count(value: Any) -> int:
    return min(value, MAX_SAFE_INTEGER) if type(value) is int and value >= 0 else 0
