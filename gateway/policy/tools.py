"""What ``handrail policy check`` and ``handrail policy eval`` do. For people at a terminal: messages are in full."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gateway.model import Decision
from gateway.policy import obligations
from gateway.policy.bundle import Bundle
from gateway.policy.decisions import decide, deny_all
from gateway.policy.faults import BundleError, EngineUnavailable, EvaluationFailed, Problem
from gateway.policy.inspection import inspect, self_test
from gateway.policy.opa import OpaEngine
from gateway.policy.pool import EvaluatorPool
from gateway.policy.private_opa import find_opa, private_opa
from gateway.policy.request import encode, steps_of
from gateway.settings import PolicySettings


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a bundle says of one input.

    Attributes:
        decisions: step id -> decision, as the gateway would act on it.
        locations: reason code -> ``{file, line, rule, title, severity}`` for the codes that the bundle gives.
        problem: why the engine gave no answer, in its own words; ``None`` where it did.
    """

    digest: str
    decisions: Mapping[str, Decision]
    locations: Mapping[str, Mapping[str, Any]]
    problem: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "digest": self.digest,
            "decisions": [asdict(decision) for decision in self.decisions.values()],
            "locations": dict(self.locations),
            "problem": self.problem,
        }


async def check(bundle: Bundle, kinds: Collection[str], secret: str) -> Sequence[Problem]:
    """Everything that keeps the gateway from using a bundle, or from keeping an obligation that stands in it.

    Args:
        kinds, secret: see ``obligations.problems``.

    Raises:
        EngineUnavailable: the check itself could not be run.
    """
    try:
        inspected = await inspect(bundle)
        pool = EvaluatorPool(inspected.bundle, workers=1, deadline_seconds=2.0)
        await pool.start()
        try:
            await self_test(pool.evaluate, inspected.bundle.digest)
        finally:
            await pool.close()
    except BundleError as exc:
        return exc.problems
    return [*obligations.problems(inspected.obligations, kinds, secret)]


async def evaluate(
    bundle: Bundle,
    engine: Literal["embedded", "opa"],
    policy_input: Mapping[str, Any],
    settings: PolicySettings | None = None,
) -> Evaluation:
    """Decide ``policy_input`` by a bundle. The start-up self-test is left out, so that a rule can be
    tried alone; every other check is not.

    Args:
        engine: ``opa`` starts a server of its own, so the one that the gateway uses is not touched.
        settings: limits; its ``engine``, ``bundle`` and ``opa_url`` are not used.

    Raises:
        BundleError: the bundle is refused.
        EngineUnavailable: the engine cannot be started.
    """
    limits = settings or PolicySettings()
    inspected = await inspect(bundle)
    digest = inspected.bundle.digest
    problem = None
    try:
        raw = encode(policy_input, limits.input_max_bytes)
        answer = await _answer(inspected.bundle, engine, raw, limits.deadline_milliseconds / 1000)
        decisions = decide(steps_of(policy_input), answer, digest)
    except EvaluationFailed as exc:
        decisions, problem = deny_all(steps_of(policy_input), exc.reason, digest), exc.detail
    codes = {reason.code for decision in decisions.values() for reason in decision.reasons}
    given = {code: inspected.reasons[code] for code in sorted(codes & inspected.reasons.keys())}
    return Evaluation(digest, decisions, given, problem)


async def _answer(bundle: Bundle, engine: str, raw: bytes, deadline_seconds: float) -> Any:
    if engine == "embedded":
        pool = EvaluatorPool(bundle, workers=1, deadline_seconds=deadline_seconds)
        await pool.start()
        try:
            return await pool.evaluate(raw)
        finally:
            await pool.close()
    program = find_opa()
    if program is None:
        raise EngineUnavailable("no opa program on PATH or in .tools/bin (make tools)")
    async with private_opa(program) as url:
        server = OpaEngine(url, None, deadline_seconds=deadline_seconds, input_max_bytes=len(raw))
        try:
            return await server.try_out(bundle, raw)
        finally:
            await server.close()
