"""One HTTP request of a client and its answer, and whether the client was still there when the answer was handed over.

What was handed over whole, on a connection of which nothing says that it is gone, counts as delivered. A connection
that breaks after the last byte left cannot be told from one on which it arrived.
"""

import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from mcp.server.context import ServerRequestContext
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.types import Message, Receive, Send

from gateway.ingress.mcp.requests import SESSION_HEADER, scope_of

SCOPE_KEY: Final = "handrail.exchange"
_ANSWER: Final = re.compile(rb'\{"jsonrpc":"2\.0",(?!(?:"id":(?:-?\d+|"[^"]*"),)?"method":)')
"""Begins a JSON-RPC answer, as the SDK writes one, and neither a notification nor a request."""
_HEAD_BYTES: Final = 4096
"""Within which a message begins: a stream's own fields come before it."""
_EXCHANGE: ContextVar["Exchange | None"] = ContextVar("exchange", default=None)


class Exchange:
    """A request and its answer.

    Attributes:
        plans: those whose client waits here.
        answered: those whose outcome the answer is.
        asked: those about which the answer asks the client something, with what is done where it was not handed over.
        stream: session and id of the request, by which a client of the handshake era can have the answer later.
        over: set once nothing more is sent.
        delivered: whether the answer was handed over.
    """

    def __init__(self) -> None:
        self.plans: set[str] = set()
        self.answered: set[str] = set()
        self.asked: dict[str, Callable[[], None]] = {}
        self.stream: tuple[str, str] | None = None
        self.over = False
        self.delivered = False
        self._gone = False

    def enter(self) -> None:
        """What is done in this context from now on is done for this exchange."""
        _EXCHANGE.set(self)

    def receiving(self, receive: Receive) -> Receive:
        """``receive``, watched for the client's leaving."""

        async def watched() -> Message:
            message = await receive()
            self._gone = self._gone or message["type"] == "http.disconnect"
            return message

        return watched

    def sending(self, send: Send) -> Send:
        """``send``, watched for the answer: neither a sign of life (a comment of server-sent events) nor a notification
        that goes before it on the stream. The end of a stream is not waited for, since clients hang up when they have
        the answer."""

        async def watched(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and (self.answered or self.asked) and not self.delivered:
                is_answer = _ANSWER.search(message.get("body", b""), 0, _HEAD_BYTES) is not None
                self.delivered = is_answer and not self._gone

        return watched


def exchange_here() -> Exchange | None:
    """The exchange of this context."""
    return _EXCHANGE.get()


def exchange_of(ctx: ServerRequestContext[Any]) -> Exchange:
    """The exchange of the HTTP request that carried this very message."""
    found = scope_of(ctx).get(SCOPE_KEY)
    return found if isinstance(found, Exchange) else Exchange()


def exchange_that_waits(ctx: ServerRequestContext[Any]) -> Exchange:
    """The same, of a request whose answer its client may have later, from its session's stream."""
    exchange = exchange_of(ctx)
    if ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS and isinstance(ctx.request, Request):
        exchange.stream = (ctx.request.headers.get(SESSION_HEADER, ""), str(ctx.request_id))
    return exchange
