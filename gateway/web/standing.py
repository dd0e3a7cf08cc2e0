"""Answers that stand open until somebody ends them."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.draining import Drain
from gateway.errors import Unavailable
from gateway.reasons import Reason


class Standing:
    """An ASGI app's open-ended answer, which ends, whole, when the gateway is about to stop."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry. Raises ``gateway.draining`` where the answer has not begun."""
        started = complete = False

        async def watch(message: Message) -> None:
            nonlocal started, complete
            started = started or message["type"] == "http.response.start"
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        answer = asyncio.ensure_future(self._answer(scope, receive, watch))
        stop = asyncio.ensure_future(self._drain.wait())
        try:
            await asyncio.wait({answer, stop}, return_when=asyncio.FIRST_COMPLETED)
            stopped = not answer.done()
        finally:
            answer.cancel()
            stop.cancel()
            await asyncio.gather(answer, stop, return_exceptions=True)
        if not answer.cancelled() and (failure := answer.exception()) is not None:
            raise failure
        if stopped and not started:
            raise Unavailable(Reason.DRAINING)
        if stopped and not complete:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
