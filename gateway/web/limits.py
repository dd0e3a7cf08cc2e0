"""Limits on what a request may send: header bytes, body bytes counted as they arrive, and the time they may take.

``Content-Length`` is believed only to refuse early; what is counted is what arrives (RFC 9112 section 6.3). A body is
read only when a handler asks for it, so an unauthenticated caller makes nobody buffer anything.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import Malformed, Refused
from gateway.reasons import Reason
from gateway.web.authentication import is_result
from gateway.web.context import request_id_of
from gateway.web.errors import problem, report, shaped

HEADERS_MAX_BYTES: Final = 32_768
"""Names and values of one request's headers, and its target, together."""
HEADERS_MAX: Final = 128
"""How many there may be."""
_LENGTH_MAX_DIGITS: Final = 18


class LimitsMiddleware:
    """Refuses oversized heads and bodies, and bodies that dawdle."""

    def __init__(
        self,
        app: ASGIApp,
        body_max_bytes: int,
        body_timeout_seconds: float,
        larger: Mapping[str, int] = MappingProxyType({}),
        results_max_bytes: int = 0,
    ) -> None:
        """Wrap ``app``.

        Args:
            larger: path -> its own limit, where what it takes is larger than a plan.
            results_max_bytes: the same for results of remote hands.
        """
        self.app = app
        self.body_max_bytes = body_max_bytes
        self.larger = larger
        self.results_max_bytes = max(results_max_bytes, body_max_bytes)
        self.body_timeout_seconds = body_timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.larger.get(scope["path"]) or self._usual(scope["path"])
        head = len(scope["path"]) + len(scope["query_string"])
        length: bytes | None = None
        for name, value in scope["headers"]:
            head += len(name) + len(value)
            if name == b"content-length":
                length = value
        if head > HEADERS_MAX_BYTES or len(scope["headers"]) > HEADERS_MAX:
            limits = {"headers_max_bytes": HEADERS_MAX_BYTES, "headers_max": HEADERS_MAX}
            refusal = Refused(Reason.REQUEST_HEADERS_TOO_LARGE, **limits)
            await self._refuse(refusal, scope, receive, send)
            return
        if length is not None:
            if not length.isdigit() or len(length) > _LENGTH_MAX_DIGITS:
                await self._refuse(_not_a_length(), scope, receive, send)
                return
            if int(length) > limit:
                await self._refuse(_too_large("declared", limit), scope, receive, send)
                return
        await self.app(scope, self._limited(receive, limit), send)

    def _usual(self, path: str) -> int:
        return self.results_max_bytes if is_result(path) else self.body_max_bytes

    def _limited(self, receive: Receive, limit: int) -> Receive:
        """``receive`` with the body counted and timed from the first read on; afterwards it waits without limit."""
        remaining = limit
        deadline: float | None = None
        complete = False

        async def limited() -> Message:
            nonlocal remaining, deadline, complete
            if complete:
                return await receive()
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + self.body_timeout_seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise Refused(
                    Reason.REQUEST_TIMEOUT, "body", body_timeout_seconds=round(self.body_timeout_seconds)
                ) from None
            if message["type"] != "http.request":
                raise Malformed("the client left before its body was complete", pointer="", expected="the whole body")
            remaining -= len(message.get("body", b""))
            if remaining < 0:
                raise _too_large("received", limit)
            complete = not message.get("more_body", False)
            return message

        return limited

    async def _refuse(self, refusal: Refused, scope: Scope, receive: Receive, send: Send) -> None:
        report(scope, refusal)
        await shaped(scope, refusal, problem(refusal, request_id_of(scope)))(scope, receive, send)


def _not_a_length() -> Malformed:
    expected = f"decimal digits, at most {_LENGTH_MAX_DIGITS}"
    return Malformed("content-length", parameter="Content-Length", expected=expected)


def _too_large(detail: str, limit: int) -> Refused:
    return Refused(Reason.REQUEST_TOO_LARGE, detail, body_max_bytes=limit)
