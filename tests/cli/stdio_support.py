"""A client of stdio that may say anything, and a gateway that may answer anything, around one bridge."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

from gateway.cli.stdio_bridge import Bridge
from gateway.cli.stdio_lines import LinesIn, LinesOut

STREAM = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
STATELESS = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def request(method: str, id_: Any = 1, *, stateless: bool = True, **params: Any) -> bytes:
    """A request as a line."""
    meta = {"_meta": STATELESS} if stateless else {}
    return json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": {**params, **meta}}).encode() + b"\n"


def result(id_: Any = 1, **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "result": members}


@dataclass
class Asked:
    """One request that arrived at the gateway."""

    method: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


def answer(body: Any, headers: dict[str, str] = JSON, status: int = 200, **more: str) -> bytes:
    """An HTTP response; what is no bytes is written as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in (headers | more).items())]
    lines += [f"content-length: {len(raw)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode() + raw


@dataclass
class Gateway:
    """Answers by ``respond``: bytes to write, or nothing to hang up."""

    respond: Callable[[Asked], bytes | Awaitable[bytes]]
    asked: list[Asked] = field(default_factory=list)
    hung_up: list[Asked] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = (one.partition(":") for one in head[1:] if one)
            headers = {name.lower(): value.strip() for name, _, value in fields}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            asked = Asked(head[0].split()[0], headers, body)
            self.asked.append(asked)
            responding = asyncio.ensure_future(_awaited(self.respond(asked)))
            closing = asyncio.ensure_future(reader.read(1))
            await asyncio.wait({responding, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not responding.done():
                responding.cancel()
                self.hung_up.append(asked)
            else:
                writer.write(responding.result())
                await writer.drain()
            closing.cancel()


async def _awaited(found: bytes | Awaitable[bytes]) -> bytes:
    return found if isinstance(found, bytes) else await found


@asynccontextmanager
async def answering(respond: Callable[[Asked], Any], port: int = 0) -> AsyncIterator[Gateway]:
    gateway = Gateway(respond)
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", port, limit=2**26)
    gateway.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    async with server:
        yield gateway


@dataclass
class Talk:
    """The client's ends of the two pipes."""

    into: int
    out: asyncio.StreamReader
    said: list[str]

    def send(self, raw: bytes) -> None:
        while raw:
            raw = raw[os.write(self.into, raw) :]

    async def read(self) -> dict[str, Any]:
        return dict(json.loads(await self.out.readline()))

    async def ask(self, raw: bytes) -> dict[str, Any]:
        await asyncio.to_thread(self.send, raw)
        return await self.read()


@asynccontextmanager
async def bridged(url: str, max_bytes: int = 2**20, key: str = "hr_key") -> AsyncIterator[Talk]:
    """A bridge to ``url`` until the block ends, where the client closes its side."""
    (their_in, into), (out, their_out) = os.pipe(), os.pipe()
    reader = asyncio.StreamReader(limit=2**26)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(out, "rb")
    )
    talk = Talk(into, reader, [])
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}) as http:
        lines_out = LinesOut(their_out)
        bridge = Bridge(http, url, lines_out, talk.said.append)
        task = asyncio.create_task(bridge.run(LinesIn(their_in, max_bytes)))
        try:
            yield talk
            os.close(into)
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            transport.close()
            lines_out.close()
            os.close(their_out)
