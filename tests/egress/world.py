"""Hosts to reach, names that lead to them, a call that keeps what was put on record, and a gate without a jail.

What a jail can do beside sending bytes is tested with a real one (``test_from_a_jail``); what the proxy makes of bytes
needs none: its listeners are then sockets of this process.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from gateway.calls import HandCall, Injections
from gateway.errors import Unavailable
from gateway.reasons import Reason
from gateway.settings import EgressSettings, HandSettings
from hand_adapters.egress import EgressGate
from tests.authority import Authority
from tests.hands.hands_support import call

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Names(dict[str, list[str]]):
    """Name -> addresses, in place of a name server; several answers follow each other, the last one stays."""

    def __init__(self, monkeypatch: Any) -> None:
        super().__init__()
        self.asked: list[str] = []
        self._system = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._find)

    def _find(self, host: Any, *args: Any, **kwargs: Any) -> Any:
        if host in self:
            self.asked.append(host)
            answers = self[host]
            return self._system(answers.pop(0) if len(answers) > 1 else answers[0], *args, **kwargs)
        return self._system(host, *args, **kwargs)


@dataclass
class Host:
    """An HTTP server that keeps what it was sent, to the byte.

    Attributes:
        answer: what it answers, or what makes an answer of a request's head.
        greeted: server names of the TLS greetings that came.
        meanwhile: is awaited before it answers.
    """

    name: str
    port: int = 0
    answer: bytes | Callable[[bytes], bytes] = OK
    requests: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                self.bodies.append(await reader.readexactly(int(length[0].split(b":")[1]) if length else 0))
                if self.meanwhile is not None:
                    await self.meanwhile()
                writer.write(self.answer if isinstance(self.answer, bytes) else self.answer(head))
                await writer.drain()
        writer.close()

    def header(self, name: str) -> list[str]:
        """The values of a header in the last request."""
        lines = self.requests[-1].decode().split("\r\n")[1:]
        return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].lower() == name]


@dataclass
class World:
    """Everything that a test of the proxy needs."""

    names: Names
    authority: Authority
    records: list[tuple[str, dict[str, Any], bytes]] = field(default_factory=list)
    full: bool = False
    """Whether the log takes nothing."""
    injected: dict[str, str] = field(default_factory=dict)
    """Headers that every request to a host is given, in place of secrets."""
    asked_for: list[tuple[Any, ...]] = field(default_factory=list)
    searched: Mapping[str, str] = field(default_factory=dict)
    servers: list[asyncio.Server] = field(default_factory=list)

    async def host(self, name: str = "api.example", *, tls: bool = True) -> Host:
        """A running host, at 127.0.0.1 by its name."""
        made = Host(name)
        context = None
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*self.authority.issue(name, x509.DNSName(name)))
        server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
        self.servers.append(server)
        made.port = server.sockets[0].getsockname()[1]
        self.names[name] = ["127.0.0.1"]
        return made

    def rule(self, to: Host, /, **changes: Any) -> EgressSettings:
        """A rule for a host that lets everything below /v1 through."""
        values: dict[str, Any] = {
            "host": to.name,
            "port": to.port,
            "private_network": True,
            "ca_file": self.authority.certificate,
            **({} if changes.get("blind") else {"paths": ("/v1/**",), "methods": ("GET", "POST", "HEAD")}),
        }
        return EgressSettings(**{**values, **changes})

    async def record(self, code: str, facts: Mapping[str, Any], personal: bytes) -> None:
        if self.full:
            raise Unavailable(Reason.LOG_UNAVAILABLE, "disk full")
        self.records.append((code, dict(facts), personal))

    def codes(self, *causes: str) -> list[str]:
        """The codes of the records; with ``causes``, of refusals for them alone."""
        return [code for code, facts, _ in self.records if not causes or facts.get("cause") in causes]

    def causes(self) -> list[str]:
        """Why what was refused was."""
        return [facts["cause"] for code, facts, _ in self.records if code == "EGRREF"]

    def call(self, **changes: Any) -> HandCall:
        async def inject(*request: Any) -> Any:
            self.asked_for.append(request)
            return Injections(self.injected)

        async def search(text: str) -> str:
            for value, mark in self.searched.items():
                text = text.replace(value, mark)
            return text

        given = {"record": self.record, "inject": inject, "search": search, **changes}
        return call("h", "fetch", given.pop("args", {}), given.pop("manifest_digest", "d"), **given)


def settings(*rules: EgressSettings, **changes: Any) -> HandSettings:
    """A hand with rules of egress."""
    return HandSettings(**{"adapter": "mcp", "command": ("server",), "egress": rules, **changes})


@contextlib.asynccontextmanager
async def opened(declared: HandSettings) -> AsyncIterator[tuple[EgressGate, int]]:
    """A gate on a socket of this process, and its port."""
    gate = EgressGate("h", declared)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    listener.setblocking(False)
    port = listener.getsockname()[1]
    gate.open([listener])
    try:
        yield gate, port
    finally:
        await gate.end()
        gate.close()
        assert not Path(gate.binds[0].source).exists()


async def say(port: int, *pieces: bytes, end: bool = True) -> bytes:
    """Send bytes to a gate and read all that it answers; ``end``: say that nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if end:
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def get(host: Host, path: str = "/v1/x", *headers: str, method: str = "GET", scheme: str = "http") -> bytes:
    """A request to a proxy, as a client sends it."""
    where = f"{host.name}:{host.port}"
    lines = [f"{method} {scheme}://{where}{path} HTTP/1.1", f"Host: {where}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode()


def status(answer: bytes) -> int:
    """The status of an answer; 0 where there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
