"""Between the step that asks the model and the answer that its client reads: what came, in order, and not too much."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import Unavailable
from gateway.messages_api.events import StreamEvent
from gateway.reasons import Reason

WAITING_MAX: Final = 64
"""Events or chunks that wait for a client to take them; then the upstream waits too."""


class Channel:
    """``calls.Relay`` of one request, and the reading end of it.

    Attributes:
        headers, body, says: see ``calls.Relay``.
        status, answered: of the answer, once :attr:`begun` is set.
    """

    def __init__(self, headers: Mapping[str, str], body: bytes, says: bytes) -> None:
        self.headers = headers
        self.body = body
        self.says = says
        self.gone = asyncio.Event()
        self.begun = asyncio.Event()
        self.status = 0
        self.answered: Mapping[str, str] = {}
        self._waiting: asyncio.Queue[StreamEvent | bytes | None] = asyncio.Queue(WAITING_MAX)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """See ``calls.Relay``."""
        if self.begun.is_set() or self.gone.is_set():
            raise Unavailable(Reason.HAND_LOST_REPLY, "nobody waits for an answer any more")
        self.status, self.answered = status, headers
        self.begun.set()

    async def event(self, event: StreamEvent) -> None:
        """See ``calls.Relay``."""
        await self._waiting.put(event)

    async def chunk(self, chunk: bytes) -> None:
        """See ``calls.Relay``."""
        await self._waiting.put(chunk)

    async def take(self, whole: asyncio.Future[Any]) -> StreamEvent | bytes | None:
        """What comes next; ``None`` where nothing does, for the step is over.

        Args:
            whole: done when the step is over.
        """
        if self._waiting.empty() and not whole.done():
            getting: asyncio.Future[StreamEvent | bytes | None] = asyncio.ensure_future(self._waiting.get())
            both: set[asyncio.Future[Any]] = {getting, whole}
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    return getting.result()
            finally:
                getting.cancel()
        return None if self._waiting.empty() else self._waiting.get_nowait()
