"""What of a request to a model policies are shown: all that a rule can read.

Images, documents in base64, and what the provider signed or encrypted say nothing to a rule and are most of the bytes
of a long conversation. In their place stands how long they are. Everything else stands as it is, for a rule that looks
for something in a conversation must not be evaded by making it long. Pure.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

LEFT_OUT_MIN_BYTES: Final = 1024
"""What is shorter stands as it is, whatever it is."""
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_OPAQUE: Final[Mapping[str, str]] = {
    "base64": "data",
    "thinking": "signature",
    "redacted_thinking": "data",
    "web_search_result": "encrypted_content",
    "encrypted_code_execution_result": "encrypted_stdout",
}
"""Type of a block or a source -> its member that is base64: a text in which a rule finds nothing by its form."""
_INPUT: Final = "input"
"""What a tool was called with is the model's, whatever it looks like."""


def shown(args: Mapping[str, Any]) -> Mapping[str, Any]:
    """The args of a request, of which each opaque text is ``{"left_out_bytes": n}``; the very same where there is
    none."""
    found: Mapping[str, Any] = _without(args)
    return found


def _without(value: Any) -> Any:
    if isinstance(value, list):
        new = [_without(one) for one in value]
        return value if all(one is before for one, before in zip(new, value, strict=True)) else new
    if not isinstance(value, Mapping):
        return value
    kind = value.get("type")
    opaque = _OPAQUE.get(kind) if isinstance(kind, str) else None
    changed = {
        name: new
        for name, one in value.items()
        if name != _INPUT and (new := _left_out(one) if name == opaque else _without(one)) is not one
    }
    return {**value, **changed} if changed else value


def _left_out(value: Any) -> Any:
    long = isinstance(value, str) and len(value) >= LEFT_OUT_MIN_BYTES and _ENCODED.fullmatch(value) is not None
    return {"left_out_bytes": len(value)} if long else value
