"""Answers of the Messages API that take their time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
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
    """An ASGI answer whose parts go out as they come. A client that leaves, before it or while it comes, or takes
    nothing, ends it, and with it the call at the provider.

    Args:
        answering: gives the answer; what it raises is raised before anything was sent.
        still_permitted: awaited again and again while the answer lasts; raising ends it.
    """

    def __init__(
        self,
        answering: Coroutine[Any, Any, Answer],
        request_id: str,
        still_permitted: Callable[[], Awaitable[object]],
        send_timeout_seconds: float = SEND_TIMEOUT_SECONDS,
    ) -> None:
        self._answering = answering
        self._request_id = request_id
        self._still_permitted = still_permitted
        self._permitted_at = time.monotonic()
        self._send_timeout_seconds = send_timeout_seconds
        self._begun = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        answering = asyncio.create_task(self._answer(send))
        departure = asyncio.create_task(departed(receive))
        try:
            await asyncio.wait({answering, departure}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            departure.cancel()
            left = not answering.done()
            answering.cancel()
            await asyncio.gather(answering, departure, return_exceptions=True)
            self._answering.close()  # where it was never begun
        if left and not self._begun:
            _log.info("client left before its answer began")
            raise ResponseAborted
        if not left:
            answering.result()

    async def _answer(self, send: Send) -> None:
        answer = await self._answering
        self._begun = True
        try:
            await self._pump(answer, send)
        finally:
            answer.gone.set()
            await _close(answer.parts)

    async def _pump(self, answer: Answer, send: Send) -> None:
        headers = {REQUEST_ID: self._request_id, **answer.headers}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._put(send, {"type": "http.response.start", "status": answer.status, "headers": raw})
        async for part in answer.parts:
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
