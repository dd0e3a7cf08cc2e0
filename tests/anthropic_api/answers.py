"""What a test lets the stand-in answer: bytes as they are to come, breaks and pauses between them."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias

from anthropic.types import Message

from tests.anthropic_api.blocks import body, streamed

ERROR_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Status -> the ``type`` of the API's error."""


class Cut(Enum):
    """What a connection can do instead of going on."""

    BREAK = "break"
    """It ends here, and what was sent before arrives; the body lacks its end."""
    HANG = "hang"
    """Nothing more comes, until the client leaves."""


Piece: TypeAlias = bytes | asyncio.Event | Cut
"""Bytes to send at once; an event to wait for before going on; an end that is none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, byte for byte.

    Args:
        pieces: sent in this order, each written by itself; status and headers go before the first bytes.
        headers: beside those that every answer has.
    """

    pieces: Sequence[Piece]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


Scripted: TypeAlias = Answer | Message
"""A message is streamed to who asked for a stream, and is one JSON object to who did not."""


def stream(*pieces: Piece) -> Answer:
    """An answer in ``text/event-stream``."""
    return Answer(pieces, content_type="text/event-stream; charset=utf-8")


def failure(status: int, message: str = "It did not go well.", kind: str | None = None, **headers: str) -> Answer:
    """An error in the API's shape.

    Args:
        kind: the error's ``type``; by default that of the status.
        headers: with ``_`` for ``-``: ``retry_after="3"``.
    """
    shown = {"type": "error", "error": {"type": kind or ERROR_TYPES[status], "message": message}}
    return Answer([_json(shown)], status, {name.replace("_", "-"): value for name, value in headers.items()})


def error_event(kind: str = "overloaded_error", message: str = "Overloaded") -> bytes:
    """The event in which a stream that had begun says that it cannot go on."""
    shown = {"type": "error", "error": {"type": kind, "message": message}}
    return b"event: error\ndata: " + _json(shown) + b"\n\n"


def of_message(whole: Message, as_stream: bool) -> Answer:
    """The answer that a message is."""
    return stream(*streamed(whole)) if as_stream else Answer([body(whole)])


def of_object(shown: Any) -> Answer:
    """The answer that a JSON value is."""
    return Answer([_json(shown)])


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
