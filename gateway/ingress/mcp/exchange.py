"""One HTTP request of a client and its answer, and whether the client was still there when the answer was handed over.

What was handed over whole, on a connection of which nothing says that it is gone, counts as delivered. A connection
that breaks after the last byte left cannot be told from one on which it arrived.
"""

from typing import Any, Final

from mcp.server.context import ServerRequestContext
from starlette.types import Message, Receive, Send

from gateway.ingress.mcp.requests import scope_of

SCOPE_KEY: Final = "handrail.exchange"


class Exchange:
    """A request and its answer.

    Attributes:
        plans: those whose client waits here.
        answered: those whose outcome the answer is.
        asked: those about which the answer asks the client something.
        over: set once nothing more is sent.
        delivered: whether the whole answer was handed over.
    """

    def __init__(self) -> None:
        self.plans: set[str] = set()
        self.answered: set[str] = set()
        self.asked: set[str] = set()
        self.over = False
        self.delivered = False
        self._gone = False

    def receiving(self, receive: Receive) -> Receive:
        """``receive``, watched for the client's leaving."""

        async def watched() -> Message:
            message = await receive()
            self._gone = self._gone or message["type"] == "http.disconnect"
            return message

        return watched

    def sending(self, send: Send) -> Send:
        """``send``, watched for the end of the answer."""

        async def watched(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self.delivered = not self._gone

        return watched


def exchange_of(ctx: ServerRequestContext[Any]) -> Exchange:
    """The exchange of the HTTP request that carried this very message."""
    found = scope_of(ctx).get(SCOPE_KEY)
    return found if isinstance(found, Exchange) else Exchange()
