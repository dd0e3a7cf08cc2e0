"""The one writer of a process: a thread with its own connection that takes whatever waits and commits it together.

A caller waits for at most the deadline. Until the instant before COMMIT it may still walk away, and then nothing of
its append is written, now or later; after that instant its outcome is uncertain until the database answers. A
database that hangs for ever therefore holds one thread and no caller.
"""

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

import structlog

from audit.committer import Committer
from audit.errors import AuditError, LogUnavailable, LogUncertain
from audit.job import Job
from gateway.errors import HandrailError
from gateway.ports import Append
from gateway.reasons import Reason

QUEUE_MAX: Final = 8_192
"""Appends waiting; beyond it callers are refused at once."""
CLOSE_SECONDS: Final = 5.0

_logger: Final = structlog.get_logger("handrail.audit")


class _State(Enum):
    WAITING = auto()
    ABANDONED = auto()
    COMMITTING = auto()


@dataclass(slots=True, eq=False)
class Ticket(Job):
    """A job that somebody on an event loop waits for."""

    future: asyncio.Future[Any] = field(kw_only=True)
    loop: asyncio.AbstractEventLoop = field(kw_only=True)
    state: _State = _State.WAITING


@dataclass(slots=True, eq=False)
class _Call:
    """Something else for the writer's connection, done between two commits."""

    work: Callable[[Committer], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Writer:
    """Queue and thread.

    Args:
        make: builds the committer; called once, in the constructor.
        group_max_entries: appends taken into one commit (each has a few entries at most).
        group_wait_seconds: how long a commit waits for company.
        on_commit: called in the thread after a commit that moved the head, and then whenever it asked to be called:
            it returns the monotonic time of its next call, or ``None``.
    """

    def __init__(
        self,
        make: Callable[[Callable[[Sequence[Job]], bool], Callable[[Job], bool]], Committer],
        *,
        clock: Callable[[], float],
        deadline_seconds: float,
        group_max_entries: int,
        group_wait_seconds: float,
        on_commit: Callable[[Committer], float | None],
    ) -> None:
        self._committer = make(self._claim, _is_abandoned)
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._group_max_entries = group_max_entries
        self._group_wait_seconds = group_wait_seconds
        self._on_commit = on_commit
        self._due: float | None = None
        self._queue: deque[Ticket] = deque()
        self._calls: deque[_Call] = deque()
        self._wake = threading.Condition()
        self._claiming = threading.Lock()
        self._closing = False
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="handrail-audit-writer", daemon=True)

    def start(self) -> None:
        """Start the thread. It connects with the first commit."""
        self._thread.start()

    def stop(self) -> None:
        """Refuse new work, finish what waits, and end the thread; a hung database is not waited for."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    async def append(self, item: Append) -> Sequence[int]:
        """See ``gateway.ports.AuditLog.append``."""
        loop = asyncio.get_running_loop()
        ticket = Ticket(item, future=loop.create_future(), loop=loop)
        timer = loop.call_later(self._deadline_seconds, self._expire, ticket)
        self._enqueue(self._queue, ticket)
        try:
            indices: Sequence[int] = await ticket.future
        except asyncio.CancelledError:
            self._abandon(ticket)
            raise
        finally:
            timer.cancel()
        return indices

    async def call(self, work: Callable[[Committer], Any]) -> Any:
        """Run ``work`` in the writer. Raises ``LogUnavailable`` when the deadline passes; it may still run then."""
        loop = asyncio.get_running_loop()
        call = _Call(work, loop.create_future(), loop)
        self._enqueue(self._calls, call)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await call.future
        except TimeoutError:
            self._unstick()
            raise LogUnavailable("the writer did not answer in time") from None

    # --- in the callers' loops ---------------------------------------------------------------------------------------

    def _enqueue(self, queue: deque[Any], what: Ticket | _Call) -> None:
        with self._wake:
            if self._closing or not self._thread.is_alive():
                raise LogUnavailable("the log is closed")
            if len(queue) >= QUEUE_MAX:
                raise LogUnavailable("too many appends wait")
            queue.append(what)
            self._wake.notify()

    def _abandon(self, ticket: Ticket) -> bool:
        """Walk away; ``False`` where the commit is already under way."""
        with self._claiming:
            if ticket.state is _State.COMMITTING:
                return False
            ticket.state = _State.ABANDONED
            return True

    def _expire(self, ticket: Ticket) -> None:
        if ticket.future.done():
            return
        if self._abandon(ticket):
            ticket.future.set_exception(LogUnavailable("not durable before the deadline; dropped"))
        else:
            ticket.future.set_exception(LogUncertain("the commit did not return before the deadline"))
        self._unstick()

    def _unstick(self) -> None:
        """Cut a network connection on which the writer has been stuck for long, so that it connects anew."""
        since = self._busy_since
        connection = self._committer.connection
        if since is None or connection is None or time.monotonic() - since < 2 * self._deadline_seconds:
            return
        pgconn = getattr(getattr(connection.connection, "driver_connection", None), "pgconn", None)
        if pgconn is not None:
            _logger.error("log.stuck", seconds=round(time.monotonic() - since, 1))
            _cut(pgconn.socket)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _claim(self, jobs: Sequence[Job]) -> bool:
        with self._claiming:
            if any(_is_abandoned(job) for job in jobs):
                return False
            for job in jobs:
                if isinstance(job, Ticket):
                    job.state = _State.COMMITTING
            return True

    def _run(self) -> None:
        while True:
            tickets, calls, done = self._take()
            self._busy_since = time.monotonic()
            for call in calls:
                self._answer(call)
            if tickets:
                self._commit(tickets)
            if self._due is not None and time.monotonic() >= self._due:
                self._due = self._after_commit()
            self._busy_since = None
            if done:
                self._committer.drop()
                return

    def _take(self) -> tuple[list[Ticket], list[_Call], bool]:
        with self._wake:
            while not self._queue and not self._calls and not self._closing:
                timeout = None if self._due is None else self._due - time.monotonic()
                if timeout is not None and timeout <= 0:
                    break
                self._wake.wait(timeout)
            if self._queue and self._group_wait_seconds and len(self._queue) < self._group_max_entries:
                self._wake.wait_for(lambda: len(self._queue) >= self._group_max_entries, self._group_wait_seconds)
            tickets: list[Ticket] = []
            entries = 0
            while self._queue and entries < self._group_max_entries:
                ticket = self._queue.popleft()
                if ticket.state is _State.WAITING:
                    tickets.append(ticket)
                    entries += max(1, len(ticket.item.entries))
            calls = list(self._calls)
            self._calls.clear()
            return tickets, calls, self._closing and not self._queue

    def _commit(self, tickets: list[Ticket]) -> None:
        outage: HandrailError | None = None
        size = self._committer.size
        try:
            self._committer.write(tickets, self._clock())
        except HandrailError as exc:
            outage = exc
            _logger.warning("log.unavailable", error=type(exc).__name__, detail=exc.detail, appends=len(tickets))
        except Exception:  # the writer outlives any fault; what was under way is uncertain
            _logger.exception("log.writer_fault")
            self._committer.drop()
            outage = LogUncertain("a fault in the writer")
        self._acknowledge(tickets, outage)
        if self._due is None and self._committer.size != size:
            self._due = self._after_commit()

    def _after_commit(self) -> float | None:
        try:
            return self._on_commit(self._committer)
        except Exception:
            _logger.exception("log.writer_fault")
            return time.monotonic() + 1.0

    def _acknowledge(self, tickets: list[Ticket], outage: HandrailError | None) -> None:
        by_loop = _outcomes(tickets, outage)
        tickets.clear()  # or the last plans would be kept here until there are others
        for loop, outcomes in by_loop.items():
            _post(loop, outcomes)

    def _answer(self, call: _Call) -> None:
        outcome: Any
        try:
            outcome = call.work(self._committer)
        except HandrailError as exc:
            outcome = exc
        except Exception:
            _logger.exception("log.writer_fault")
            self._committer.drop()
            outcome = AuditError(Reason.INTERNAL, "a fault in the writer")
        _post(call.loop, [(call.future, outcome)])


def _outcomes(
    tickets: list[Ticket], outage: HandrailError | None
) -> dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]]:
    """What to tell whom, by event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for ticket in tickets:
        outcome: Any
        if ticket.durable:
            outcome = ticket.indices
        else:
            outcome = ticket.refusal or ticket.failure or outage or LogUnavailable("dropped")
        by_loop.setdefault(ticket.loop, []).append((ticket.future, outcome))
    return by_loop


def _is_abandoned(job: Job) -> bool:
    return isinstance(job, Ticket) and job.state is _State.ABANDONED


def _post(loop: asyncio.AbstractEventLoop, outcomes: list[tuple[asyncio.Future[Any], Any]]) -> None:
    try:
        loop.call_soon_threadsafe(_resolve, outcomes)
    except RuntimeError:
        # The loop is closed: nobody waits any more. What was committed stays committed.
        _logger.warning("log.nobody_waits", appends=len(outcomes))


def _resolve(outcomes: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in outcomes:
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _cut(descriptor: int) -> None:
    try:
        with socket.socket(fileno=socket.dup(descriptor)) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
    except OSError as exc:
        _logger.warning("log.cut_failed", error=exc.strerror)
