"""One round: a prepared list of requests against one server, and what it cost."""

import array
import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.load import BenchError, read_frames, write_frames
from bench.processes import run_load
from bench.usage import measure


@dataclass(frozen=True, slots=True)
class Round:
    """What one round measured. A step is what is compared: a bare request, or one step of a governed plan."""

    subject: str
    connections: int
    requests: int
    steps: int
    seconds: float
    p50_milliseconds: float
    p99_milliseconds: float
    cpu_seconds: float
    memory_bytes: int
    """Proportional set size of the process tree after the round."""
    resident_bytes: tuple[int, ...]
    """Resident set size of each process after the round, the server's first, then its workers'."""
    grown_bytes: int
    """What the server's own grew by in the round."""

    @property
    def requests_per_second(self) -> float:
        """Whole requests."""
        return self.requests / self.seconds

    @property
    def steps_per_second(self) -> float:
        """Steps; equal to the requests for the bare hop."""
        return self.steps / self.seconds

    @property
    def cpu_microseconds_per_step(self) -> float:
        """Processor time of the whole tree, per step."""
        return self.cpu_seconds / self.steps * 1e6

    def document(self) -> dict[str, Any]:
        """Fields and rates, for the results file."""
        return {
            **asdict(self),
            "requests_per_second": self.requests_per_second,
            "steps_per_second": self.steps_per_second,
            "cpu_microseconds_per_step": self.cpu_microseconds_per_step,
        }


@dataclass(frozen=True, slots=True)
class Server:
    """A server under measurement."""

    pid: int
    port: int


def http_request(method: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> bytes:
    """The bytes of one HTTP/1.1 request on a kept-alive connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + body


async def play(
    server: Server, subject: str, connections: int, requests: Sequence[bytes], steps_each: int, directory: Path
) -> tuple[Round, list[tuple[int, bytes]]]:
    """Play ``requests`` in a closed loop; returns the figures and every answer as ``(status, body)``."""
    files = {name: str(directory / f"{name}.bin") for name in ("requests", "answers", "latencies")}
    write_frames(Path(files["requests"]), list(requests))
    spec = directory / "spec.json"
    spec.write_text(json.dumps({"port": server.port, "connections": connections, **files}), encoding="utf-8")
    before = measure(server.pid)
    done = json.loads(await run_load(spec))
    after = measure(server.pid)
    latencies = array.array("d")
    latencies.frombytes(Path(files["latencies"]).read_bytes())
    ordered = sorted(latencies)
    if len(ordered) != len(requests):
        raise BenchError(f"{len(requests)} requests got {len(ordered)} answers")
    figures = Round(
        subject=subject,
        connections=connections,
        requests=len(requests),
        steps=len(requests) * steps_each,
        seconds=done["seconds"],
        p50_milliseconds=ordered[len(ordered) // 2] * 1e3,
        p99_milliseconds=ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3,
        cpu_seconds=after.cpu_seconds - before.cpu_seconds,
        memory_bytes=after.pss_bytes,
        resident_bytes=after.resident_bytes,
        grown_bytes=after.resident_bytes[0] - before.resident_bytes[0],
    )
    frames = read_frames(Path(files["answers"]))
    return figures, [(struct.unpack_from(">H", frame)[0], frame[2:]) for frame in frames]
