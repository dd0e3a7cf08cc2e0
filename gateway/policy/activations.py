"""Which bundle decides: the history of activations and rollbacks, as pure rules.

An activation takes two people (``gateway.two_person``). A rollback takes one, because an emergency needs speed, and
goes only to a bundle that two people activated before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import Refused
from gateway.reasons import Conflict, Reason, because


class Way(StrEnum):
    """How a bundle came to decide."""

    ACTIVATE = "activate"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Activation:
    """One change of the bundle that decides.

    Attributes:
        number: 1, 2, 3, ... The newest one counts.
        proposal_id: of an activation; ``None`` of a rollback.
        by: principal who activated it or rolled back.
        at: seconds since the epoch.
    """

    number: int
    digest: str
    way: Way
    proposal_id: str | None
    by: str
    at: float


def previous(history: Sequence[Activation]) -> str:
    """The bundle that decided before the present one was first activated: going back twice goes back two bundles, and
    not to and fro.

    Args:
        history: oldest first.

    Raises:
        Refused: ``policy.not_activated`` where there was none.
    """
    if history:
        digest = history[-1].digest
        first = next(index for index, one in enumerate(history) if one.digest == digest)
        if first > 0:
            return history[first - 1].digest
    raise Refused(Reason.POLICY_NOT_ACTIVATED, "there is no earlier bundle")


def check_rollback(history: Sequence[Activation], digest: str) -> None:
    """Whether one person may go back to a bundle.

    Raises:
        Refused: ``policy.not_activated`` where two people never activated it; ``request.conflict`` where it decides.
    """
    if history and history[-1].digest == digest:
        raise Refused(Reason.REQUEST_CONFLICT, "it decides already", **because(Conflict.DECIDES))
    if not any(one.digest == digest and one.way is Way.ACTIVATE for one in history):
        raise Refused(Reason.POLICY_NOT_ACTIVATED)
