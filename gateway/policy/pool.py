"""A pool of evaluator processes for one bundle, each answering one question at a time.

A process that misses the deadline is killed. A warm spare takes its place at once, so a flood of slow evaluations costs
each of its own plans a deadline but does not leave the others waiting for a start.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import orjson
import structlog

from gateway.policy.bundle import Bundle
from gateway.policy.faults import BundleError, EngineRefused, EngineUnavailable, EvaluationFailed, Problem
from gateway.policy.process import START_SECONDS, EvaluatorProcess
from gateway.policy.request import LARGE_BYTES, allowed_seconds
from gateway.reasons import Reason

QUEUE_SECONDS: Final = 1.0
"""How long an evaluation waits for a free process before it is denied as ``policy.unavailable``."""
MEMORY_BYTES: Final = 536_870_912
"""How far one process may grow after it has loaded its bundle; a rule that needs more fails (``policy.error``)."""
RETRY_SECONDS: Final = (0.05, 0.2, 1.0, 5.0)
"""Pauses between attempts to start a process that could not be started."""

_log = structlog.get_logger(__name__)


class EvaluatorPool:
    """``workers`` processes and one spare that hold one bundle.

    Attributes:
        digest: hex SHA-256 of the bundle.
    """

    def __init__(self, bundle: Bundle, *, workers: int, deadline_seconds: float) -> None:
        self.digest = bundle.digest
        self._workers = workers
        self._deadline_seconds = deadline_seconds
        self._load = b"L" + orjson.dumps(
            {
                "modules": [[module.path, module.source] for module in bundle.modules],
                "data": orjson.loads(bundle.data_json),
                # The kernel's alarm is behind ours: it only fires where the gateway is stuck or gone.
                "alarm_seconds": deadline_seconds * 4,
                "alarm_bytes": LARGE_BYTES,
                "memory_bytes": MEMORY_BYTES,
            }
        )
        self._idle: deque[EvaluatorProcess] = deque()
        self._busy: set[EvaluatorProcess] = set()
        self._spares: deque[EvaluatorProcess] = deque()
        self._waiting: deque[asyncio.Future[EvaluatorProcess]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    async def start(self) -> None:
        """Start every process and load the bundle in each.

        Raises:
            BundleError: the engine refuses the bundle.
            EngineUnavailable: no process could be started.
        """
        try:
            first = await self._started()  # alone, so that a broken bundle costs one process
            self._idle.append(first)
            more = await asyncio.gather(*(self._started() for _ in range(self._workers)), return_exceptions=True)
            for process in more:
                if isinstance(process, BaseException):
                    raise process
                (self._idle if len(self._idle) < self._workers else self._spares).append(process)
        except BaseException:
            await self.close()
            raise

    async def evaluate(self, raw: bytes) -> Any:
        """The value of ``data.handrail.decisions`` for an input as JSON; ``None`` where it is undefined.

        Raises:
            EvaluationFailed: ``policy.error`` or ``policy.timeout``.
            EngineUnavailable: no process was free in time.
        """
        return await self._ask(b"E", raw)

    async def hidden(self, raw: bytes) -> Any:
        """The same of ``data.handrail.hidden`` for a menu; ``None`` also where the bundle has no such rule."""
        return await self._ask(b"H", raw)

    async def evaluate_many(self, raws: Sequence[bytes]) -> list[Any]:
        """:meth:`evaluate` for many inputs at the price of one question; for work that nobody waits for.

        Returns:
            For each input what ``evaluate`` would have returned, or the fault that it would have raised.
        """
        frame = b"M" + b"".join(len(raw).to_bytes(4, "big") + raw for raw in raws)
        try:
            process = await self._take()
            try:
                body = await process.ask(frame, sum(allowed_seconds(self._deadline_seconds, len(raw)) for raw in raws))
            finally:
                self._give_back(process)
            return _split(body or b"", len(raws))
        except (EvaluationFailed, EngineUnavailable):
            # One of them took too long, or the process died of it: alone, each gets its own answer.
            return [await self._outcome(raw) for raw in raws]

    async def _outcome(self, raw: bytes) -> Any:
        try:
            return await self.evaluate(raw)
        except (EvaluationFailed, EngineUnavailable) as fault:
            return fault

    def check_alive(self) -> None:
        """Raises ``EngineUnavailable`` where no process is left."""
        if self._closing.is_set() or not (self._idle or self._busy or self._spares):
            raise EngineUnavailable("no evaluator process is running")

    async def close(self) -> None:
        """Stop every process. Evaluations that still run fail."""
        self._closing.set()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(EngineUnavailable("closed"))
        processes = [*self._idle, *self._busy, *self._spares]
        self._idle.clear()
        self._spares.clear()
        await asyncio.gather(*(process.stop() for process in processes))
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def processes(self) -> tuple[EvaluatorProcess, ...]:
        """Every process that is ready or at work."""
        return (*self._idle, *self._busy, *self._spares)

    @property
    def busy(self) -> tuple[EvaluatorProcess, ...]:
        """The processes that are at work."""
        return tuple(self._busy)

    async def _ask(self, kind: bytes, raw: bytes) -> Any:
        process = await self._take()
        try:
            answer = await process.ask(kind + raw, allowed_seconds(self._deadline_seconds, len(raw)))
        finally:
            self._give_back(process)
        return None if answer is None else _read(answer)

    # --- the pool ----------------------------------------------------------------------------------------------------

    async def _take(self) -> EvaluatorProcess:
        while self._idle:
            process = self._idle.popleft()
            if process.usable:
                self._busy.add(process)
                return process
            self._replace(process)  # it died while idle
        if self._closing.is_set():
            raise EngineUnavailable("closed")
        waiter: asyncio.Future[EvaluatorProcess] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                return await waiter
        except (TimeoutError, asyncio.CancelledError) as exc:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())  # it came free at the very moment
            if isinstance(exc, TimeoutError):
                raise EngineUnavailable("every evaluator process is busy") from None
            raise

    def _give_back(self, process: EvaluatorProcess) -> None:
        self._busy.discard(process)
        if self._closing.is_set():
            return  # close() stops it
        if process.usable:
            self._offer(process)
        else:
            self._replace(process)

    def _offer(self, process: EvaluatorProcess) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._busy.add(process)
                waiter.set_result(process)
                return
        if len(self._idle) + len(self._busy) < self._workers:
            self._idle.append(process)
        else:
            self._spares.append(process)

    def _replace(self, process: EvaluatorProcess) -> None:
        """Put the spare in the place of a process that is no good any more, and start another spare."""
        self._spawn(process.stop())
        while self._spares:
            spare = self._spares.popleft()
            if spare.usable:
                self._offer(spare)
                break
            self._spawn(spare.stop())
        self._spawn(self._refill())

    async def _refill(self) -> None:
        attempt = 0
        while not self._closing.is_set():
            try:
                process = await self._started()
            except (EngineUnavailable, BundleError) as exc:
                _log.error("cannot start a policy evaluator", detail=str(exc))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]):
                        await self._closing.wait()
                attempt += 1
            else:
                if self._closing.is_set():
                    await process.stop()
                else:
                    self._offer(process)
                return

    async def _started(self) -> EvaluatorProcess:
        process = await EvaluatorProcess.start()
        try:
            await process.ask(self._load, START_SECONDS)
        except EngineRefused as exc:
            await process.stop()
            raise BundleError([Problem("", 0, 0, f"the engine refuses the bundle: {exc.detail}")]) from None
        except EvaluationFailed as exc:
            await process.stop()
            raise EngineUnavailable(f"an evaluator process did not start: {exc.detail}") from None
        except BaseException:
            await process.stop()
            raise
        return process

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _read(answer: bytes) -> Any:
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        raise EvaluationFailed(Reason.POLICY_ERROR, "the engine's answer is not JSON") from None


def _split(body: bytes, expected: int) -> list[Any]:
    """The outcomes in an answer to many inputs.

    Raises:
        EvaluationFailed: it is not one outcome for each.
    """
    outcomes: list[Any] = []
    at = 0
    while at < len(body):
        end = at + 4 + int.from_bytes(body[at : at + 4], "big")
        kind, text = body[at + 4 : at + 5], body[at + 5 : end]
        if kind == b"+":
            outcomes.append(_read(text))
        elif kind == b"?":
            outcomes.append(None)
        else:
            outcomes.append(EngineRefused(text.decode("utf-8", "replace")))
        at = end
    if at != len(body) or len(outcomes) != expected:
        raise EvaluationFailed(Reason.POLICY_ERROR, "the evaluator did not answer each input")
    return outcomes
