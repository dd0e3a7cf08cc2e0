"""Start the programs of a measurement, each pinned to one core, and stop exactly those."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.load import BenchError

SERVER_CORE = 0
"""Where the hop or the gateway runs, with all its workers."""
LOAD_CORE = 1
"""Where the load generator and the upstream run."""
START_SECONDS = 30.0
HERE = Path(__file__).resolve().parent
CONFIGURED = """\
home = "{home}"

[server]
port = {port}

[policy]
deadline_milliseconds = 2000

[telemetry]
log_level = "warning"
"""
"""How a configuration of a gateway under measurement begins."""
BODY = '{"id":7,"name":"pear","price":129,"stock":[3,1,4],"tags":["fruit","green"]}'
"""What the upstream always answers."""


def free_port() -> int:
    """A TCP port on loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def pinned(
    core: int, command: Sequence[str], port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` on ``core`` until the block ends; enter once ``port`` accepts connections.

    Raises:
        BenchError: it ended or did not listen in time; the text carries the end of its output.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdout=output, stderr=output, env=environment, cwd=HERE.parent
        )
    try:
        _await_port(process, port, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise BenchError(f"nothing listens on port {port}:\n{tail}")


@contextlib.contextmanager
def upstream(directory: Path) -> Iterator[int]:
    """nginx on a free port of loopback; yields the port.

    Raises:
        BenchError: nginx is not installed.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise BenchError(
            "nginx is the upstream of this benchmark and is not here. On Debian: apt-get install nginx-light"
        )
    port = free_port()
    template = (HERE / "upstream" / "nginx.conf").read_text(encoding="utf-8")
    for name, value in (("DIRECTORY", str(directory)), ("PORT", str(port)), ("BODY", BODY)):
        template = template.replace(f"@{name}@", value)
    configuration = directory / "nginx.conf"
    configuration.write_text(template, encoding="utf-8")
    command = [program, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(configuration)]
    with pinned(LOAD_CORE, command, port, directory / "nginx.log"):
        yield port


@contextlib.contextmanager
def bare_hop(directory: Path, upstream_port: int) -> Iterator[tuple[int, int]]:
    """The bare hop; yields ``(pid, port)``."""
    port = free_port()
    command = [sys.executable, "-m", "bench.hop", str(port), str(upstream_port)]
    with pinned(SERVER_CORE, command, port, directory / "hop.log") as process:
        yield process.pid, port


async def run_load(spec_file: Path) -> str:
    """Run the load generator on one spec; returns the line it printed.

    Raises:
        BenchError: with what it said.
    """
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "bench.load", str(spec_file),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=HERE.parent,
    )  # fmt: skip
    output, complaint = await process.communicate()
    if process.returncode:
        raise BenchError(f"the load generator failed: {complaint.decode(errors='replace')[-2000:]}")
    return output.decode()
