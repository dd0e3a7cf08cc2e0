"""A jailed process's pipes as the MCP SDK's streams, with every byte counted before anybody parses it.

The SDK's own stdio client is not used: it hands HOME, PATH and USER to the server, reads lines of any length, and
shrugs at garbage.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest

from gateway.reasons import Reason
from hand_adapters.exchange import last_words
from hand_adapters.jail import JailedProcess
from hand_adapters.mcp.channel import BESIDE, Channel, Streams, Writer, written


class PipeChannel(Channel):
    """Both pipes of one process. A message is a line; ending the channel kills the process."""

    def __init__(self, process: JailedProcess) -> None:
        super().__init__()
        self._process = process
        self._pump: asyncio.Task[None] | None = None
        self._killing: asyncio.Task[None] | None = None

    def _end(self) -> None:
        self._killing = asyncio.get_running_loop().create_task(self._process.kill())
        if self._pump is not None:
            self._pump.cancel()

    async def gone(self) -> None:
        """See ``Channel``."""
        await self._process.kill()

    def last_words(self) -> str:
        """See ``Channel``: the last line of its standard error."""
        return last_words(self._process)

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[Streams]:
        """See ``Channel``."""
        outward, inward = anyio.create_memory_object_stream[SessionMessage | Exception](16)
        self._pump = asyncio.get_running_loop().create_task(self._read(outward))
        try:
            yield inward, _PipeWriter(self, self._process.stdin)
        finally:
            self.close()
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
                if end > self._message_max:
                    return self.fail(Reason.HAND_RESULT_TOO_LARGE, "line")
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                searched = 0
                message = self.message(line)
                if self.fault is not None:
                    return None
                if message is not None:
                    await outward.send(SessionMessage(message))
            if len(buffer) > self._message_max:
                return self.fail(Reason.HAND_RESULT_TOO_LARGE, "line")
            if self._budget < 0:
                return self.fail(Reason.HAND_PROTOCOL, "flood")
        return self.fail(Reason.HAND_CRASHED, "half a line" if buffer else "end of output")


class _PipeWriter(Writer):
    """The SDK's write stream, straight into the process's input."""

    def __init__(self, channel: PipeChannel, stdin: asyncio.StreamWriter) -> None:
        self._channel = channel
        self._stdin = stdin

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message as a line. Raises ``anyio.BrokenResourceError`` once the channel has ended."""
        if self._channel.fault is not None:
            raise anyio.BrokenResourceError
        if isinstance(item.message, JSONRPCRequest):
            self._channel.expect(item.message.id)
            self._channel.sent += BESIDE.get() is None
        try:
            self._stdin.write(written(item.message) + b"\n")
            await self._stdin.drain()
        except (OSError, RuntimeError):
            raise anyio.BrokenResourceError from None
