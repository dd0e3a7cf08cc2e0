"""What messages cost, in tokens."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.canonical import MAX_SAFE_INTEGER

INPUT: Final = "input_tokens"
OUTPUT: Final = "output_tokens"
_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def tokens(structured: Any) -> Mapping[str, int]:
    """``{input_tokens, output_tokens}`` of a Message, of what there was of one that broke off, or of all answers of a
    batch (``lines``); input is all that the model read, from caches too, and no number is above 2^53 - 1. Empty where
    it says nothing."""
    lines = structured.get("lines") if isinstance(structured, Mapping) else None
    if isinstance(lines, list):
        each = [tokens(_message(line)) for line in lines]
        return {name: _sum(one.get(name, 0) for one in each) for name in (INPUT, OUTPUT)} if any(each) else {}
    message = structured.get("so_far", structured) if isinstance(structured, Mapping) else None
    usage = message.get("usage") if isinstance(message, Mapping) else None
    if not isinstance(usage, Mapping):
        return {}
    return {INPUT: _sum(_count(usage.get(name)) for name in _INPUT), OUTPUT: _count(usage.get(OUTPUT))}


def total(used: Mapping[str, Any]) -> int:
    """Input and output together, of what :func:`tokens` found, or of the facts of the entry that says so."""
    return _count(used.get(INPUT)) + _count(used.get(OUTPUT))


def _message(line: Any) -> Any:
    """The Message in a line of a batch's results, where its request succeeded."""
    result = line.get("result") if isinstance(line, Mapping) else None
    return result.get("message") if isinstance(result, Mapping) else None


def _sum(counts: Iterable[int]) -> int:
    return min(sum(counts), MAX_SAFE_INTEGER)


def _count(value: Any) -> int:
    return min(value, MAX_SAFE_INTEGER) if type(value) is int and value >= 0 else 0
