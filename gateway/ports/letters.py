"""Dead letters: steps that ended in doubt, or did not reach their hand, until a person settles them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.ports.log import Guard, Write
from gateway.state import PlanState, StepState


class Verdict(StrEnum):
    """What a person did with a dead letter."""

    RETRIED = "retried"
    DISCARDED = "discarded"


class LetterStatus(StrEnum):
    """Which dead letters are asked for."""

    OPEN = "open"
    RETRIED = "retried"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Settled:
    """How a dead letter was settled.

    Attributes:
        by: pseudonym.
        at: seconds since the epoch.
        retry_plan: id of the plan that tries it again.
    """

    verdict: Verdict
    by: str
    at: float
    retry_plan: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as its row has it.

    Attributes:
        status: of the step: ``ambiguous`` or ``failed``.
        reason: the closed reason code with which it ended.
        principal: pseudonym of whom the plan acts for.
        ended_at: seconds since the epoch.
        log_index: of the entry that ended the step.
    """

    plan_id: str
    step_id: str
    tenant: str
    context_id: str
    principal: str
    hand: str
    action: str
    status: str
    reason: str
    ended_at: float
    log_index: int
    settled: Settled | None = None


class Letters(Protocol):
    """Rows of dead letters. Builders of writes do no I/O: the log's writer carries them. Reads raise
    ``log.unavailable``."""

    def add(self, plan: PlanState, state: StepState, at: float, log_index: int) -> Write:
        """A step is a dead letter from now on; one that is listed already stays as it is."""

    def settle(self, tenant: str, plan_id: str, step_id: str, settled: Settled) -> Guard:
        """The insert that settles a dead letter once among all gateways; a conflict raises ``request.conflict``
        (``letter.settled``)."""

    async def page(
        self, tenant: str, status: LetterStatus, hands: Collection[str] | None, *, after: int | None, limit: int
    ) -> Sequence[Letter]:
        """Dead letters of a tenant, newest first.

        Args:
            hands: only those of these hands; ``None`` for all.
            after: ``log_index`` of the last one of the page before.
        """

    async def settled(self, plan_id: str) -> Mapping[str, Settled]:
        """Step id -> how it was settled, of a plan's dead letters that are."""

    async def check(self, plan_id: str, step_id: str, log_index: int, *, retry: bool) -> None:
        """Whether a dead letter, whose entry has this index, may still be settled, by the rows and by the log, which
        only grows.

        Args:
            retry: to run it again, which takes that the log still has everything since that entry.

        Raises:
            Refused: ``request.conflict``: ``letter.settled`` or ``letter.old``.
        """
