"""The connections of one hand, and the threads that wait for them: bounded, and nobody else's.

A connection is used again only for the tenant and with the password that it was opened with, and only as new. Who of
the tenant asks makes no difference to the database, which knows the hand's user alone.
"""

import asyncio
import functools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from hand_adapters.sql.session import DatabaseLost, Outcome, Session

CANCELS_MAX: Final = 2
"""Threads that end what other threads wait for."""

_PAUSES_SECONDS: Final = (0.05, 0.2, 1.0, 2.0, 4.0, 8.0)
"""Between two attempts to end one statement."""

Key = tuple[str, str | None]
"""Tenant and password."""
Connect = Callable[[str | None], Session]
"""A password -> a new connection. Blocks; raises ``DatabaseLost``."""
Work = Callable[[Session, Callable[[], None]], Outcome]


class Ended(Exception):
    """The call was given up before anything was sent."""


@dataclass(slots=True)
class Attempt:
    """What became of one call.

    Attributes:
        sent: the statement may have reached the database.
    """

    sent: bool = False
    given_up: bool = False
    session: Session | None = field(default=None, repr=False)
    over: threading.Event = field(default_factory=threading.Event, repr=False)

    def sending(self) -> None:
        """Before the statement leaves."""
        if self.given_up:
            raise Ended
        self.sent = True


class Pool:
    """Belongs to one event loop at a time."""

    def __init__(self, connect: Connect, connections_max: int, idle_seconds: float) -> None:
        self._connect = connect
        self._most = connections_max
        self._idle_seconds = idle_seconds
        self._idle: deque[tuple[Key, Session]] = deque()
        self._slots = asyncio.Semaphore(connections_max)
        self._threads: ThreadPoolExecutor | None = None
        self._cancellers: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._used = 0
        """Connections that calls have; they and the idle ones are never more than ``connections_max``."""
        self._reaper: asyncio.TimerHandle | None = None
        self._generation = 0

    async def run(self, key: Key, attempt: Attempt, work: Work) -> Outcome:
        """Do ``work`` with a connection, in a thread. Cancelled, it ends at once; the database is told to end, too.

        Raises:
            what ``work`` raises; ``DatabaseLost`` with ``attempt.sent`` unset where nothing was sent.
        """
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._most, "sql")
            self._cancellers = ThreadPoolExecutor(CANCELS_MAX, "sql-cancel")
        call = functools.partial(self._work, key, attempt, work, self._generation)
        future = loop.run_in_executor(self._threads, call)
        future.add_done_callback(lambda _: self._slots.release())
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._give_up(attempt)
            future.add_done_callback(_seen)
            raise
        finally:
            self._reap_later(loop)

    def _work(self, key: Key, attempt: Attempt, work: Work, generation: int) -> Outcome:
        """In a thread."""
        try:
            return self._try(key, attempt, work, generation)
        finally:
            attempt.over.set()

    def _try(self, key: Key, attempt: Attempt, work: Work, generation: int) -> Outcome:
        """A connection that lay idle may have died: then a new one is tried, if nothing was sent yet."""
        while True:
            session = self._take(key)
            before = session is not None
            clean = False
            try:
                if attempt.given_up:
                    raise Ended
                if session is None:
                    session = self._connect(key[1])
                attempt.session = session
                outcome = work(session, attempt.sending)
                clean = session.clean()
            except DatabaseLost:
                if before and not attempt.sent:
                    continue
                raise
            finally:
                attempt.session = None
                self._give_back(key, session, keep=clean and generation == self._generation)
            return outcome

    def _take(self, key: Key) -> Session | None:
        """The connection for ``key`` that was used last; those with another password of the tenant are closed, and the
        oldest of others where there would be too many."""
        closing: list[Session] = []
        found: Session | None = None
        with self._lock:
            self._used += 1
            for entry in list(self._idle):
                if entry[0][0] == key[0] and entry[0] != key:
                    self._idle.remove(entry)
                    closing.append(entry[1])
            for entry in reversed(self._idle):
                if entry[0] == key:
                    self._idle.remove(entry)
                    found = entry[1]
                    break
            while self._idle and self._used + len(self._idle) > self._most:
                closing.append(self._idle.popleft()[1])
        for session in closing:
            session.close()
        return found

    def _give_back(self, key: Key, session: Session | None, *, keep: bool) -> None:
        with self._lock:
            self._used -= 1
            if keep and session is not None:
                self._idle.append((key, session))
                return
        if session is not None:
            session.close()

    def _give_up(self, attempt: Attempt) -> None:
        attempt.given_up = True
        session = attempt.session
        if session is not None and self._cancellers is not None:
            self._cancellers.submit(_cancel, session, attempt)

    def _reap_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
        self._reaper = loop.call_later(self._idle_seconds, self._reap)

    def _reap(self) -> None:
        """Close what is idle: nobody has called for as long as a connection may be."""
        with self._lock:
            closing = [session for _, session in self._idle]
            self._idle.clear()
        for session in closing:
            session.close()

    async def close(self) -> None:
        """Close every connection that is idle, and those under way when they come back. A later call starts anew."""
        self._generation += 1
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        self._reap()
        threads, self._threads = self._threads, None
        cancellers, self._cancellers = self._cancellers, None
        for one in (threads, cancellers):
            if one is not None:
                one.shutdown(wait=False)


def _cancel(session: Session, attempt: Attempt) -> None:
    """In a thread: a statement may begin just after it was cancelled, so it is cancelled until it is over."""
    for pause in _PAUSES_SECONDS:
        session.cancel()
        if attempt.over.wait(pause):
            return


def _seen(future: "asyncio.Future[Outcome]") -> None:
    """Take note of how a call ended that nobody waits for any more."""
    if not future.cancelled():
        future.exception()
