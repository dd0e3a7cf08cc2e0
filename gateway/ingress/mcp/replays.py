"""What was sent to sessions of the handshake era of late, so that a client whose connection broke gets the rest of it
(2025-11-25, transports, resumability): for some minutes, in this process's memory, and not much.

The SDK names a stream by the id of a request, which two sessions may both have chosen. So what is kept is kept by
session, and an event's id, which nobody can guess, is looked up in the session that asks.
"""

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.types import JSONRPCError, JSONRPCMessage, JSONRPCResponse

KEPT_SECONDS: Final = 300.0
SESSION_EVENTS_MAX: Final = 64
SESSION_MAX_BYTES: Final = 2_097_152
ALL_MAX_BYTES: Final = 67_108_864
NAMED_MAX: Final = 4096
"""Sessions whose opening is remembered: those that nobody ended are not told from those that go on."""
RETRY_MILLISECONDS: Final = 1000
"""After which a client is told to come back."""

_SESSION: ContextVar[str | None] = ContextVar("session whose messages are sent", default=None)


@dataclass(frozen=True, slots=True)
class _Event:
    id: str
    stream: str
    message: JSONRPCMessage | None
    size: int
    at: float


@dataclass(slots=True)
class _Kept:
    events: deque[_Event] = field(default_factory=deque)
    size: int = 0

    def drop(self) -> int:
        """Forget the oldest; its size."""
        event = self.events.popleft()
        self.size -= event.size
        return event.size


class Replays(EventStore):
    """The SDK's event store, of all sessions. Belongs to one event loop."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, replayed: Callable[[str, str], None] = lambda *_: None
    ) -> None:
        """
        Args:
            clock: steady, in seconds.
            replayed: told of the session and the stream whose answer is about to be sent again.
        """
        self._replayed = replayed
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._named: OrderedDict[str, str] = OrderedDict()
        self._size = 0

    def enter(self, session_id: str | None) -> str:
        """What is sent in this context from now on is of this session; of one that has no id yet, where it is ``None``.

        Returns:
            The name of it, for :meth:`opened`.
        """
        name = session_id if session_id is not None else f" {secrets.token_hex(16)}"  # no id begins with a space
        _SESSION.set(name)
        return name

    def opened(self, name: str, session_id: str) -> None:
        """The session without an id has one now."""
        self._named[name] = session_id
        if len(self._named) > NAMED_MAX:
            self._named.popitem(last=False)

    def ended(self, session_id: str) -> None:
        """Forget a session."""
        self._forget(session_id)
        for name in [name for name, known in self._named.items() if known == session_id]:
            del self._named[name]

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """See the SDK's ``EventStore``."""
        event_id = secrets.token_urlsafe(16)
        session = self._session()
        if session is None:
            return event_id
        size = 0 if message is None else len(message.model_dump_json(by_alias=True, exclude_unset=True))
        if size > SESSION_MAX_BYTES:
            return event_id
        kept = self._kept.setdefault(session, _Kept())
        self._kept.move_to_end(session)
        kept.events.append(_Event(event_id, stream_id, message, size, self._clock()))
        kept.size += size
        self._size += size
        oldest = self._clock() - KEPT_SECONDS
        while len(kept.events) > SESSION_EVENTS_MAX or kept.size > SESSION_MAX_BYTES or kept.events[0].at < oldest:
            self._size -= kept.drop()
        while self._size > ALL_MAX_BYTES or self._long_unused(oldest):
            self._forget(next(iter(self._kept)))
        return event_id

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """See the SDK's ``EventStore``. Of another session's event nothing is known."""
        session = self._session()
        kept = self._kept.get(session) if session is not None else None
        oldest = self._clock() - KEPT_SECONDS
        events = [event for event in kept.events if event.at >= oldest] if kept is not None else []
        at = next((number for number, event in enumerate(events) if event.id == last_event_id), None)
        if at is None:
            return None
        missed = [event.message for event in events[at + 1 :] if event.stream == events[at].stream]
        if session is not None and any(isinstance(one, JSONRPCResponse | JSONRPCError) for one in missed):
            self._replayed(session, events[at].stream)
        for event in events[at + 1 :]:
            if event.stream == events[at].stream and event.message is not None:
                await send_callback(EventMessage(event.message, event.id))
        return events[at].stream

    def _session(self) -> str | None:
        name = _SESSION.get()
        return None if name is None else self._named.get(name, name)

    def _long_unused(self, oldest: float) -> bool:
        """Whether the session that was sent nothing for longest was so for too long."""
        kept = next(iter(self._kept.values()))
        return bool(kept.events) and kept.events[-1].at < oldest

    def _forget(self, session_id: str) -> None:
        if (kept := self._kept.pop(session_id, None)) is not None:
            self._size -= kept.size
