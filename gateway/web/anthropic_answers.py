"""Answers of the Messages API that take their time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog
from starlette.types import Message, Receive, Scope, Send

from gateway.ingress.anthropic.ingress import Answer
from gateway.web.access import ResponseAborted
from gateway.web.anthropic_requests import REQUEST_ID
from gateway.web.sse import departed

_log = structlog.get_logger(__name__)

SEND_TIMEOUT_SECONDS: Final = 30.0
"""A client that takes nothing for so long is gone."""


class AnswerStream:
    """An ASGI answer whose parts go out as they come. A client that leaves, or takes nothing, ends it, and with it the
    call at the provider."""

    def __init__(self, answer: Answer, request_id: str, send_timeout_seconds: float = SEND_TIMEOUT_SECONDS) -> None:
        self._answer = answer
        self._request_id = request_id
        self._send_timeout_seconds = send_timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
            await self._put(send, {"type": "http.response.body", "body": part, "more_body": True})
        await self._put(send, {"type": "http.response.body", "body": b"", "more_body": False})

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

