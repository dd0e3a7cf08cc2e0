"""Between the step that asks the model and the answer that its client reads: what came, in order, and not too much."""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import Unavailable
from gateway.messages_api.events import StreamEvent
from gateway.reasons import Reason

WAITING_MAX: Final = 64
"""Events or chunks that wait for a client to take them; then the upstream waits too."""


class Channel:
    """``calls.Relay`` of one request, and the reading end of it, for one reader.

    Attributes:
        headers, body, says: see ``calls.Relay``.
        status, answered: of the answer, once it has :attr:`begun`.
        collected: of an approved request that stands for this one: its approval is used up with that.
    """

    def __init__(self, headers: Mapping[str, str], body: bytes, says: bytes) -> None:
        self.headers = headers
        self.body = body
        self.says = says
        self.gone = asyncio.Event()
        self.begun = False
        self.collected = False
        self.status = 0
        self.answered: Mapping[str, str] = {}
        self._waiting: deque[StreamEvent | bytes] = deque()
        self._came = asyncio.Event()
        self._room = asyncio.Event()

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """See ``calls.Relay``."""
        if self.begun or self.gone.is_set():
            raise Unavailable(Reason.HAND_LOST_REPLY, "nobody waits for an answer any more")
        self.status, self.answered, self.begun = status, headers, True
        self._came.set()

    async def event(self, event: StreamEvent) -> None:
        """See ``calls.Relay``."""
        await self._put(event)

    async def chunk(self, chunk: bytes) -> None:
        """See ``calls.Relay``."""
        await self._put(chunk)

    async def head(self, whole: asyncio.Future[Any]) -> bool:
        """Whether there is an answer that has begun; once it has, or the step is over (``whole`` is done)."""
        while not self.begun and not whole.done():
            await self._news(whole)
        return self.begun

    async def take(self, whole: asyncio.Future[Any]) -> StreamEvent | bytes | None:
        """What comes next; ``None`` where nothing does, for the step is over (``whole`` is done)."""
        while not self._waiting and not whole.done():
            await self._news(whole)
        self._room.set()
        return self._waiting.popleft() if self._waiting else None

    async def _put(self, part: StreamEvent | bytes) -> None:
        while len(self._waiting) >= WAITING_MAX:
            self._room.clear()
            await self._room.wait()
        self._waiting.append(part)
        self._came.set()
        await asyncio.sleep(0)  # the reader passes it on before anybody looks at what came after it

    async def _news(self, whole: asyncio.Future[Any]) -> None:
        """Returns when something came, or the step is over."""
        self._came.clear()
        whole.add_done_callback(self._over)
        try:
            await self._came.wait()
        finally:
            whole.remove_done_callback(self._over)

    def _over(self, _: asyncio.Future[Any]) -> None:
        self._came.set()
