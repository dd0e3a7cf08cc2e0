"""A running program in a jail: its pipes and its end."""

import asyncio
import functools
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from hand_adapters.jail.spec import Capture, Completed, JailError

LINE_MAX_BYTES: Final = 1_048_576
STDERR_TAIL_BYTES: Final = 16_384
KILL_SECONDS: Final = 5.0


def _same(protocol: asyncio.BaseProtocol) -> asyncio.BaseProtocol:
    return protocol


class Tail(asyncio.Protocol):
    """Reads a pipe to its end and keeps the last ``keep`` bytes, or the first.

    Attributes:
        truncated: more was written than may be.
        left_out: bytes that were read and not kept.
    """

    def __init__(self, keep: int, *, tail: bool = True, over: Callable[[], None] | None = None, drain: int = 0) -> None:
        """
        Args:
            tail: keep the last bytes. Else:
            over: called where more than ``drain`` bytes are written beyond the first.
        """
        self._keep = keep
        self._tail = tail
        self._over = over
        self._drain = drain
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self.truncated = False
        self.left_out = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Keep what fits; count what does not."""
        if not self._tail and self._size + len(data) > self._keep:
            self.left_out += len(data) - (self._keep - self._size)
            data = data[: self._keep - self._size]
            if self.left_out > self._drain:
                self.truncated = True
                if self._over is not None:
                    self._over()
            if not data:
                return
        self._chunks.append(data)
        self._size += len(data)
        while self._tail and self._size - len(self._chunks[0]) >= self._keep:
            self._size -= len(self._chunks.popleft())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """The last writer has closed."""
        if not self.ended.done():
            self.ended.set_result(None)

    def content(self) -> bytes:
        """What was kept."""
        joined = b"".join(self._chunks)
        return joined[-self._keep :] if self._tail else joined


class JailedProcess:
    """A running program in a jail.

    Attributes:
        stdin: write to the program; ``await drain()`` after. Closing it ends the program's input.
        stdout: read from the program; back-pressured, at most 1 MiB a line (``readline``).
        pid: host pid of the jail's outermost process; meaningless once it has ended.
    """

    def __init__(self, key: int, kill: Callable[[int], Awaitable[None]], end_launcher: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self.key = key
        self.pid = 0
        self.stdin: asyncio.StreamWriter
        self.stdout: asyncio.StreamReader
        self._kill = kill
        self._end_launcher = end_launcher
        self._started: asyncio.Future[None] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._returncode: int | None = None
        self._timed_out = False
        self._failure: str | None = None
        self._stderr: Tail
        self._overflow: asyncio.Task[None] | None = None
        self.captured: Tail | None = None
        self._transports: list[asyncio.BaseTransport] = []

    @property
    def returncode(self) -> int | None:
        """``None`` while it runs; then the exit status, or minus the signal that ended it."""
        return self._returncode

    @property
    def timed_out(self) -> bool:
        """Whether its deadline killed it."""
        return self._timed_out

    def stderr_tail(self) -> bytes:
        """The last 16 KiB that the program wrote to its standard error (read all along, so it never blocks)."""
        return self._stderr.content()

    async def wait(self) -> int:
        """Wait until the whole tree is gone; returns :attr:`returncode`.

        Raises:
            JailError: where the program never began (the jail could not be built, or there is no such program).
        """
        await asyncio.shield(self._gone)
        if self._failure is not None:
            with suppress(TimeoutError):  # what bwrap or the launcher said about it is on its way through the pipe
                await asyncio.wait_for(asyncio.shield(self._stderr.ended), KILL_SECONDS)
            said = self.stderr_tail().decode("utf-8", errors="replace").strip()
            raise JailError(f"{self._failure}: {said}" if said else self._failure)
        return -9 if self._returncode is None else self._returncode

    async def kill(self) -> None:
        """End the whole tree, daemons too, and wait until it is gone. Safe to call twice."""
        if not self._gone.done():
            try:
                await self._kill(self.key)
                await asyncio.wait_for(asyncio.shield(self._gone), KILL_SECONDS)
            except (TimeoutError, JailError):
                # The launcher does not answer: end it, and the kernel ends every jail.
                self._end_launcher()
                await asyncio.shield(self._gone)
        self.release()

    def when_gone(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called once the whole tree is gone."""
        self._gone.add_done_callback(lambda _: callback())

    # --- for Jail alone ----------------------------------------------------------------------------------------------

    async def connect(self, stdin: int, stdout: int, stderr: int, capture: Capture | None) -> None:
        """Put asyncio's streams on our ends of the pipes, and collect what ``capture`` says; without it, nothing."""
        loop = asyncio.get_running_loop()
        self.stdout = asyncio.StreamReader(limit=LINE_MAX_BYTES)
        protocol: asyncio.BaseProtocol = asyncio.StreamReaderProtocol(self.stdout)
        self._stderr = Tail(STDERR_TAIL_BYTES)
        if capture is not None:
            most, drain = capture.max_bytes, capture.drain_bytes
            self.captured = protocol = Tail(most, tail=False, over=self._too_much, drain=drain)
            self._stderr = Tail(most, tail=False, over=self._too_much)
            if capture.error_tail_bytes is not None:
                self._stderr = Tail(capture.error_tail_bytes)
        unread = asyncio.StreamReader()
        files = (os.fdopen(stdout, "rb", 0), os.fdopen(stderr, "rb", 0), os.fdopen(stdin, "wb", 0))
        try:
            for file, reading in ((files[0], protocol), (files[1], self._stderr)):
                reader, _ = await loop.connect_read_pipe(functools.partial(_same, reading), file)
                self._transports.append(reader)
            writer, writing = await loop.connect_write_pipe(lambda: asyncio.StreamReaderProtocol(unread), files[2])
            self._transports.append(writer)
        except BaseException:
            for file in files:
                file.close()
            raise
        self.stdin = asyncio.StreamWriter(writer, writing, None, loop)
        if self._gone.done():
            writer.close()

    def _too_much(self) -> None:
        if self._overflow is None:
            self._overflow = asyncio.ensure_future(self.kill())

    async def completed(self) -> Completed:
        """How a captured program ended, once it has."""
        returncode = await self.wait()
        if self._overflow is not None:
            await self._overflow
        outputs = [output for output in (self.captured, self._stderr) if output is not None]
        await asyncio.gather(*(output.ended for output in outputs))
        truncated = any(output.truncated for output in outputs)
        left_out = 0 if self.captured is None else self.captured.left_out
        return Completed(returncode, outputs[0].content(), outputs[-1].content(), self._timed_out, truncated, left_out)

    def hear(self, message: Mapping[str, Any] | None, pid: int) -> None:
        """Take a report of the launcher; ``None`` where the launcher itself has ended."""
        if message is not None and message["event"] == "started":
            self.pid = pid
            if not self._started.done():
                self._started.set_result(None)
            return
        if self._gone.done():
            return
        if message is None:
            self._returncode = -9
        elif message["event"] == "refused":
            self._failure = f"the jail could not be built: {message['detail']}"
        else:
            self._returncode = message["returncode"]
            self._timed_out = message["timed_out"]
            if not message["began"] and self._returncode is not None and self._returncode >= 0:
                self._failure = message["failed"] or "the program did not begin"
        self._gone.set_result(None)
        if not self._started.done():
            self._started.set_result(None)
        for transport in self._transports[2:]:  # nobody is left to read what is written
            transport.close()

    async def started(self) -> None:
        """Wait until the launcher has forked. Raises JailError where it refused."""
        await self._started
        if self._failure is not None and self.pid == 0:
            self.release()
            raise JailError(self._failure)

    def release(self) -> None:
        """Close our ends of the pipes; what was read stays readable."""
        for transport in self._transports:
            transport.close()
