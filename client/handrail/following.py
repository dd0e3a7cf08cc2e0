"""How a reader of a plan's events keeps its place, across connections that break."""

from typing import Final
from urllib.parse import quote

import httpx2

from handrail.connection import TIMEOUT_SECONDS, unreachable
from handrail.errors import MalformedError, UnexpectedReply
from handrail.exchange import REPLY_MAX_DEPTH
from handrail.strict import parse
from handrail.views import Event

SILENCE_MAX_SECONDS: Final = 90.0
"""An event stream that says nothing for so long counts as broken."""
RECONNECTS_MAX: Final = 5
"""Connections in a row that may break without a single new event."""
RECONNECT_PAUSE_SECONDS: Final = 0.2
"""Before the first reconnect; it doubles with each further one."""
EVENT_MAX_BYTES: Final = 67_108_864
STREAM_TIMEOUT: Final = httpx2.Timeout(TIMEOUT_SECONDS, read=SILENCE_MAX_SECONDS)
_TRY_AGAIN: Final = frozenset({502, 503, 504})


class Following:
    """Where a reader of an event stream stands. Both clients keep their place with it."""

    def __init__(self, kind: str, name: str, pause_seconds: float) -> None:
        """Of a plan (``plans``) or a run (``runs``)."""
        self.path = f"/v1/{kind}/{quote(name, safe='')}/events"
        self.done = False
        self._last_id = 0
        self._connected = False
        self._fruitless = 0
        self._pause_seconds = pause_seconds

    def headers(self) -> dict[str, str]:
        """Of the next connection: it goes on after the last event that was seen."""
        resume = {"Last-Event-ID": str(self._last_id)} if self._last_id else {}
        return {"Accept": "text/event-stream", **resume}

    def refused(self, status: int) -> bool:
        """Whether the answer is to be raised; after a first success a gateway may be away for a moment."""
        if self._connected and status in _TRY_AGAIN:
            raise httpx2.RemoteProtocolError(f"HTTP {status}")
        self._connected = self._connected or status == httpx2.codes.OK
        return status != httpx2.codes.OK

    def take(self, message: httpx2.ServerSentEvent) -> Event | None:
        """The event of a message, or ``None`` for one that was seen before or says nothing."""
        if not message.data:
            return None
        if not message.id.isascii() or not message.id.isdigit():
            raise UnexpectedReply(200, "an event has no numeric id")
        number = int(message.id)
        if number <= self._last_id:
            return None
        try:
            data = parse(message.data, max_depth=REPLY_MAX_DEPTH)
        except MalformedError as exc:
            raise UnexpectedReply(200, f"an event is not strict JSON: {exc}") from None
        if not isinstance(data, dict):
            raise UnexpectedReply(200, "an event is not a JSON object")
        self._last_id, self._fruitless = number, 0
        self.done = message.event == "done"
        return {"id": message.id, "event": message.event, "data": data}

    def broken(self, url: httpx2.URL, reason: Exception | None) -> float:
        """Seconds to pause before the next connection.

        Raises:
            Unreachable: where there should be none.
        """
        if not self._connected or self._fruitless >= RECONNECTS_MAX:
            raise unreachable(url, reason)
        pause = self._pause_seconds * 2.0**self._fruitless
        self._fruitless += 1
        return pause
