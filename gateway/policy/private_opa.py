"""A real OPA server of one's own on loopback, for trying a bundle out without touching the server that decides."""

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from gateway.policy.faults import EngineUnavailable

START_SECONDS: Final = 15.0
ATTEMPTS: Final = 3
"""A port that was free a moment ago can be taken; then another is tried."""
TOOLS: Final = Path(__file__).resolve().parents[2] / ".tools" / "bin"


def find_opa() -> Path | None:
    """The ``opa`` program on PATH, or in ``.tools/bin`` of the checkout."""
    found = shutil.which("opa") or shutil.which("opa", path=str(TOOLS))
    return Path(found) if found else None


@asynccontextmanager
async def private_opa(program: Path) -> AsyncIterator[str]:
    """Run ``program`` as a server on a free loopback port; gives its URL, and stops it at the end.

    Raises:
        EngineUnavailable: it did not start.
    """
    for _ in range(ATTEMPTS):
        port = _free_port()
        process = await asyncio.create_subprocess_exec(
            program,
            "run",
            "--server",
            f"--addr=127.0.0.1:{port}",
            "--log-level=error",
            "--disable-telemetry",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.defpath},
            cwd="/",
            start_new_session=True,
        )
        try:
            if await _listens(process, port):
                yield f"http://127.0.0.1:{port}"
                return
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    raise EngineUnavailable(f"{program} did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    try:
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return True
    except TimeoutError:
        return False
    return False
