"""What a server says, counted before anybody parses it: the same for a process's pipes and for HTTP.

A *window* is one question and its answer, or the quiet between two. The first byte too many, the first message that is
not strict JSON-RPC and the first answer to a question nobody asked end the channel.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCRequest, JSONRPCResponse, jsonrpc_message_adapter
from pydantic import ValidationError

from gateway.calls import HandCall
from gateway.canonical import parse
from gateway.errors import Refused
from gateway.model import EMPTY
from gateway.reasons import Reason

MESSAGES_MAX: Final = 1000
"""Messages that a server may send in one window."""
CHATTER_MAX_BYTES: Final = 65_536
"""What a server may send beside the answer in one window: notifications, logging, requests of its own."""
NOTE_MAX_BYTES: Final = 16_384
"""The longest message that is no answer."""
TRUNCATED_FACTOR: Final = 8
TRUNCATED_MAX_BYTES: Final = 67_108_864
# Keys that the SDK's tracing puts into a request; a server need not know our traces.
_TRACE_KEYS: Final = frozenset({"traceparent", "tracestate", "baggage"})


def answer_max_bytes(call: HandCall) -> int:
    """Of the answer to a call, as a message. A message that ends early is none, so a result whose text is to be cut is
    read whole: up to :data:`TRUNCATED_FACTOR` times its limit."""
    limit = call.result_max_bytes
    if not call.truncates:
        return limit
    return max(limit, min(max(TRUNCATED_FACTOR * limit, NOTE_MAX_BYTES), TRUNCATED_MAX_BYTES))


class Writer(ABC):
    """The SDK's write stream. It holds nothing open: what it writes to ends with the channel."""

    @abstractmethod
    async def send(self, item: SessionMessage, /) -> None:
        """Write one message. Raises ``anyio.BrokenResourceError`` once the channel has ended."""

    async def aclose(self) -> None:  # noqa: B027 - there is nothing to do, for any of them
        """Leave it to the channel to end."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


@dataclass(slots=True)
class Beside:
    """A request that is answered beside the windows, while another call may run.

    Attributes:
        requests: its id, once it was sent.
    """

    call: HandCall
    requests: set[Any] = field(default_factory=set)


BESIDE: Final[ContextVar[Beside | None]] = ContextVar("BESIDE", default=None)
"""The inquiry on whose behalf this task sends; ``None``: the call of the window."""


Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], Writer]


class Channel(ABC):
    """One connection to one server, for one principal.

    Attributes:
        fault: why it ended, ``None`` while it lives.
        detail, facts: what else is known of that.
        sent: requests that may have left so far.
        call: the call that is served, ``None`` between two.
        left: whether it ended because nobody needed it any more.
        session_over: whether it ended because the server no longer knows its session.
        not_taken: whether it ended because the server refused a request unread: who asks, or that they ask now.
    """

    unasked: ClassVar[bool] = True
    """Whether a server is heard between two calls."""

    def __init__(self) -> None:
        self.fault: Reason | None = None
        self.detail = ""
        self.facts: Mapping[str, str | int] = EMPTY
        self.sent = 0
        self.call: HandCall | None = None
        self.left = False
        self.session_over = False
        self.not_taken = False
        self.ended = asyncio.Event()
        self._expected: set[Any] = set()
        self._forgone: set[Any] = set()
        self._limits: dict[Any, int] = {}
        self.window(0)

    def window(self, answer_max_bytes: int) -> None:
        """Start a window whose answer, as a message, has at most ``answer_max_bytes`` (0: none is expected)."""
        self._answer_max = answer_max_bytes
        self._message_max = max(answer_max_bytes, NOTE_MAX_BYTES, *self._limits.values())
        self._budget = answer_max_bytes + CHATTER_MAX_BYTES + sum(self._limits.values())
        self._messages = MESSAGES_MAX

    def fail(self, reason: Reason, detail: str = "", /, **facts: str | int) -> None:
        """End it for ``reason``. Whoever waits for an answer is told at once; only the first call counts."""
        if self.fault is not None:
            return
        self.fault, self.detail, self.facts = reason, detail, facts
        self.ended.set()
        self._end()

    def close(self) -> None:
        """End it because nobody needs it any more."""
        self.left = self.left or self.fault is None
        self.fail(Reason.HAND_CRASHED, "closed")

    @abstractmethod
    def streams(self) -> AbstractAsyncContextManager[Streams]:
        """The pair that an MCP client drives; leaving ends the channel and waits until it is gone."""

    @abstractmethod
    async def gone(self) -> None:
        """Wait until nothing of it is left."""

    @abstractmethod
    def last_words(self) -> str:
        """What a server said outside of the protocol, for the operator. For a server that was sent no call yet: after
        one it may hold somebody's data."""

    @abstractmethod
    def _end(self) -> None:
        """Begin to end it; once."""

    def expect(self, request_id: Any) -> None:
        """Note a request that is about to be written."""
        self._expected.add(request_id)
        beside = BESIDE.get()
        if beside is not None:
            beside.requests.add(request_id)
            limit = answer_max_bytes(beside.call)
            if self.call is None:
                self.window(0)
            self._limits[request_id] = limit
            self._message_max = max(self._message_max, limit)
            self._budget += limit
            self._messages += 1

    def asker(self, question_id: Any) -> HandCall | None:  # noqa: ARG002 - pipes do not say
        """The call in whose answer a server asked this, where that is known."""
        return None

    def forgo(self, requests: Iterable[Any]) -> None:
        """Nobody waits for the answers to these any more: one that still comes is read over."""
        for request_id in self._expected & set(requests):
            self._forgone.add(request_id)
            self._settle(request_id)

    def _settle(self, request_id: Any) -> None:
        """Expect nothing more of a request."""
        self._expected.discard(request_id)
        self._budget -= self._limits.pop(request_id, 0)

    def message(self, content: bytes) -> JSONRPCMessage | None:
        """The message in ``content``; ``None`` for an empty one, and where it is a fault."""
        if not content.strip():
            return None
        self._messages -= 1
        if self._messages < 0:
            self.fail(Reason.HAND_PROTOCOL, "flood")
            return None
        try:
            message = jsonrpc_message_adapter.validate_python(parse(content), by_name=False)
        except (Refused, ValidationError) as exc:
            self.fail(Reason.HAND_PROTOCOL, type(exc).__name__)
            return None
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            if message.id in self._forgone:
                self._forgone.discard(message.id)
                return None
            if message.id not in self._expected:
                self.fail(Reason.HAND_PROTOCOL, "an answer to no question")
                return None
            limit = self._answer_max
            if message.id in self._limits:
                limit = self._limits[message.id]
                self._budget += len(content)
            self._settle(message.id)
            if len(content) > limit:
                self.fail(Reason.HAND_RESULT_TOO_LARGE, "answer")
                return None
            if isinstance(message, JSONRPCResponse) and "task" in message.result:
                # A task up to 2025-11-25; the SDK holds it to be a result of a tool, which has contents.
                message.result.setdefault("content", [])
        return message


def written(message: JSONRPCMessage) -> bytes:
    """A message as it goes to a server: one line of JSON, without our traces."""
    if isinstance(message, JSONRPCRequest):
        meta = (message.params or {}).get("_meta")
        if isinstance(meta, dict):
            for key in _TRACE_KEYS & meta.keys():
                del meta[key]
    return message.model_dump_json(by_alias=True, exclude_unset=True).encode("utf-8")
