"""Candidate bundles in engines of their own, for a replay: nothing that decides for a gateway is touched."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.model import Decision
from gateway.policy.bundle import Bundle
from gateway.policy.decisions import decide, deny_all
from gateway.policy.faults import EngineUnavailable, EvaluationFailed, PolicyFault
from gateway.policy.inspection import Inspected, inspect, self_test
from gateway.policy.opa import OpaEngine
from gateway.policy.pool import EvaluatorPool
from gateway.policy.private_opa import find_opa, private_opa
from gateway.policy.replay import Judge
from gateway.policy.request import encode, steps_of
from gateway.reasons import ENGINE_AWAY
from gateway.settings import PolicySettings

RETRIES: Final = 10
"""Of a second each (``pool.QUEUE_SECONDS``)."""
OPA_CONCURRENT: Final = 16
"""Questions to an OPA server at once, for each worker."""


@asynccontextmanager
async def judging(
    bundle: Bundle, engine: Literal["embedded", "opa"], *, workers: int, limits: PolicySettings
) -> AsyncIterator[Judge]:
    """A judge that holds ``bundle``, after everything was checked that a gateway checks before it would use it.

    Args:
        workers: evaluator processes; an OPA server uses what cores there are.
        limits: deadline and size of an input, as the gateway has them.

    Raises:
        BundleError: the bundle is refused.
        EngineUnavailable: the engine cannot be started.
    """
    inspected = await inspect(bundle)
    deadline_seconds = limits.deadline_milliseconds / 1000
    if engine == "embedded":
        pool = EvaluatorPool(bundle, workers=workers, deadline_seconds=deadline_seconds)
        await pool.start()
        try:
            await self_test(pool.evaluate, bundle.digest)
            yield _Embedded(pool, inspected, limits.input_max_bytes)
        finally:
            await pool.close()
        return
    program = find_opa()
    if program is None:
        raise EngineUnavailable("no opa program on PATH or in .tools/bin (make tools)")
    async with private_opa(program) as url:
        server = OpaEngine(url, None, deadline_seconds=deadline_seconds, input_max_bytes=limits.input_max_bytes)
        try:
            await server.activate(bundle, _unrecorded)
            yield _Opa(server, inspected, asyncio.Semaphore(OPA_CONCURRENT * workers))
        finally:
            await server.close()


async def _unrecorded() -> None:
    """A candidate in an engine of its own is no activation."""


@dataclass(frozen=True, slots=True)
class _Embedded:
    pool: EvaluatorPool
    inspected: Inspected
    input_max_bytes: int

    @property
    def digest(self) -> str:
        return self.pool.digest

    @property
    def literals(self) -> Collection[str]:
        return self.inspected.reasons.keys()

    async def judge(self, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Decision]]:
        raws = [self._encoded(one) for one in inputs]
        outcomes = iter(await self.pool.evaluate_many([raw for raw in raws if isinstance(raw, bytes)]))
        return [
            self._decided(one, await self._again(raw, next(outcomes)) if isinstance(raw, bytes) else raw)
            for one, raw in zip(inputs, raws, strict=True)
        ]

    async def _again(self, raw: bytes, outcome: Any) -> Any:
        """Ask again while a process is being put in the place of one that had to be killed: no fault of this input."""
        for _ in range(RETRIES):
            if not isinstance(outcome, EngineUnavailable):
                break
            (outcome,) = await self.pool.evaluate_many([raw])
        return outcome

    def _encoded(self, policy_input: Mapping[str, Any]) -> bytes | PolicyFault:
        try:
            return encode(policy_input, self.input_max_bytes)
        except EvaluationFailed as fault:
            return fault

    def _decided(self, policy_input: Mapping[str, Any], outcome: Any) -> Mapping[str, Decision]:
        steps = steps_of(policy_input)
        if isinstance(outcome, PolicyFault):
            return deny_all(steps, outcome.reason, self.digest)
        return decide(steps, outcome, self.digest)


@dataclass(frozen=True, slots=True)
class _Opa:
    server: OpaEngine
    inspected: Inspected
    room: asyncio.Semaphore

    @property
    def digest(self) -> str:
        return self.server.digest

    @property
    def literals(self) -> Collection[str]:
        return self.inspected.reasons.keys()

    async def judge(self, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Decision]]:
        return await asyncio.gather(*(self._one(policy_input) for policy_input in inputs))

    async def _one(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        async with self.room:
            found = await self.server.decide(policy_input)
            if any(reason.code in _PASSING for decision in found.values() for reason in decision.reasons):
                # A busy machine is not the candidate's fault; a second time it is.
                found = await self.server.decide(policy_input)
            return found


_PASSING: Final = frozenset(map(str, ENGINE_AWAY))
