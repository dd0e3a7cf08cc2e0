"""A proxy before a PostgreSQL server's socket, whose connections can be cut or left without an answer."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_SOCKET = ".s.PGSQL.5432"


class Wire:
    """What goes through is looked at for COMMIT alone.

    Attributes:
        cut_before_commit: the next COMMIT is not passed on, and its connection is cut.
        cut_after_commit: the next COMMIT is passed on, and the connection is cut once the server has answered; the
            answer is not.
    """

    def __init__(self, server: Path) -> None:
        self._server = server / _SOCKET
        self._open: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._down = False
        self.cut_before_commit = False
        self.cut_after_commit = False

    def cut(self) -> None:
        """End every connection, and take no new one."""
        self._down = True
        for writer in list(self._open):
            writer.transport.abort()

    def silence(self) -> None:
        """Pass nothing on, and end nothing: the network is partitioned."""
        self._passing.clear()

    def mend(self) -> None:
        self._down = False
        self._passing.set()

    async def serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self._down:
            client.transport.abort()
            return
        server_reader, server = await asyncio.open_unix_connection(self._server)
        self._open |= {client, server}
        try:
            await asyncio.gather(self._up(client_reader, server), self._back(server_reader, client))
        except (ConnectionError, _Cut):
            pass
        finally:
            self._open -= {client, server}
            client.transport.abort()
            server.transport.abort()

    async def _up(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while content := await client.read(1 << 16):
            await self._passing.wait()
            if self.cut_before_commit and b"COMMIT" in content:
                self.cut_before_commit = False
                raise _Cut
            if self.cut_after_commit and b"COMMIT" in content:
                self._swallow = True
            server.write(content)
            await server.drain()
        raise _Cut

    _swallow = False

    async def _back(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while content := await server.read(1 << 16):
            await self._passing.wait()
            if self._swallow:
                self._swallow = self.cut_after_commit = False
                raise _Cut
            client.write(content)
            await client.drain()
        raise _Cut


class _Cut(Exception):
    """End both sides of a connection."""


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[tuple[str, Wire]]:
    """A URL of the same database that leads through a :class:`Wire`."""
    address, _, server = url.partition("?host=")
    wire = Wire(Path(server))
    with tempfile.TemporaryDirectory(prefix="hrwire") as directory:
        listening = await asyncio.start_unix_server(wire.serve, Path(directory) / _SOCKET)
        try:
            yield f"{address}?host={directory}", wire
        finally:
            listening.close()
            wire.cut()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listening.wait_closed(), 5)
