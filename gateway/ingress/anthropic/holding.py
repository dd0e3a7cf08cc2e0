"""What of a streamed answer passes at once, and what waits to be judged.

Text and thoughts pass as they come, byte for byte. From the first ``tool_use`` block on everything waits, for blocks
come in the order of their index and a client adds each to the last. When the message says why it stopped, all its tool
blocks are known and judged as one plan; then what waited goes out: an allowed block as it came, a denied one as a text
block in its place, so that the indices stay what they were. Where no tool block is left, ``stop_reason`` is
``end_turn`` instead of ``tool_use``: a client must not wait for a call that it was not given.

No I/O; one :class:`Holder` for each answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.canonical import parse
from gateway.errors import Refused
from gateway.messages_api.blocks import ANSWERED, DELTAS, TEXT, TOOL_USE
from gateway.messages_api.events import OTHER, StreamEvent
from gateway.reasons import Reason

HELD_MAX_BYTES: Final = 16_777_216
"""Of what waits in one answer."""
TOOL_BLOCKS_MAX: Final = 100

PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One call that a model has its client make.

    Attributes:
        index: the block's place in the message.
        id: the API's name for it, by which the client answers.
        args: ``None`` where what came is not one JSON object to every reader; such a call is never let go.
    """

    index: int
    id: str
    name: str
    args: Mapping[str, Any] | None = field(repr=False)


class Holder:
    """Takes an answer's events; says what goes out."""

    def __init__(self) -> None:
        self._held: list[StreamEvent] = []
        self._held_bytes = 0
        self._tools: dict[int, _Open] = {}
        self._open: _Open | None = None
        self._next_index = 0
        self._began = False
        self._judged = self._none_left = self._stopping = False
        self.waiting: tuple[ToolUse, ...] = ()
        """Calls that wait for :meth:`judged`; empty where none does."""
        self.last: bytes | None = None
        """The event that ends the message, and what followed it: they go out when the answer is on record."""
        self.failed = False
        """The upstream said itself that the answer broke off; that event went out as the last."""

    @property
    def began(self) -> bool:
        """Whether the client was shown the beginning of a message."""
        return self._began

    def take(self, event: StreamEvent) -> list[bytes]:
        """What goes out now because of ``event``; then :attr:`waiting` says whether there is something to judge.

        Raises:
            Refused: ``hand.protocol`` for whatever is not a message of this API, as it is documented.
        """
        if event.name in {None, "ping", OTHER}:
            return self._beside(event)
        if self.last is not None or self.failed:
            raise _foreign("something after the end")
        match event.name:
            case "error":
                self.failed = True
                return [event.raw]
            case "message_start":
                return self._start(event)
            case "content_block_stop" if not self._began:
                return [event.raw]  # it ends nothing
            case "content_block_start" | "content_block_delta" | "content_block_stop" if self._began:
                return self._block(event)
            case "message_delta" if self._began and self._open is None:
                return self._delta(event)
            case "message_stop" if self._began and self._open is None:
                if self._held:
                    raise _foreign("a message that does not say why it stopped")
                self.last = event.raw
                return []
        raise _foreign("an event that is unknown, or out of place")

    def judged(self, denied: Mapping[int, str]) -> list[bytes]:
        """What waited, now that it was judged.

        Args:
            denied: index of a call that is not let go -> what stands in its place.
        """
        self._none_left = len(self.waiting) == len(denied)
        out: list[bytes] = []
        for event in self._held:
            if event.name == OTHER:
                out.append(event.raw)
            elif event.name == "message_delta":
                out.append(_turned(event) if self._none_left else event.raw)
            elif event.data["index"] not in denied:
                out.append(event.raw)
            elif event.name == "content_block_stop":
                out += instead(event.data["index"], denied[event.data["index"]])
        self._held, self._held_bytes, self.waiting, self._judged = [], 0, (), True
        return out

    # --- events ------------------------------------------------------------------------------------------------------

    def _beside(self, event: StreamEvent) -> list[bytes]:
        """What no client acts on keeps its place: among what waits, and behind the end of the message."""
        if self.last is not None:
            self.last += event.raw
            return []
        return self._hold(event) if event.name == OTHER and self._held else [event.raw]

    def _start(self, event: StreamEvent) -> list[bytes]:
        message = event.data.get("message")
        if self._began or not isinstance(message, dict) or message.get("content") != []:
            # A client takes over what stands in here, so nothing may that was not judged.
            raise _foreign("a message that does not begin empty")
        self._began = True
        return [event.raw]

    def _block(self, event: StreamEvent) -> list[bytes]:
        if self._judged or self._stopping:
            raise _foreign("a block after the message stopped")
        data = event.data
        if event.name == "content_block_start":
            block = data.get("content_block")
            kind = block.get("type") if isinstance(block, dict) else None
            in_place = self._open is None and _is(data.get("index"), self._next_index)
            if not in_place or not isinstance(block, dict) or kind not in ANSWERED:
                raise _foreign("a block that is unknown, or out of place")
            self._open = _Open(self._next_index, kind, block)
            self._next_index += 1
            if kind == TOOL_USE:
                if len(self._tools) >= TOOL_BLOCKS_MAX:
                    raise _foreign("too many calls in one message")
                self._tools[self._open.index] = self._open
        else:
            opened = self._open
            if opened is None or not _is(data.get("index"), opened.index):
                raise _foreign("a part of no open block")
            if event.name == "content_block_delta":
                opened.add(data.get("delta"))
            else:
                self._open = None
        return self._hold(event) if self._tools else [event.raw]

    def _delta(self, event: StreamEvent) -> list[bytes]:
        delta = event.data.get("delta")
        if not isinstance(delta, dict) or "content" in delta or "content" in event.data:
            # What a message has is said by its blocks alone.
            raise _foreign("a message's end that cannot be read")
        if not self._tools:
            return [event.raw]
        if self._judged:
            return [_turned(event) if self._none_left else event.raw]
        self._hold(event)
        self._stopping = True
        if delta.get("stop_reason") is not None:
            self.waiting = unmistakable(one.call() for one in self._tools.values())
        return []

    def _hold(self, event: StreamEvent) -> list[bytes]:
        self._held_bytes += len(event.raw)
        if self._held_bytes > HELD_MAX_BYTES:
            raise _foreign("too much of an answer that waits")
        self._held.append(event)
        return []


class _Open:
    """A block that is being written."""

    __slots__ = ("block", "index", "kind", "parts")

    def __init__(self, index: int, kind: str, block: Mapping[str, Any]) -> None:
        self.index, self.kind, self.block = index, kind, block
        self.parts: list[str] = []

    def add(self, delta: Any) -> None:
        kind = delta.get("type") if isinstance(delta, dict) else None
        if self.kind not in DELTAS.get(kind or "", ()):
            raise _foreign("a part that does not belong to its block")
        if self.kind == TOOL_USE:
            part = delta.get("partial_json")
            if not isinstance(part, str):
                raise _foreign("a part that cannot be read")
            self.parts.append(part)

    def call(self) -> ToolUse:
        # Some clients take what the block began with for its input, and some what was added alone: only where that is
        # nothing do all of them read the same.
        written, began = "".join(self.parts), self.block.get("input")
        args = None if began not in ({}, None) else _parsed(written) if written else began
        return call_of(self.index, {**self.block, "input": args})


def call_of(index: int, block: Mapping[str, Any]) -> ToolUse:
    """The call in a whole ``tool_use`` block.

    Raises:
        Refused: ``hand.protocol`` for a block without an id or a name.
    """
    name, the_id, args = block.get("name"), block.get("id"), block.get("input")
    if not isinstance(name, str) or not isinstance(the_id, str) or not name or not the_id:
        raise _foreign("a call without a name")
    return ToolUse(index, the_id, name, args if isinstance(args, dict) else None)


def unmistakable(calls: Any) -> tuple[ToolUse, ...]:
    """The calls; those that share an id have no args any more, for a client's answer could be to either.

    Raises:
        Refused: ``hand.protocol`` for more than :data:`TOOL_BLOCKS_MAX`.
    """
    found: list[ToolUse] = list(calls)
    if len(found) > TOOL_BLOCKS_MAX:
        raise _foreign("too many calls in one message")
    ids = [one.id for one in found]
    return tuple(ToolUse(one.index, one.id, one.name, one.args if ids.count(one.id) == 1 else None) for one in found)


def instead(index: int, text: str) -> Sequence[bytes]:
    """The events of a text block."""
    return (
        event_bytes(
            {"type": "content_block_start", "index": index, "content_block": {"type": TEXT, "text": ""}},
        ),
        event_bytes(
            {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}},
        ),
        event_bytes({"type": "content_block_stop", "index": index}),
    )


def event_bytes(data: Mapping[str, Any]) -> bytes:
    """One event of the stream."""
    return b"event: %s\ndata: %s\n\n" % (data["type"].encode("ascii"), orjson.dumps(data))


def turned(stop_reason: Any) -> Any:
    """The stop reason of a message that has no call left."""
    return "end_turn" if stop_reason == "tool_use" else stop_reason


def _turned(event: StreamEvent) -> bytes:
    delta = event.data["delta"]
    if turned(delta.get("stop_reason")) == delta.get("stop_reason"):
        return event.raw
    return event_bytes({**event.data, "delta": {**delta, "stop_reason": turned(delta["stop_reason"])}})


def _parsed(text: str) -> Any:
    try:
        return parse(text.encode("utf-8"))
    except (Refused, UnicodeEncodeError):
        return None


def _is(index: Any, expected: int) -> bool:
    return type(index) is int and index == expected


def _foreign(what: str) -> Refused:
    return Refused(Reason.HAND_PROTOCOL, what)
