"""The record of one policy evaluation: what the rules saw, and what was decided on it.

One document for all steps of one evaluation, sealed with the other personal values and committed to by each step's
entry under :data:`FIELD`. ``handrail why`` shows it, a replay decides it again, and it is erased like everything
personal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.canonical import canonical
from gateway.errors import HandrailError
from gateway.model import Decision, DecisionReason, Effect, Obligations
from gateway.reasons import Reason

FIELD: Final = "evaluation"
"""Name of the commitment in entries and rows."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation as it is on record.

    Attributes:
        policy_input: the policy input, version 1 (docs/policies.md).
        decisions: step id -> decision, one for each step of the input.
    """

    policy_input: Mapping[str, Any]
    decisions: Mapping[str, Decision]


def record(policy_input: Mapping[str, Any], decisions: Mapping[str, Decision]) -> bytes:
    """The canonical bytes that are committed to."""
    return canonical(
        {
            "input": policy_input,
            "decisions": {
                name: {
                    "effect": str(decision.effect),
                    "policy_digest": decision.policy_digest,
                    "reasons": [{"code": reason.code, "message": reason.message} for reason in decision.reasons],
                    "obligations": decision.obligations.document(),
                }
                for name, decision in decisions.items()
            },
        }
    )


def read(document: Any) -> Evaluation:
    """An evaluation from its parsed document.

    Raises:
        HandrailError: ``gateway.internal`` where it is not one.
    """
    try:
        return Evaluation(
            document["input"],
            {name: _decision(name, said) for name, said in document["decisions"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise HandrailError(Reason.INTERNAL, f"not an evaluation: {type(exc).__name__}") from None


def parse(raw: bytes) -> Evaluation:
    """:func:`read` of JSON.

    Raises:
        HandrailError: ``gateway.internal``.
    """
    try:
        return read(orjson.loads(raw))
    except orjson.JSONDecodeError:
        raise HandrailError(Reason.INTERNAL, "not an evaluation: not JSON") from None


def _decision(step_id: str, said: Mapping[str, Any]) -> Decision:
    return Decision(
        step_id,
        Effect(said["effect"]),
        tuple(DecisionReason(reason["code"], reason["message"]) for reason in said["reasons"]),
        said["policy_digest"],
        Obligations.from_document(said["obligations"]),
    )
