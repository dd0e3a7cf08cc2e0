"""Server-sent events (WHATWG HTML, section 9.2): one event at a time from an async iterator to one client.

The next event is taken only after the client took the last, so a slow client holds one event and the transport's
bounded buffer, not a queue. A stalled, departed or revoked client ends the stream, and ending it closes the iterator.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import orjson
import structlog
from starlette.types import Message, Receive, Scope, Send

from gateway.draining import Drain
from gateway.errors import HandrailError, Unavailable
from gateway.plans.followers import Event
from gateway.reasons import TEXTS, Reason
from gateway.web.access import ResponseAborted
from gateway.web.context import request_id_of
from gateway.web.metrics import WebMetrics

_log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS: Final = 15.0
SEND_TIMEOUT_SECONDS: Final = 30.0
"""A client that takes nothing for so long is gone."""
RETRY_MILLISECONDS: Final = 2000
STREAMS_MAX: Final = 1024
STREAMS_PER_PRINCIPAL_MAX: Final = 32

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Streams:
    """How many event streams are open, in all and by principal."""

    def __init__(self, metrics: WebMetrics, drain: Drain | None = None) -> None:
        self._metrics = metrics
        self.drain = drain or Drain()
        self._by_owner: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Streams open now."""
        return self._by_owner.total()

    def require_room(self, owner: str) -> None:
        """Raises ``gateway.overloaded`` at either limit; for what costs much before it streams."""
        if self.total >= STREAMS_MAX or self._by_owner[owner] >= STREAMS_PER_PRINCIPAL_MAX:
            raise Unavailable(Reason.OVERLOADED, "event streams")

    def enter(self, owner: str) -> None:
        """Count one more. Raises ``gateway.overloaded`` at either limit."""
        self.require_room(owner)
        self._by_owner[owner] += 1
        self._metrics.streams.inc()

    def leave(self, owner: str) -> None:
        """Count one less."""
        self._by_owner[owner] -= 1
        if not self._by_owner[owner]:
            del self._by_owner[owner]
        self._metrics.streams.dec()


class EventStream:
    """An ASGI answer that streams ``events`` until they end or the client does.

    Attributes:
        still_permitted: awaited before whatever is sent once a heartbeat's time has passed since the last time, be the
            stream idle or busy; raising ends the stream.
    """

    def __init__(
        self,
        events: AsyncIterator[Event],
        streams: Streams,
        owner: str,
        still_permitted: Callable[[], Awaitable[object]],
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        send_timeout_seconds: float = SEND_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events
        self._streams = streams
        self._owner = owner
        self._still_permitted = still_permitted
        self._heartbeat_seconds = heartbeat_seconds
        self._send_timeout_seconds = send_timeout_seconds
        self._clock = clock
        self._permitted_at = clock()
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry. Raises ``gateway.overloaded`` before anything is sent."""
        self._streams.enter(self._owner)
        pump = asyncio.create_task(self._pump(scope, send))
        departure = asyncio.create_task(departed(receive))
        stop = asyncio.create_task(self._streams.drain.wait())
        try:
            await asyncio.wait({pump, departure, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pump.cancel()
            departure.cancel()
            stop.cancel()
            await asyncio.gather(pump, departure, stop, return_exceptions=True)
            self._streams.leave(self._owner)
            close = getattr(self._events, "aclose", None)
            if close is not None:
                await close()
        if not pump.cancelled() and (failure := pump.exception()) is not None:
            raise failure
        if pump.cancelled() and departure.cancelled() and not stop.cancelled():
            await self._part(send)

    async def _pump(self, scope: Scope, send: Send) -> None:
        """Start the answer once the first event, or nothing for a heartbeat, shows that there is something to follow.

        A refusal before that becomes an ordinary problem document; one after it ends the stream with an error event.
        """
        upcoming = self._next()
        try:
            await asyncio.wait({upcoming}, timeout=self._heartbeat_seconds)
            if upcoming.done() and isinstance(failure := upcoming.exception(), HandrailError):
                raise failure
            await self._put(send, {"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            self._begun = True
            await self._put(send, _chunk(b"retry: %d\n\n" % RETRY_MILLISECONDS))
            try:
                while scope["method"] != "HEAD":
                    done, _ = await asyncio.wait({upcoming}, timeout=self._heartbeat_seconds)
                    if not done:
                        await self._check()
                        await self._put(send, _chunk(b": heartbeat\n\n"))
                        continue
                    event = _event(*upcoming.result())
                    upcoming = self._next()
                    if self._clock() - self._permitted_at >= self._heartbeat_seconds:
                        await self._check()
                    await self._put(send, _chunk(event))
            except StopAsyncIteration:
                _log.debug("event stream complete")
            except HandrailError as error:
                _log.info("event stream ended", code=str(error.reason), detail=error.detail)
                await self._put(send, _chunk(_failure(error.reason, request_id_of(scope))))
            await self._put(send, {"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)

    async def _part(self, send: Send) -> None:
        """The end of a stream that the gateway cannot go on with: whole, with no event that says that anything is over,
        so that the client comes back with the id of its last."""
        if not self._begun:
            raise Unavailable(Reason.DRAINING)
        await self._put(send, _chunk(b": the gateway stops; come back with Last-Event-ID\n\n"))
        await self._put(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _check(self) -> None:
        await self._still_permitted()
        self._permitted_at = self._clock()

    def _next(self) -> asyncio.Future[Event]:
        return asyncio.ensure_future(anext(self._events))

    async def _put(self, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(self._send_timeout_seconds):
                await send(message)
        except TimeoutError:
            _log.info("event stream stalled; closing it")
            raise ResponseAborted from None


async def departed(receive: Receive) -> None:
    """Returns when the client is gone; a client that sends us nonsense meanwhile counts as gone."""
    try:
        while (await receive())["type"] != "http.disconnect":
            continue
    except HandrailError:
        return


def _chunk(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


def _event(number: int, name: str, data: dict[str, Any]) -> bytes:
    # orjson writes no raw line break, so the data is always one line.
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode("ascii"), orjson.dumps(data))


def _failure(reason: Reason, request_id: str) -> bytes:
    body = {"code": str(reason), "detail": TEXTS[reason], "request_id": request_id}
    return b"event: error\ndata: %s\n\n" % orjson.dumps(body)
