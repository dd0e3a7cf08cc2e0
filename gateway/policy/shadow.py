"""A shadow: a candidate bundle judges what the active one judged, beside the way of a plan and without effect.

A bounded queue stands between the two. Where it is full the input is left out and counted: a live decision waits for
nothing here, whatever the candidate does. A candidate whose engine keeps failing is left alone for a while.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from gateway.model import Decision
from gateway.policy.breaker import Breaker
from gateway.policy.candidate import Candidate
from gateway.policy.comparison import SHED, Comparison
from gateway.policy.differences import PASSING

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shadow:
    """A bundle that is shadowed. Times are seconds since the epoch.

    Attributes:
        number: 1, 2, 3, ...
        by: principal who started it.
        ended: whether somebody ended it before its time.
    """

    number: int
    digest: str
    by: str
    since: float
    until: float
    ended: bool = False

    @property
    def subject(self) -> str:
        """By which what it counted is kept."""
        return f"shadow-{self.number}"

    def in_force(self, now: float) -> bool:
        """Whether it counts at ``now``."""
        return not self.ended and now < self.until


@dataclass(frozen=True, slots=True)
class _Judged:
    policy_input: Mapping[str, Any]
    decisions: Mapping[str, Decision]


class Shadowing:
    """Judges again what was judged, one input after the other. Belongs to one event loop.

    Args:
        queue_max: inputs that may wait.
        counted: told of each step, and of each input that was left out: what came of it.
    """

    def __init__(
        self,
        candidate: Candidate,
        queue_max: int,
        counted: Callable[[str], None] = lambda _outcome: None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._candidate = candidate
        self._queue_max = queue_max
        self._counted = counted
        self._elapsed = elapsed
        self._breaker = Breaker()
        self._queue: asyncio.Queue[_Judged] = asyncio.Queue(queue_max)
        self._worker: asyncio.Task[None] | None = None
        self._into: Comparison | None = None

    @property
    def digest(self) -> str:
        """Of the bundle that is shadowed; empty where none is."""
        return self._into.digest if self._into is not None else ""

    @property
    def waiting(self) -> int:
        """Inputs that wait."""
        return self._queue.qsize()

    async def follow(self, into: Comparison | None) -> None:
        """Judge from now on for this comparison, or not at all. What waits for another one is forgotten."""
        if into is self._into:
            return
        await self.close()
        self._into = into
        if into is not None:
            self._queue = asyncio.Queue(self._queue_max)
            self._breaker = Breaker()
            self._worker = asyncio.get_running_loop().create_task(self._work(into))

    def offer(self, policy_input: Mapping[str, Any], decisions: Mapping[str, Decision]) -> None:
        """Take in what was just judged. Returns at once and never raises."""
        into = self._into
        if into is None:
            return
        try:
            self._queue.put_nowait(_Judged(policy_input, decisions))
        except asyncio.QueueFull:
            self._shed(into)

    async def idle(self) -> None:
        """Wait until nothing waits any more."""
        await self._queue.join()

    async def close(self) -> None:
        """Judge nothing more."""
        self._into = None
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker

    async def _work(self, into: Comparison) -> None:
        while True:
            judged = await self._queue.get()
            try:
                await self._judge(into, judged)
            except Exception:  # noqa: BLE001 - one input that cannot be compared must not end the shadow
                _log.exception("a shadowed input could not be compared")
                self._shed(into)
            finally:
                self._queue.task_done()

    async def _judge(self, into: Comparison, judged: _Judged) -> None:
        if not self._breaker.admit(self._elapsed()):
            self._shed(into)
            return
        try:
            found = await self._candidate.decide(into.digest, judged.policy_input)
        except BaseException:
            self._breaker.forsaken()
            raise
        if any(reason.code in PASSING for decision in found.values() for reason in decision.reasons):
            self._breaker.failed(self._elapsed())
        else:
            self._breaker.succeeded()
        for step_id, active in judged.decisions.items():
            outcome = into.add(judged.policy_input, active, found[step_id], self._candidate.literals)
            self._counted(outcome)

    def _shed(self, into: Comparison) -> None:
        into.shed += 1
        self._counted(SHED)
