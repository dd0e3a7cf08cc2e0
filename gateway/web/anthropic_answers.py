"""Answers of the Messages API that take their time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import structlog
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import HandrailError
from gateway.ingress.anthropic.exchange import Answer
from gateway.web.access import ResponseAborted
from gateway.web.anthropic_requests import REQUEST_ID
from gateway.web.sse import HEARTBEAT_SECONDS, departed

_log = structlog.get_logger(__name__)

SEND_TIMEOUT_SECONDS: Final = 30.0
"""A client that takes nothing for so long is gone."""


class AnswerStream:
    """An ASGI answer whose parts go out as they come. A client that leaves, or takes nothing, ends it, and with it the
    call at the provider."""

    def __init__(
        self,
        answer: Answer,
        request_id: str,
        still_permitted: Callable[[], Awaitable[object]],
        send_timeout_seconds: float = SEND_TIMEOUT_SECONDS,
    ) -> None:
        """Send ``answer``.

        Args:
            still_permitted: awaited again and again while the answer lasts; raising ends it.
        """
        self._answer = answer
        self._request_id = request_id
        self._still_permitted = still_permitted
        self._permitted_at = time.monotonic()
        self._send_timeout_seconds = send_timeout_seconds

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        pump = asyncio.create_task(self._pump(send))
        departure = asyncio.create_task(departed(receive))
        try:
            await asyncio.wait({pump, departure}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pump.cancel()
            departure.cancel()
            await asyncio.gather(pump, departure, return_exceptions=True)
            await _close(self._answer.parts)
        if not pump.cancelled() and (failure := pump.exception()) is not None:
            raise failure

    async def _pump(self, send: Send) -> None:
        headers = {REQUEST_ID: self._request_id, **self._answer.headers}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._put(send, {"type": "http.response.start", "status": self._answer.status, "headers": raw})
        async for part in self._answer.parts:
            if time.monotonic() - self._permitted_at >= HEARTBEAT_SECONDS:
                await self._check()
            await self._put(send, {"type": "http.response.body", "body": part, "more_body": True})
        await self._put(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _check(self) -> None:
        try:
            await self._still_permitted()
        except HandrailError as error:
            _log.info("answer ended", code=str(error.reason), detail=error.detail)
            raise ResponseAborted from None
        self._permitted_at = time.monotonic()

    async def _put(self, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(self._send_timeout_seconds):
                await send(message)
        except TimeoutError:
            _log.info("client takes nothing of its answer; closing it")
            raise ResponseAborted from None


async def _close(parts: AsyncIterator[bytes]) -> None:
    close: Any = getattr(parts, "aclose", None)
    if close is not None:
        await close()
