"""A stand-in for the jail that jails nothing: a plain subprocess on pipes. For tests of what is said over the pipes;
what a jail must hold back is tested with the real one."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from hand_adapters.jail import Bind, JailError, JailSpec


class PlainProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.pid = process.pid
        self._tail = b""
        self._reading = asyncio.create_task(self._read_errors())

    async def _read_errors(self) -> None:
        while chunk := await self._process.stderr.read(4096):
            self._tail = (self._tail + chunk)[-16_384:]

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def stderr_tail(self) -> bytes:
        return self._tail

    async def wait(self) -> int:
        return await self._process.wait()

    async def kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        # asyncio's wait() also waits for the pipes to end, and nobody may be reading a full one. Only the pipe is
        # closed: closing the process's transport polls, and if that reaps the dead first, asyncio reports 255 for it.
        self.stdout._transport.close()
        await self._process.wait()
        await self._reading


class PlainJail:
    """``started`` keeps every process, so that a test can see who lives."""

    tier = "testing_only"

    def __init__(self, missing: tuple[str, ...] = ()) -> None:
        self._missing = list(missing)
        self.started: list[PlainProcess] = []
        self.specs: list[JailSpec] = []

    @property
    def home(self) -> Path:
        return Path("/nonexistent/handrail")

    def missing(self) -> list[str]:
        return self._missing

    def check_binds(self, binds: Sequence[Bind]) -> None:
        """Nothing is bound, so nothing is refused."""

    async def start(self, spec: JailSpec) -> PlainProcess:
        self.specs.append(spec)
        try:
            process = await asyncio.create_subprocess_exec(
                *spec.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=dict(spec.env),
                start_new_session=True,
            )
        except OSError as exc:
            raise JailError(f"{spec.argv[0]}: {exc.strerror}") from None
        self.started.append(PlainProcess(process))
        return self.started[-1]

    @property
    def alive(self) -> int:
        return sum(process.returncode is None for process in self.started)

    async def close(self) -> None:
        for process in self.started:
            await process.kill()
