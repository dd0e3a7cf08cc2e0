"""Lines of two file descriptors, for one event loop: each is read or written by a thread of its own, so that neither a
client that says nothing nor one that does not read holds anything else up. Both threads end with the process.
"""

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterator
from typing import Final

CHUNK_BYTES: Final = 65_536
UNREAD_MAX: Final = 16
"""Lines that are read ahead of whoever takes them; after so many the client waits."""


class TooLong(Exception):
    """A line is longer than a line may be; it is not kept, and what follows it is read as usual."""


class LinesIn:
    """Lines as they arrive, without their end; the last one may have none.

    Args:
        descriptor: open for reading.
        max_bytes: of one line.
    """

    def __init__(self, descriptor: int, max_bytes: int) -> None:
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | TooLong | None] = asyncio.Queue(UNREAD_MAX)

    async def __aiter__(self) -> AsyncIterator[bytes | TooLong]:
        """Every line until the other side closes."""
        threading.Thread(target=self._read, name="lines in", daemon=True).start()
        while (line := await self._lines.get()) is not None:
            yield line

    def _read(self) -> None:
        begun = bytearray()
        dropping = False
        try:
            while chunk := self._chunk():
                *ended, rest = chunk.split(b"\n")
                for piece in ended:
                    begun += piece
                    dropping = dropping or len(begun) > self._max_bytes
                    self._put(TooLong() if dropping else bytes(begun))
                    begun.clear()
                    dropping = False
                begun += rest
                if len(begun) > self._max_bytes:
                    begun.clear()
                    dropping = True
            if begun or dropping:
                self._put(TooLong() if dropping else bytes(begun))
        finally:
            self._put(None)

    def _chunk(self) -> bytes:
        """What is there to read; nothing at the end, and where the descriptor cannot be read (any more)."""
        try:
            return os.read(self._descriptor, CHUNK_BYTES)
        except OSError:
            return b""

    def _put(self, line: bytes | TooLong | None) -> None:
        """Wait until there is room."""
        putting = self._lines.put(line)
        try:
            asyncio.run_coroutine_threadsafe(putting, self._loop).result()
        except RuntimeError:  # the loop is closed, and nobody waits any more
            putting.close()


class LinesOut:
    """Lines written whole, one after the other.

    Args:
        descriptor: open for writing.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._work: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._write, name="lines out", daemon=True).start()

    async def write(self, line: bytes) -> None:
        """Write ``line`` and its end; returns once the other side's pipe has it.

        Raises:
            OSError: nobody reads any more.
        """
        async with self._turn:
            done = self._loop.create_future()
            self._work.put((line + b"\n", done))
            await done

    def close(self) -> None:
        """Write nothing more; the descriptor stays open."""
        self._work.put(None)

    def _write(self) -> None:
        while (work := self._work.get()) is not None:
            left, done = work
            error: OSError | None = None
            try:
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except OSError as exc:
                error = exc
            try:
                self._loop.call_soon_threadsafe(_tell, done, error)
            except RuntimeError:  # the loop is closed, and nobody waits any more
                return


def _tell(done: "asyncio.Future[None]", error: OSError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
