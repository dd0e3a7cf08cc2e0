"""The policy input on its way into an engine: bounded in bytes, depth and steps, and the ids that need an answer."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.policy.faults import EvaluationFailed
from gateway.reasons import Reason

STEPS_MAX: Final = 1000
DEPTH_MAX: Final = 96
"""Nesting levels. Arguments may have 64; regorus reads 128."""

LARGE_BYTES: Final = 1_048_576


def allowed_seconds(seconds: float, size_bytes: int) -> float:
    """How long the evaluation of an input may take: ``seconds``, and as long again for each :data:`LARGE_BYTES` of it,
    for it has to be read and gone through."""
    return seconds * (1 + size_bytes // LARGE_BYTES)


def steps_of(policy_input: Mapping[str, Any]) -> list[str]:
    """Ids of the steps that are asked about, each once, in order; ids that are no strings are left out."""
    steps = policy_input.get("steps")
    if not isinstance(steps, list | tuple):
        return []
    ids = (step.get("id") for step in steps if isinstance(step, Mapping))
    return list(dict.fromkeys(step_id for step_id in ids if isinstance(step_id, str)))


def encode(policy_input: Mapping[str, Any], max_bytes: int) -> bytes:
    """The input as JSON.

    Raises:
        EvaluationFailed: ``policy.input`` where it has too many steps, is too deep or too large, or is not JSON.
    """
    steps = policy_input.get("steps")
    if not isinstance(steps, list | tuple) or len(steps) > STEPS_MAX or len(steps_of(policy_input)) != len(steps):
        raise EvaluationFailed(Reason.POLICY_INPUT, "steps are missing, too many, or without an id of their own")
    try:
        raw = orjson.dumps(policy_input, default=_plain)
    except (TypeError, RecursionError) as exc:
        raise EvaluationFailed(Reason.POLICY_INPUT, type(exc).__name__) from None
    if len(raw) > max_bytes:
        raise EvaluationFailed(Reason.POLICY_INPUT, f"{len(raw)} bytes")
    # Where there are no more brackets than levels allowed, it cannot be too deep.
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX and _deeper(policy_input, DEPTH_MAX):
        raise EvaluationFailed(Reason.POLICY_INPUT, "too deep")
    return raw


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(type(value).__name__)


def _deeper(value: Any, levels: int) -> bool:
    """Whether arrays and objects lie in more than so many levels, level by level."""
    level = [value]
    for _ in range(levels + 1):
        below: list[Any] = []
        nested = False
        for item in level:
            kind = type(item)
            if kind is str:
                continue
            if kind is dict or isinstance(item, Mapping):
                nested = True
                below.extend(item.values())
            elif kind is list or isinstance(item, list | tuple):
                nested = True
                below.extend(item)
        if not nested:
            return False
        level = below
    return True
