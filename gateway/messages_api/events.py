"""Server-sent events (WHATWG HTML, section 9.2), taken apart without losing a byte of them.

What is let through is let through as it came, so every event keeps its bytes, whatever chunks they came in. An event
that two readers could take for two different ones is refused: clients of the Messages API go by the event's name or by
the ``type`` in its data, so both have to be there, and the same where either is one that they know.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.canonical import parse
from gateway.errors import Refused
from gateway.reasons import Reason

EVENT_MAX_BYTES: Final = 4_194_304
"""Of one event. A block's start may carry a whole document (a result of a tool at Anthropic's)."""

KNOWN: Final = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    }
)
"""Events that clients act on. The API adds others, which clients leave alone (its documentation, versioning)."""
OTHER: Final = "other"
"""The name that an event has here whose own name and type are none of those that build a message."""
_OF_A_MESSAGE: Final = re.compile(r".*(?:content_block|message_)|\s*(?:ping|error)\s*\Z", re.DOTALL | re.IGNORECASE)
"""What the known ones are called. A later one that is called alike could change what a message has a client do, and one
that is called so but for a space or a capital is the same to some clients."""

_BREAKS: Final = (b"\n", b"\r")


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event.

    Attributes:
        raw: its bytes, the empty line at its end among them, where it has one.
        name: its ``event`` and the ``type`` of its data, or :data:`OTHER`; ``None`` where it carries no data, and so is
            none for a client (a comment that keeps the connection open).
        data: its data as JSON.
    """

    raw: bytes = field(repr=False)
    name: str | None = None
    data: dict[str, Any] = field(default_factory=dict, repr=False)


class EventReader:
    """Bytes in as they come, events out as they are complete.

    Args:
        event_max_bytes: an event that is longer is refused before it is complete.
    """

    def __init__(self, event_max_bytes: int = EVENT_MAX_BYTES) -> None:
        self._max = event_max_bytes
        self._buffer = bytearray()
        self._line = 0
        """Where in the buffer the line begins that is being read."""
        self._looked = 0
        """Where in it no line break has been looked for yet."""

    def feed(self, chunk: bytes) -> Iterator[StreamEvent]:
        """The events that ``chunk`` completes.

        Raises:
            Refused: ``hand.protocol`` for an event that is too long or no event of this API.
        """
        self._buffer += chunk
        while (end := self._end_of_event()) is not None:
            raw = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._line = self._looked = 0
            if len(raw) > self._max:
                raise _unreadable("an event that is too long")
            yield read_event(raw)
        if len(self._buffer) > self._max:
            raise _unreadable("an event that is too long")

    def end(self) -> Iterator[StreamEvent]:
        """The stream is over: what is left of it. The SDKs take what stands before the end without an empty line for an
        event too, unlike browsers.

        Raises:
            Refused: ``hand.protocol`` where it ends in the middle of an event.
        """
        raw = bytes(self._buffer)
        self._buffer.clear()
        self._line = self._looked = 0
        if raw:
            yield read_event(raw)

    def _end_of_event(self) -> int | None:
        """Where the first event in the buffer ends: behind the first empty line. A carriage return at the end of the
        buffer may be half of a line break, so it waits for what follows."""
        buffer = self._buffer
        while True:
            at = self._next_break()
            if at is None:
                return None
            if buffer[at] == 0x0D:
                if at + 1 == len(buffer):
                    self._looked = at
                    return None
                after = at + 2 if buffer[at + 1] == 0x0A else at + 1
            else:
                after = at + 1
            empty = at == self._line
            self._line = self._looked = after
            if empty:
                return after

    def _next_break(self) -> int | None:
        found = [at for at in (self._buffer.find(one, self._looked) for one in _BREAKS) if at >= 0]
        if not found:
            self._looked = len(self._buffer)
            return None
        return min(found)


def read_event(raw: bytes) -> StreamEvent:
    """One event from its bytes.

    Raises:
        Refused: ``hand.protocol`` for data without a name, a name without data, two names, data that is no JSON object
            or whose ``type`` is not the name.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _unreadable("not UTF-8") from None
    name: str | None = None
    data: list[str] = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        field_name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field_name == "event":
            if name is not None:
                raise _unreadable("an event with two names")
            name = value
        elif field_name == "data":
            data.append(value)
        elif field_name not in {"", "id", "retry"}:
            # A comment has no field name. A name that is nearly one (after a byte order mark, say) is one to some.
            raise _unreadable("an event with an unknown field")
    if name is None and not data:
        return StreamEvent(raw)
    if name is None or not data:
        raise _unreadable("an event without a name or without data")
    try:
        content = parse("\n".join(data).encode("utf-8"))
    except Refused:
        raise _unreadable("an event whose data is not JSON") from None
    kind = content.get("type") if isinstance(content, dict) else None
    if isinstance(kind, str) and _OF_A_MESSAGE.match(name) is None and _OF_A_MESSAGE.match(kind) is None:
        return StreamEvent(raw, OTHER, content)
    if kind != name:
        raise _unreadable("an event whose name is not its type")
    return StreamEvent(raw, name, content)


def _unreadable(what: str) -> Refused:
    return Refused(Reason.HAND_PROTOCOL, what)
