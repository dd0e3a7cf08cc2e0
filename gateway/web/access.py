"""Outermost middleware: a request id, access metrics, and the last resort for errors nobody else handled."""

import time
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import HandrailError
from gateway.randomness import random_id
from gateway.reasons import Reason
from gateway.web.context import REQUEST_ID, ROUTE
from gateway.web.errors import problem, shaped
from gateway.web.metrics import WebMetrics

_log = structlog.get_logger(__name__)
_REQUEST_ID_HEADER: Final = b"x-request-id"
_UNMATCHED: Final = "unmatched"


class ResponseAborted(Exception):
    """An answer broke off after it began; the server must close the connection. Carries no text on purpose."""


class AccessMiddleware:
    """Gives each request an id of our own making (a client's could forge log lines) and answers it whatever happens."""

    def __init__(self, app: ASGIApp, metrics: WebMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = random_id()[:16]
        scope[REQUEST_ID] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        header = (_REQUEST_ID_HEADER, request_id.encode())
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], header]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ResponseAborted:
            raise
        except Exception as exc:  # noqa: BLE001 - the last resort: whatever it was, the client gets a problem document
            _log.exception("request failed", request_id=request_id, error=type(exc).__name__)
            if status:
                raise ResponseAborted from None
            failure = HandrailError(Reason.INTERNAL)
            response = shaped(scope, failure, problem(failure, request_id))
            await response(scope, receive, send_with_id)
        finally:
            self.metrics.observe(scope.get(ROUTE, _UNMATCHED), status, time.perf_counter() - started)
