"""What of a request to a model policies are shown: all that a rule can read.

Images, documents in base64, and what the provider signed or encrypted say nothing to a rule and are most of the bytes
of a long conversation. In their place stands how long they are. Everything else stands as it is, for a rule that looks
for something in a conversation must not be evaded by making it long. Pure.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

LEFT_OUT_MIN_BYTES: Final = 1024
"""What is shorter stands as it is, whatever it is."""
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_OPAQUE: Final[Mapping[str, str]] = {
    "thinking": "signature",
    "redacted_thinking": "data",
    "web_search_result": "encrypted_content",
    "encrypted_code_execution_result": "encrypted_stdout",
}
"""Type of a block -> its member that is base64: a text in which a rule finds nothing by its form."""
_UNREADABLE: Final = re.compile(r"image/[a-z0-9.+-]+|application/pdf")
"""Media types of sources whose base64 says nothing to a rule."""

_Showing: TypeAlias = Callable[[Any], Any]
"""From a value to what policies are shown of it: the very same where nothing is left out."""


def shown(args: Mapping[str, Any]) -> Mapping[str, Any]:
    """The args of a request, or of a batch of requests, of which each opaque text is ``{"left_out_bytes": n}``; the
    very same where there is none.

    Only where blocks stand: what its sender gives the type of a block anywhere else is no block to the model either.
    """
    found: Mapping[str, Any] = _request(args)
    return found


def _request(value: Any) -> Any:
    return _changed(value, {"messages": _each(_message), "system": _blocks, "requests": _each(_one_of_batch)})


def _changed(value: Any, members: Mapping[str, _Showing]) -> Any:
    if not isinstance(value, Mapping):
        return value
    new = {name: showing(value[name]) for name, showing in members.items() if name in value}
    return value if all(one is value[name] for name, one in new.items()) else {**value, **new}


def _each(showing: _Showing) -> _Showing:
    def of_list(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        new = [showing(one) for one in value]
        return value if all(one is before for one, before in zip(new, value, strict=True)) else new

    return of_list


def _one_of_batch(value: Any) -> Any:
    return _changed(value, {"params": _request})


def _message(value: Any) -> Any:
    return _changed(value, {"content": _blocks})


def _blocks(value: Any) -> Any:
    """A list of blocks, or the one that some results have in its place."""
    return _block(value) if isinstance(value, Mapping) else _each(_block)(value)


def _block(value: Any) -> Any:
    members: dict[str, _Showing] = {"content": _blocks, "source": _source}
    kind = value.get("type") if isinstance(value, Mapping) else None
    if isinstance(kind, str) and kind in _OPAQUE:
        members[_OPAQUE[kind]] = _left_out
    return _changed(value, members)


def is_opaque(value: Mapping[str, Any], name: str) -> bool:
    """Whether a member of a block or a source is base64 in which nobody here finds anything."""
    kind, of = value.get("type"), value.get("media_type")
    if kind == "base64":
        return name == "data" and isinstance(of, str) and _UNREADABLE.fullmatch(of) is not None
    return isinstance(kind, str) and _OPAQUE.get(kind) == name


def _source(value: Any) -> Any:
    """Of an image or a document. One of the kind ``content`` has blocks of its own."""
    if isinstance(value, Mapping) and value.get("type") == "base64" and is_opaque(value, "data"):
        return _changed(value, {"data": _left_out})
    return _changed(value, {"content": _blocks})


def _left_out(value: Any) -> Any:
    long = isinstance(value, str) and len(value) >= LEFT_OUT_MIN_BYTES and _ENCODED.fullmatch(value) is not None
    return {"left_out_bytes": len(value)} if long else value
