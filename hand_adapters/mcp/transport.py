"""A jailed process's pipes as the MCP SDK's streams, with every byte counted before anybody parses it.

The SDK's own stdio client is not used: it hands HOME, PATH and USER to the server (SANDBOX fact 9), reads lines of any
length, and shrugs at garbage. Here the first byte too many, the first line that is not strict JSON-RPC and the first
answer to a question nobody asked end the process.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCRequest, JSONRPCResponse, jsonrpc_message_adapter
from pydantic import ValidationError

from gateway.canonical import parse
from gateway.errors import Refused
from gateway.reasons import Reason
from hand_adapters.jail import JailedProcess

MESSAGES_MAX: Final = 1000
"""Messages that a server may send in one window."""
CHATTER_MAX_BYTES: Final = 65_536
"""What a server may send beside the answer in one window: notifications, logging, requests of its own."""
NOTE_MAX_BYTES: Final = 16_384
"""The longest line that is no answer."""
# Keys that the SDK's tracing puts into a request; a jailed server need not know our traces.
_TRACE_KEYS: Final = frozenset({"traceparent", "tracestate", "baggage"})

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], "_Writer"]


class Transport:
    """Both pipes of one process. A *window* is one question and its answer, or the quiet between two.

    Attributes:
        fault: why it ended, ``None`` while it lives.
        sent: requests handed to the process's input so far.
    """

    def __init__(self, process: JailedProcess) -> None:
        self.fault: Reason | None = None
        self.detail = ""
        self.sent = 0
        self.ended = asyncio.Event()
        self._process = process
        self._expected: set[Any] = set()
        self._pump: asyncio.Task[None] | None = None
        self._killing: asyncio.Task[None] | None = None
        self.window(0)

    def window(self, answer_max_bytes: int) -> None:
        """Start a window whose answer, as a line, has at most ``answer_max_bytes`` (0: none is expected)."""
        self._answer_max = answer_max_bytes
        self._line_max = max(answer_max_bytes, NOTE_MAX_BYTES)
        self._budget = answer_max_bytes + CHATTER_MAX_BYTES
        self._messages = MESSAGES_MAX

    def fail(self, reason: Reason, detail: str = "") -> None:
        """End the process for ``reason``. Whoever waits for an answer is told at once; only the first call counts."""
        if self.fault is not None:
            return
        self.fault, self.detail = reason, detail
        self.ended.set()
        self._killing = asyncio.get_running_loop().create_task(self._process.kill())
        if self._pump is not None:
            self._pump.cancel()

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[Streams]:
        """The pair that an MCP client drives; leaving ends the process and waits until it is gone."""
        outward, inward = anyio.create_memory_object_stream[SessionMessage | Exception](16)
        self._pump = asyncio.get_running_loop().create_task(self._read(outward))
        try:
            yield inward, _Writer(self, self._process.stdin)
        finally:
            self.fail(Reason.HAND_CRASHED, "closed")
            inward.close()
            await asyncio.gather(self._pump, self._killing or asyncio.sleep(0), return_exceptions=True)

    async def _read(self, outward: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        try:
            async with outward:
                await self._read_lines(outward)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            self.fail(Reason.HAND_CRASHED, type(exc).__name__)

    async def _read_lines(self, outward: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        buffer = bytearray()
        while chunk := await self._process.stdout.read(65_536):
            searched = len(buffer)
            buffer += chunk
            self._budget -= len(chunk)
            while (end := buffer.find(b"\n", searched)) >= 0:
                if end > self._line_max:
                    return self.fail(Reason.HAND_RESULT_TOO_LARGE, "line")
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                searched = 0
                message = self._message(line)
                if self.fault is not None:
                    return None
                if message is not None:
                    await outward.send(SessionMessage(message))
            if len(buffer) > self._line_max:
                return self.fail(Reason.HAND_RESULT_TOO_LARGE, "line")
            if self._budget < 0:
                return self.fail(Reason.HAND_PROTOCOL, "flood")
        return self.fail(Reason.HAND_CRASHED, "half a line" if buffer else "end of output")

    def _message(self, line: bytes) -> JSONRPCMessage | None:
        """The message in ``line``; ``None`` for an empty line, and where the line is a fault."""
        if not line.strip():
            return None
        self._messages -= 1
        if self._messages < 0:
            self.fail(Reason.HAND_PROTOCOL, "flood")
            return None
        try:
            message = jsonrpc_message_adapter.validate_python(parse(line), by_name=False)
        except (Refused, ValidationError) as exc:
            self.fail(Reason.HAND_PROTOCOL, type(exc).__name__)
            return None
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            if message.id not in self._expected:
                self.fail(Reason.HAND_PROTOCOL, "an answer to no question")
                return None
            self._expected.discard(message.id)
            if len(line) > self._answer_max:
                self.fail(Reason.HAND_RESULT_TOO_LARGE, "answer")
                return None
        return message

    def expect(self, request_id: Any) -> None:
        """Note a request that is about to be written."""
        self._expected.add(request_id)
        self.sent += 1


class _Writer:
    """The SDK's write stream, straight into the process's input."""

    def __init__(self, transport: Transport, stdin: asyncio.StreamWriter) -> None:
        self._transport = transport
        self._stdin = stdin

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message as a line. Raises ``anyio.BrokenResourceError`` once the transport has ended."""
        if self._transport.fault is not None:
            raise anyio.BrokenResourceError
        message = item.message
        if isinstance(message, JSONRPCRequest):
            meta = (message.params or {}).get("_meta")
            if isinstance(meta, dict):
                for key in _TRACE_KEYS & meta.keys():
                    del meta[key]
            self._transport.expect(message.id)
        try:
            self._stdin.write(message.model_dump_json(by_alias=True, exclude_unset=True).encode("utf-8") + b"\n")
            await self._stdin.drain()
        except (OSError, RuntimeError):
            raise anyio.BrokenResourceError from None

    async def aclose(self) -> None:
        """Leave the pipe alone: it closes with the process."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None
