"""Bytes from and to a jail: over its socket, or over TLS within that. What came in one piece with what was asked for
stays in ``buffer`` for whoever reads next.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Final

from hand_adapters.egress.causes import Cause, Denied
from hand_adapters.egress.head import END, HEAD_MAX_BYTES, Head, chunk_size

PIECE: Final = 65_536
_CHUNK_LINE_MAX: Final = 10


class Channel:
    """A connection of a jail."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.buffer = bytearray()
        self._reader = reader
        self._writer = writer

    async def pull(self) -> bytes:
        """What comes next, as it comes; empty at the end. What is in ``buffer`` already comes first."""
        if self.buffer:
            data = bytes(self.buffer)
            self.buffer.clear()
            return data
        return await self._reader.read(PIECE)

    async def send(self, data: bytes) -> None:
        """Send, and wait while too much is under way."""
        self._writer.write(data)
        await self._writer.drain()

    async def finish(self) -> None:
        """Say that nothing more comes, and read what still does for a moment: closing with unread bytes would have the
        kernel take back what was sent last."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        try:
            async with asyncio.timeout(1):
                for _ in range(16):
                    if not await self._reader.read(PIECE):
                        return
        except TimeoutError:
            return

    def close(self) -> None:
        """Close at once."""
        self._writer.transport.abort()

    # --- what a request is made of -----------------------------------------------------------------------------------

    async def more(self) -> bool:
        """Wait for more in ``buffer``; whether there is some."""
        held = bytes(self.buffer)
        self.buffer.clear()
        data = await self.pull()
        self.buffer += held + data
        return bool(data)

    async def head(self) -> bytes | None:
        """The next request's head with its empty line; ``None`` where the jail has closed. Raises Denied."""
        searched = 0
        while (end := self.buffer.find(END, searched)) < 0:
            searched = max(0, len(self.buffer) - len(END) + 1)
            if len(self.buffer) > HEAD_MAX_BYTES:
                raise Denied(Cause.MALFORMED)
            if not await self.more():
                if self.buffer:
                    raise Denied(Cause.MALFORMED)
                return None
        return self._cut(end + len(END))

    async def body(self, head: Head) -> AsyncIterator[bytes]:
        """The body that follows a head, in pieces. Raises Denied where it ends early or its chunks are none."""
        if head.length is not None:
            async for piece in self._exactly(head.length):
                yield piece
            return
        while size := chunk_size(await self._line()):
            async for piece in self._exactly(size):
                yield piece
            if await self._line():
                raise Denied(Cause.MALFORMED)
        if await self._line():
            raise Denied(Cause.MALFORMED)  # a trailer

    async def _line(self) -> bytes:
        while (end := self.buffer.find(b"\r\n")) < 0:
            if len(self.buffer) > _CHUNK_LINE_MAX or not await self.more():
                raise Denied(Cause.MALFORMED)
        return self._cut(end + 2)[:-2]

    async def _exactly(self, size: int) -> AsyncIterator[bytes]:
        while size:
            if not self.buffer and not await self.more():
                raise Denied(Cause.MALFORMED)
            piece = self._cut(min(size, len(self.buffer)))
            size -= len(piece)
            yield piece

    def _cut(self, size: int) -> bytes:
        piece = bytes(self.buffer[:size])
        del self.buffer[:size]
        return piece


class TlsChannel(Channel):
    """The same within TLS, which ends here."""

    def __init__(self, below: Channel, context: ssl.SSLContext) -> None:
        super().__init__(below._reader, below._writer)  # noqa: SLF001 - of its own class
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def greet(self) -> None:
        """The handshake. Raises Denied (``greeting``)."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._feed():
                    raise Denied(Cause.GREETING) from None
            except ssl.SSLError:
                await self._flush()  # the alert, so that the client can say what is wrong
                raise Denied(Cause.GREETING) from None
            else:
                await self._flush()
                return

    async def pull(self) -> bytes:
        """See :class:`Channel`. A connection that breaks off within TLS is at its end."""
        if self.buffer:
            data = bytes(self.buffer)
            self.buffer.clear()
            return data
        while True:
            try:
                return self._tls.read(PIECE)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._feed():
                    return b""
            except ssl.SSLError:
                return b""

    async def send(self, data: bytes) -> None:
        """See :class:`Channel`."""
        try:
            self._tls.write(data)
        except ssl.SSLError:
            raise ConnectionResetError from None
        await self._flush()

    async def finish(self) -> None:
        """See :class:`Channel`."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            await self._flush()
        await self._below.finish()

    async def _feed(self) -> bool:
        data = await self._below.pull()
        self._incoming.write(data)
        return bool(data)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._below.send(self._outgoing.read())
