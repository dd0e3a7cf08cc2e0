"""The embedded engine: regorus in evaluator processes, one pool per bundle."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog

from gateway.model import Decision
from gateway.policy.bundle import Bundle
from gateway.policy.decisions import decide, deny_all
from gateway.policy.faults import EngineUnavailable, EvaluationFailed
from gateway.policy.hidden import hidden_of
from gateway.policy.inspection import self_test
from gateway.policy.pool import EvaluatorPool
from gateway.policy.request import encode, steps_of

_log = structlog.get_logger(__name__)


class EmbeddedEngine:
    """``ports.PolicyEngine`` over pools of evaluator processes; a new bundle gets a new pool.

    Args:
        workers: evaluator processes; one more is kept warm.
        deadline_seconds: an evaluation that takes longer is killed and denied.
        input_max_bytes: largest input that is evaluated.
    """

    def __init__(self, *, workers: int, deadline_seconds: float, input_max_bytes: int) -> None:
        self._workers = workers
        self._deadline_seconds = deadline_seconds
        self._input_max_bytes = input_max_bytes
        self._pool: EvaluatorPool | None = None
        self._users: dict[EvaluatorPool, int] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the active bundle; empty before the first."""
        return self._pool.digest if self._pool is not None else ""

    @property
    def pool(self) -> EvaluatorPool:
        """The processes that hold the active bundle. Raises ``EngineUnavailable`` before the first."""
        if self._pool is None:
            raise EngineUnavailable("no bundle is active")
        return self._pool

    async def activate(self, bundle: Bundle, record: Callable[[], Awaitable[None]]) -> None:
        """Decide by ``bundle`` from now on; evaluations under way end on the bundle they began with.

        Args:
            bundle: a bundle that was inspected.
            record: awaited when everything but the switch is done; where it raises, the old bundle stays.

        Raises:
            BundleError: the engine refuses the bundle, or its self-test failed. The old bundle stays.
            EngineUnavailable: no process could be started. The old bundle stays.
        """
        pool = EvaluatorPool(bundle, workers=self._workers, deadline_seconds=self._deadline_seconds)
        await pool.start()
        try:
            await self_test(pool.evaluate, bundle.digest)
            await record()
        except BaseException:
            await pool.close()
            raise
        old, self._pool = self._pool, pool
        self._users[pool] = 0
        if old is not None and not self._users[old]:
            self._retire(old)

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        """See ``ports.PolicyEngine.decide``."""
        steps = steps_of(policy_input)
        digest = self.digest
        try:
            with self._using() as pool:
                answer = await pool.evaluate(encode(policy_input, self._input_max_bytes))
        except (EvaluationFailed, EngineUnavailable) as exc:
            # Further lines of an engine's message quote the rule; values of the input are never in the first.
            _log.warning("policy evaluation gave no decision", detail=str(exc).partition("\n")[0])
            return deny_all(steps, exc.reason, digest)
        return decide(steps, answer, digest)

    async def hidden(self, menu: Mapping[str, Any]) -> frozenset[str]:
        """See ``ports.PolicyEngine.hidden``."""
        with self._using() as pool:
            answer = await pool.hidden(encode(menu, self._input_max_bytes))
        return hidden_of(steps_of(menu), answer)

    async def maintain(self) -> None:
        """Nothing to do between evaluations: the pool mends itself."""

    async def ready(self) -> None:
        """See ``ports.PolicyEngine.ready``."""
        self.pool.check_alive()

    async def close(self) -> None:
        """Stop every process."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
        for old in [pool for pool in self._users if not self._users[pool]]:
            self._users.pop(old, None)
        if self._stopping:
            await asyncio.gather(*self._stopping)

    @contextmanager
    def _using(self) -> Iterator[EvaluatorPool]:
        """The active bundle's pool, which is kept until nobody uses it."""
        pool = self.pool
        self._users[pool] += 1
        try:
            yield pool
        finally:
            self._users[pool] -= 1
            if pool is not self._pool and not self._users[pool]:
                self._retire(pool)

    def _retire(self, pool: EvaluatorPool) -> None:
        if self._users.pop(pool, None) is not None:
            task = asyncio.get_running_loop().create_task(pool.close())
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
