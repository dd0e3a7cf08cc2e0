"""Answers of the Messages API that take their time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import HandrailError
from gateway.ingress.anthropic.exchange import Answer
from gateway.web.access import ResponseAborted
from gateway.web.anthropic_requests import REQUEST_ID
from gateway.web.sse import HEARTBEAT_SECONDS, departed

Result = TypeVar("Result")

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

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        departure = asyncio.create_task(departed(receive))
        try:
            answer = await _unless(departure, self._answering)
            if answer is None:
                _log.info("client left before its answer began")
                raise ResponseAborted
            try:
                await _unless(departure, self._pump(answer, send))
            finally:
                answer.gone.set()
                await _close(answer.parts)
        finally:
            departure.cancel()
            await asyncio.gather(departure, return_exceptions=True)

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


async def _unless(departure: asyncio.Task[None], work: Coroutine[Any, Any, Result]) -> Result | None:
    """What the work gives; ``None`` where the client left before, which ends it."""
    working = asyncio.create_task(work)
    try:
        await asyncio.wait({working, departure}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _close(parts: AsyncIterator[bytes]) -> None:
    close: Any = getattr(parts, "aclose", None)
    if close is not None:
        await close()
