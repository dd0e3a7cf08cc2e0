"""How long whoever waits for people, or for other processes, may wait: no longer than until this process stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Patience:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Timeout] = set()
        self._hurried = False

    @asynccontextmanager
    async def within(self, seconds: float | None = None) -> AsyncIterator[None]:
        """Wait in here for at most ``seconds``. Raises ``TimeoutError`` after them, and on :meth:`hurry`."""
        async with asyncio.timeout(0.0 if self._hurried else seconds) as timeout:
            self._waiting.add(timeout)
            try:
                yield
            finally:
                self._waiting.discard(timeout)

    def hurry(self) -> None:
        """Have nobody wait any more: this process is about to stop. They get what they wait for as it stands."""
        self._hurried = True
        for timeout in self._waiting:
            timeout.reschedule(asyncio.get_running_loop().time())
