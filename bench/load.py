"""A closed-loop HTTP/1.1 load generator in a process of its own: ``python -m bench.load SPEC.json``.

Each connection sends one prepared request, waits for the whole answer, then takes the next one. Requests are read
from a file before the clock starts; answers are only kept while it runs and judged by the caller afterwards.

The spec is ``{port, connections, requests, answers, latencies}``: the last three are files. ``requests`` and
``answers`` hold frames of a 4-byte big-endian length and that many bytes; an answer is the status in 2 bytes and the
body. ``latencies`` is a flat array of doubles in seconds. Prints one JSON line: ``{requests, seconds}``.
"""

import array
import asyncio
import json
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop


class BenchError(Exception):
    """A measurement cannot be trusted; the text says why."""


class Connection(asyncio.Protocol):
    """One kept-alive connection that works through the shared requests."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self.buffer = bytearray()
        self.expected = -1
        self.body_at = 0
        self.sent_at = 0.0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way out."""
        self.transport = transport

    def send(self) -> None:
        """Send the next request, or finish where there is none left."""
        request = next(self.run.pending, None)
        if request is None:
            self.run.finished(self)
            return
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect one answer; ``Content-Length`` is the only framing that both servers use."""
        self.buffer += data
        if self.expected < 0:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self.body_at = end + 4
            self.expected = self.body_at + _content_length(bytes(self.buffer[:end]))
        if len(self.buffer) < self.expected:
            return
        self.run.latencies.append(time.perf_counter() - self.sent_at)
        self.run.answers.append((int(self.buffer[9:12]), bytes(self.buffer[self.body_at : self.expected])))
        del self.buffer[: self.expected]
        self.expected = -1
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """A lost connection ends the run: a closed loop with fewer connections measures something else."""
        self.run.lost(exc)


class Run:
    """The state that all connections share."""

    def __init__(self, requests: list[bytes]) -> None:
        self.pending: Iterator[bytes] = iter(requests)
        self.latencies = array.array("d")
        self.answers: list[tuple[int, bytes]] = []
        self.open: set[Connection] = set()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finished(self, connection: Connection) -> None:
        """Count a connection that has nothing left to send."""
        self.open.discard(connection)
        if not self.open and not self.done.done():
            self.done.set_result(None)

    def lost(self, exc: Exception | None) -> None:
        """Fail the run if it was still going."""
        if not self.done.done():
            self.done.set_exception(BenchError(f"a connection was closed during the run: {exc}"))


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise BenchError("an answer has no Content-Length")


def read_frames(path: Path) -> list[bytes]:
    """The frames of ``path``."""
    raw = path.read_bytes()
    frames, at = [], 0
    while at < len(raw):
        (length,) = struct.unpack_from(">I", raw, at)
        frames.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    return frames


def write_frames(path: Path, frames: list[bytes]) -> None:
    """Write ``frames`` to ``path``."""
    path.write_bytes(b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))


async def drive(spec: dict[str, Any]) -> dict[str, float]:
    """Run one spec; returns how many requests took how many seconds."""
    requests = read_frames(Path(spec["requests"]))
    run = Run(requests)
    loop = asyncio.get_running_loop()
    for _ in range(spec["connections"]):
        _, connection = await loop.create_connection(lambda: Connection(run), "127.0.0.1", spec["port"])
        run.open.add(connection)
    started = time.perf_counter()
    for connection in tuple(run.open):
        connection.send()
    await run.done
    seconds = time.perf_counter() - started
    write_frames(Path(spec["answers"]), [struct.pack(">H", status) + body for status, body in run.answers])
    Path(spec["latencies"]).write_bytes(run.latencies.tobytes())
    return {"requests": len(requests), "seconds": seconds}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(drive(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))) + "\n")
