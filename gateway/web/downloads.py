"""A long answer that is made while it is sent: one piece at a time, so a slow client holds one piece and no more."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, cast

import structlog
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import HandrailError
from gateway.web.access import ResponseAborted
from gateway.web.sse import SEND_TIMEOUT_SECONDS, Streams

_log = structlog.get_logger(__name__)

PERMITTED_SECONDS: Final = 15.0


class Download:
    """An ASGI answer of ``chunks``.

    What goes wrong before the first piece becomes an ordinary problem document; after it the connection is broken off,
    so that nobody takes a part for the whole.

    Args:
        still_permitted: awaited every :data:`PERMITTED_SECONDS`; raising breaks the answer off.
    """

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        headers: Mapping[str, str],
        streams: Streams,
        owner: str,
        still_permitted: Callable[[], Awaitable[object]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chunks = chunks
        self._headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        self._streams = streams
        self._owner = owner
        self._still_permitted = still_permitted
        self._clock = clock

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """ASGI entry. Raises ``gateway.overloaded`` before anything is sent."""
        self._streams.enter(self._owner)
        try:
            await self._send(scope, send)
        finally:
            self._streams.leave(self._owner)
            await cast("Any", self._chunks).aclose()

    async def _send(self, scope: Scope, send: Send) -> None:
        first = await anext(self._chunks, b"")
        await _put(send, {"type": "http.response.start", "status": 200, "headers": self._headers})
        permitted = self._clock()
        if scope["method"] != "HEAD":
            await _put(send, _piece(first))
            try:
                async for chunk in self._chunks:
                    if self._clock() - permitted >= PERMITTED_SECONDS:
                        await self._still_permitted()
                        permitted = self._clock()
                    await _put(send, _piece(chunk))
            except HandrailError as error:
                _log.warning("an export broke off", code=str(error.reason), detail=error.detail)
                raise ResponseAborted from None
        await _put(send, {"type": "http.response.body", "body": b"", "more_body": False})


async def _put(send: Send, message: Message) -> None:
    try:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await send(message)
    except TimeoutError:
        _log.info("the client of an export takes nothing; breaking it off")
        raise ResponseAborted from None


def _piece(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}
