"""What an engine says of a menu: which of its steps a caller need not be shown, for no call of them would be let go."""

from collections.abc import Sequence
from typing import Any

from gateway.policy.faults import EvaluationFailed
from gateway.reasons import Reason


def hidden_of(steps: Sequence[str], answer: Any) -> frozenset[str]:
    """The steps that a bundle hides; none where it does not say.

    Args:
        steps: ids of the steps that were asked about.
        answer: the value of ``data.handrail.hidden``, or ``None`` where it is undefined.

    Raises:
        EvaluationFailed: ``policy.error``: it is not a set of such ids.
    """
    if answer is None:
        return frozenset()
    if not isinstance(answer, list) or not all(isinstance(step, str) for step in answer) or not {*answer} <= {*steps}:
        raise EvaluationFailed(Reason.POLICY_ERROR, "data.handrail.hidden is not a set of ids of steps")
    return frozenset(answer)
