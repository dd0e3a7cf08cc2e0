"""Connections of clients that do not play by the rules, and what they are answered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import orjson

PATIENCE = 20
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


class Answer(NamedTuple):
    """One answer: status, headers in lower case, body."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def code(self) -> str:
        """Of a problem document."""
        return str(orjson.loads(self.body)["code"])


@asynccontextmanager
async def connection(
    port: int, address: str = "127.0.0.1", buffer: int | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection from an address of this machine; ``buffer`` is what its reader takes before it is asked to."""
    limits = {} if buffer is None else {"limit": buffer}
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0), **limits)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> Answer:
    """The next answer of a connection; a chunked one is not read further than its head."""
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
    return Answer(int(lines[0].split(b" ")[1]), headers, body)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes; a reset is a close too."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read()
        except ConnectionError:
            return b""
