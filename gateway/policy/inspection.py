"""Everything that must hold before a bundle may decide: it parses, passes the check, and denies what is known bad."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import orjson

from gateway.model import Effect
from gateway.policy import builtins, locations, metadata, obligations
from gateway.policy.bundle import Bundle
from gateway.policy.decisions import decide
from gateway.policy.faults import BundleError, EngineRefused, EngineUnavailable, EvaluationFailed, Problem
from gateway.policy.locations import Location
from gateway.policy.obligations import Stated
from gateway.policy.process import START_SECONDS, EvaluatorProcess
from gateway.reasons import Reason

TREES_MAX_BYTES: Final = 268_435_456
"""A syntax tree is some 200 times its source."""
PASSED_MAX: Final = 8
"""Bundles that are known to pass, of 16 MiB at most each."""

_STEP: Final = {"args": {}, "args_sha256": "0" * 64, "data_subjects": [], "provenance": {}}
_KNOWN_BAD: Final[Mapping[str, Any]] = {
    "v": 1,
    "tenant": "default",
    "environment": "production",
    "now": "1970-01-01T00:00:00Z",
    "principal": {"id": "self-test", "tenant": "default", "roles": []},
    "plan": {"id": "0" * 64, "context_id": "self-test", "issuer": "self-test", "purpose": None},
    "steps": [
        {"id": "unknown-hand", "hand": "self-test-nowhere", "action": "anything", **_STEP},
        {"id": "unknown-action", "hand": "self-test", "action": "nothing-of-the-kind", **_STEP},
    ],
    "hands": {
        "self-test": {"region": None, "trust": "untrusted", "labels": [], "manifest_digest": "0" * 64, "actions": {}}
    },
    "context": {
        "data_region": None,
        "taint": [],
        "principal_taint": [],
        "private": [],
        "personal_data": [],
        "spent": {},
        "history": [],
    },
}


@dataclass(frozen=True, slots=True)
class Inspected:
    """A bundle that passed the check.

    Attributes:
        reasons: reason code -> where the bundle gives it.
        obligations: those that stand in it as they are.
    """

    bundle: Bundle
    reasons: Mapping[str, Location]
    obligations: Sequence[Stated] = ()


_passed: Final[dict[Bundle, Inspected]] = {}
"""The newest that passed, by all that is in them."""


async def inspect(bundle: Bundle) -> Inspected:
    """Parse and check ``bundle``. The parser is native code, so it runs in a process of its own.

    A bundle is inspected on its way in, when it is tried beside the one that decides, and when it becomes that: what
    passed once is not looked at again.

    Raises:
        BundleError: every problem, or the first syntax error.
        EngineUnavailable: the parser could not be run.
    """
    known = _passed.get(bundle)
    if known is None:
        parsed = await _parse(bundle)
        known = _passed[bundle] = await asyncio.to_thread(_check, bundle, parsed)
        while len(_passed) > PASSED_MAX:
            _passed.pop(next(iter(_passed)))
    return known


def _check(bundle: Bundle, parsed: Any) -> Inspected:
    problems = dict.fromkeys([*builtins.check(bundle, parsed), *metadata.check(bundle, parsed)])
    if problems:
        raise BundleError(list(problems))
    return Inspected(bundle, locations.index(bundle, parsed), obligations.stated(bundle, parsed))


async def _parse(bundle: Bundle) -> Any:
    if find_spec("regorus") is None:
        raise EngineUnavailable("regorus, which parses bundles for every engine, has no wheel for this platform")
    process = await EvaluatorProcess.start(TREES_MAX_BYTES)
    modules = [[module.path, module.source] for module in bundle.modules]
    try:
        answer = await process.ask(b"S" + orjson.dumps(modules), START_SECONDS)
        return orjson.loads(answer or b"null")
    except EngineRefused as exc:
        raise BundleError([_syntax_error(exc.detail)]) from None
    except EvaluationFailed as exc:
        raise BundleError([Problem("", 0, 0, f"the bundle cannot be parsed: {exc.detail}")]) from None
    except orjson.JSONDecodeError:
        raise BundleError([Problem("", 0, 0, "the syntax tree is nested too deeply")]) from None
    finally:
        await process.stop()


def _syntax_error(message: str) -> Problem:
    """Read regorus' message: `` --> FILE:LINE:COLUMN``, the line drawn, ``error: ...``."""
    where, _, text = message.partition("error: ")
    place = where.partition("--> ")[2].partition("\n")[0].strip().rsplit(":", 2)
    if len(place) == 3 and place[1].isdigit() and place[2].isdigit():
        return Problem(place[0], int(place[1]), int(place[2]), f"syntax error: {' '.join(text.split())}")
    return Problem("", 0, 0, f"syntax error: {' '.join(message.split())}")


async def self_test(evaluate: Callable[[bytes], Awaitable[Any]], digest: str) -> None:
    """Ask about steps that no policy may let through.

    Args:
        evaluate: gives the engine's answer to an input as JSON.
        digest: of the bundle under test.

    Raises:
        BundleError: one was not denied, or the policy could not be evaluated at all.
        EngineUnavailable: the engine could not be asked.
    """
    try:
        answer = await evaluate(orjson.dumps(_KNOWN_BAD))
    except EvaluationFailed as exc:
        raise BundleError([Problem("", 0, 0, f"self-test: the policy cannot be evaluated: {exc}")]) from None
    for step, decision in decide([step["id"] for step in _KNOWN_BAD["steps"]], answer, digest).items():
        codes = {reason.code for reason in decision.reasons}
        if decision.effect is not Effect.DENY:
            raise BundleError([Problem("", 0, 0, f"self-test: {decision.effect} for an {step.replace('-', ' ')}")])
        if codes & {Reason.POLICY_ERROR, Reason.POLICY_OBLIGATION}:
            raise BundleError(
                [Problem("", 0, 0, f"self-test: the answer is not of the contract's shape {sorted(codes)}")]
            )
