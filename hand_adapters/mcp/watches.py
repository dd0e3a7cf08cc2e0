"""Resources that clients watch: the calls that began it are over, and the server goes on saying what changes.

A server of the stateless era says so on a stream of each watch's own; one with a handshake says it unasked, which over
HTTP would need a stream that is not held open here.
"""

import asyncio
from typing import Final

from mcp import Client, MCPError
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.subscriptions import ResourceUpdated
from mcp_types import EmptyResult, ResourceUpdatedNotification, SubscribeRequest, SubscribeRequestParams
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from gateway.calls import HandCall, HandResult
from gateway.conversations import Watcher
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError

WATCHES_MAX: Final = 64
"""Watches in one session."""


class Watches:
    """Those of one session."""

    def __init__(self) -> None:
        self._watches: dict[asyncio.Task[None], tuple[str, Watcher]] = {}
        self._modern = False

    @property
    def active(self) -> bool:
        """Whether there is any."""
        return bool(self._watches)

    async def begin(self, client: Client, call: HandCall, *, unasked: bool) -> HandResult:
        """Begin one, as a call of ``resources/subscribe`` asks.

        Args:
            unasked: whether a server with a handshake can be heard outside of calls.

        Raises:
            HandError: ``hand.failed``, ``gateway.overloaded``: not executed.
            mcp.MCPError: the server answered with an error, or the connection ended.
        """
        watcher = call.conversation
        if not isinstance(watcher, Watcher):
            raise HandError(Reason.HAND_FAILED, HandFailure.NOT_EXECUTED, "nobody is here who could be told")
        if len(self._watches) >= WATCHES_MAX:
            raise HandError(Reason.OVERLOADED, HandFailure.NOT_EXECUTED, "too many watched resources")
        uri = str(call.args["uri"])
        self._modern = client.session.protocol_version in MODERN_PROTOCOL_VERSIONS
        loop = asyncio.get_running_loop()
        begun: asyncio.Future[None] = loop.create_future()
        if self._modern:
            task = loop.create_task(self._listen(client, uri, watcher, begun))
        elif unasked:
            params = SubscribeRequestParams(uri=uri)
            await client.session.send_request(SubscribeRequest(params=params), EmptyResult)
            task = loop.create_task(self._hear(watcher, begun))
        else:
            raise HandError(Reason.HAND_FAILED, HandFailure.NOT_EXECUTED, "the server is not heard outside of calls")
        self._watches[task] = uri, watcher
        task.add_done_callback(self._ended)
        await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            begun.cancel()
            raise HandError(Reason.HAND_FAILED, HandFailure.NOT_EXECUTED, "the server does not watch it")
        return HandResult((), {})

    async def heard(self, message: IncomingMessage) -> None:
        """The SDK's message handler, of a server with a handshake."""
        if self._modern or not isinstance(message, ResourceUpdatedNotification):
            return
        for uri, watcher in list(self._watches.values()):
            if uri == str(message.params.uri):
                watcher.updated(uri)

    def close(self) -> None:
        """End all of them, because the session ends."""
        for task in list(self._watches):
            task.cancel()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        _, watcher = self._watches.pop(task)
        if not watcher.cancelled.is_set():
            watcher.lost()
        if not task.cancelled():
            task.exception()

    async def _hear(self, watcher: Watcher, begun: "asyncio.Future[None]") -> None:
        begun.set_result(None)
        await watcher.cancelled.wait()

    async def _listen(self, client: Client, uri: str, watcher: Watcher, begun: "asyncio.Future[None]") -> None:
        try:
            async with client.listen(resource_subscriptions=[uri]) as subscription:
                if uri not in (subscription.honored.resource_subscriptions or ()):
                    return
                begun.set_result(None)
                left = asyncio.ensure_future(watcher.cancelled.wait())
                try:
                    while not left.done():
                        following = asyncio.ensure_future(anext(subscription))
                        await asyncio.wait({following, left}, return_when=asyncio.FIRST_COMPLETED)
                        if not following.done():
                            following.cancel()
                        elif following.result() == ResourceUpdated(uri=uri):
                            watcher.updated(uri)
                finally:
                    left.cancel()
        except (MCPError, SubscriptionLost, StopAsyncIteration):
            return
