"""The connections of one hand, and the threads that wait for them: bounded, and nobody else's.

A connection is used again only for the tenant and with the password that it was opened with, and only as new. Who of
the tenant asks makes no difference to the database, which knows the hand's user alone.
"""

import asyncio
import functools
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from hand_adapters.sql.session import DatabaseLost, Outcome, Session

CANCELS_MAX: Final = 2
"""Threads that end what other threads wait for."""

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
        self._idle: deque[tuple[float, Key, Session]] = deque()
        self._slots = asyncio.Semaphore(connections_max)
        self._threads: ThreadPoolExecutor | None = None
        self._cancellers: ThreadPoolExecutor | None = None
        self._running: set[Attempt] = set()
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
        """In a thread. A connection that lay idle may have died: then a new one is tried, if nothing was sent yet."""
        while True:
            session = self._taken(key)
            used = session is not None
            if attempt.given_up:
                raise Ended
            if session is None:
                session = self._connect(key[1])
            attempt.session = session
            keep = False
            try:
                outcome = work(session, attempt.sending)
                keep = True
            except DatabaseLost:
                if used and not attempt.sent:
                    continue
                raise
            finally:
                attempt.session = None
                if keep and session.clean() and generation == self._generation:
                    self._idle.append((time.monotonic(), key, session))
                else:
                    session.close()
            return outcome

    def _taken(self, key: Key) -> Session | None:
        """The connection for ``key`` that was used last; those with another password of the tenant are closed."""
        found: Session | None = None
        kept: list[tuple[float, Key, Session]] = []
        with suppress(IndexError):
            while True:
                entry = self._idle.pop()
                since, known, session = entry
                if known[0] == key[0] and (known != key or time.monotonic() - since > self._idle_seconds):
                    session.close()
                elif found is None and known == key:
                    found = session
                else:
                    kept.append(entry)
        self._idle.extendleft(kept)
        while len(self._idle) >= self._most:
            with suppress(IndexError):
                self._idle.popleft()[2].close()
        return found

    def _give_up(self, attempt: Attempt) -> None:
        attempt.given_up = True
        session = attempt.session
        if session is not None and self._cancellers is not None:
            self._cancellers.submit(session.cancel)

    def _reap_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
        self._reaper = loop.call_later(self._idle_seconds, self._reap)

    def _reap(self) -> None:
        while self._idle:
            with suppress(IndexError):
                self._idle.popleft()[2].close()

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


def _seen(future: "asyncio.Future[Outcome]") -> None:
    """Take note of how a call ended that nobody waits for any more."""
    if not future.cancelled():
        future.exception()
