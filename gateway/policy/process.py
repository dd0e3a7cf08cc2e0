"""One evaluator process as the gateway sees it: a socket pair, one question at a time, and a deadline that kills."""

import asyncio
import contextlib
import socket
import sys
from pathlib import Path
from typing import Final

from gateway.policy.faults import EngineRefused, EngineUnavailable, EvaluationFailed
from gateway.reasons import Reason

SCRIPT: Final = str(Path(__file__).with_name("worker.py"))
START_SECONDS: Final = 10.0
"""How long a process may take to start and load, on a machine that is busy."""
ANSWER_MAX_BYTES: Final = 4_194_304


ENVIRONMENT: Final = {"MIMALLOC_ARENA_RESERVE": "65536"}
"""All that the process sees. Its allocator reserves 64 MiB at once, not 1 GiB, so that a limit means something."""


class _Frames(asyncio.Protocol):
    """Collects one answer at a time into the future that waits for it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._waiter: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) < 4:
            return
        size = int.from_bytes(self._buffer[:4], "big")
        if not 1 <= size <= self._limit or len(self._buffer) > 4 + size:
            self._finish(EvaluationFailed(Reason.POLICY_ERROR, "the evaluator's answer is too large or not a frame"))
        elif len(self._buffer) == 4 + size:
            frame = bytes(self._buffer[4:])
            self._buffer.clear()
            self._finish(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._finish(EvaluationFailed(Reason.POLICY_ERROR, f"the evaluator died: {type(exc).__name__}"))

    def ask(self, frame: bytes) -> "asyncio.Future[bytes]":
        self._waiter = asyncio.get_running_loop().create_future()
        if self.transport is None or self.lost:
            self._finish(EvaluationFailed(Reason.POLICY_ERROR, "the evaluator is gone"))
        else:
            self.transport.write(len(frame).to_bytes(4, "big") + frame)
        return self._waiter

    def expire(self, reason: Reason) -> None:
        self._finish(EvaluationFailed(reason, "deadline"))

    def _finish(self, outcome: bytes | EvaluationFailed) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if isinstance(outcome, bytes):
            waiter.set_result(outcome)
        else:
            waiter.set_exception(outcome)


class EvaluatorProcess:
    """A running ``worker.py``. Not for use by two tasks at once.

    Attributes:
        usable: ``False`` after anything but a clean answer; such a process is only good for :meth:`stop`.
    """

    def __init__(self, process: asyncio.subprocess.Process, frames: _Frames) -> None:
        self._process = process
        self._frames = frames
        self._failed = False

    @property
    def usable(self) -> bool:
        """Whether it may be asked again."""
        return not self._failed and not self._frames.lost

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @classmethod
    async def start(cls, answer_max_bytes: int = ANSWER_MAX_BYTES) -> "EvaluatorProcess":
        """Start a process in a session of its own, with no environment of ours and no descriptor but its socket.

        Raises:
            EngineUnavailable: the process could not be started.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-I",
                    "-B",
                    SCRIPT,
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    env=ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,
                )
            _, frames = await loop.create_unix_connection(lambda: _Frames(answer_max_bytes), sock=ours)
        except OSError as exc:
            ours.close()
            raise EngineUnavailable(f"no evaluator process: {exc.strerror}") from None
        return cls(process, frames)

    async def ask(self, frame: bytes, deadline_seconds: float) -> bytes | None:
        """Send ``frame``; the body of a good answer, or ``None`` where the rule is undefined.

        The process is killed where it does not answer in time, or where the caller is cancelled while it works.

        Raises:
            EngineRefused: the engine answered with an error or a panic.
            EvaluationFailed: ``policy.timeout``, or ``policy.error`` where the process died.
        """
        answer = self._frames.ask(frame)
        timer = asyncio.get_running_loop().call_later(deadline_seconds, self._frames.expire, Reason.POLICY_TIMEOUT)
        try:
            body = await answer
        except BaseException:
            self._failed = True
            self.kill()
            raise
        finally:
            timer.cancel()
        kind = body[:1]
        if kind == b"+":
            return body[1:]
        if kind == b"?":
            return None
        self._failed = kind != b"-"
        raise EngineRefused(body[1:].decode("utf-8", "replace"))

    def kill(self) -> None:
        """End the process now."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self) -> None:
        """Kill and reap the process and close its socket."""
        self._failed = True
        self.kill()
        if self._frames.transport is not None:
            self._frames.transport.close()
        await self._process.wait()
