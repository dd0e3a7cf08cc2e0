"""Runs: what a run is on record, and its turns. Whatever else is known of a run is in the plans of its turns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gateway.model import Plan, RunTurn
from gateway.ports.log import Guard, Unless, Write


class RunStatus(StrEnum):
    """Where a run is."""

    RUNNING = "running"
    WAITING = "waiting"
    """A person is asked about a step of it."""
    INTERRUPTED = "interrupted"
    """It has not ended, and no gateway takes it forward."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it was begun; nothing of this changes.

    Attributes:
        principal: pseudonym of whom it acts for, who began it.
        brain: the first that is asked.
        hands: the hands whose tools the model may be offered; ``None`` for all that the principal may use.
        commitment: of what was asked (``gateway.runs.asked``), which is sealed in the side table.
        money_max: in millionths of the unit of ``currency``; ``None`` for no limit.
        currency: in which what it costs is counted; empty where no brain had prices.
        created_at, deadline_at: seconds since the epoch.
        log_index: of the entry that says that it began.
    """

    run_id: str
    tenant: str
    principal: str
    brain: str
    hands: tuple[str, ...] | None
    commitment: str
    steps_max: int
    tokens_max: int
    money_max: int | None
    currency: str
    created_at: float
    deadline_at: float
    log_index: int = 0

    @property
    def spent(self) -> int | None:
        """What it cost when it began; ``None`` where nobody counts."""
        return 0 if self.currency else None


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a run as its row has it: what was put to the model, calls of tools, or the end.

    Attributes:
        plan_id: of the plan that the turn is; empty for the end.
        gateway: who wrote it.
        status, reason, note: of the end alone: how, why (a closed code), and what of that can be said in a word.
    """

    turn: RunTurn
    plan_id: str
    gateway: str
    at: float
    status: RunStatus | None = None
    reason: str = ""
    note: str = ""


class Turns(Protocol):
    """What the record of a plan needs of runs."""

    def taken(self, plan: Plan, run: RunTurn, at: float) -> Guard:
        """The row by which a plan becomes the turn of its number. Another plan, or the end, that has the number makes
        the record be refused: ``request.conflict`` (``run.turn``)."""


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs, newest first, with the last turn of each that has one, and until when a gateway drives those that have
    not ended (seconds since the epoch)."""

    runs: Sequence[tuple[Run, Turn | None, float | None]] = field(default_factory=tuple)


class RunStore(Turns, Protocol):
    """Rows of runs. Builders of writes do no I/O: the log's writer carries them. Reads raise ``log.unavailable``."""

    def begin(self, run: Run, until: float) -> Sequence[Write]:
        """The row of a new run, with this gateway as its driver."""

    def end(self, run: Run, turn: Turn) -> tuple[Sequence[Guard], Sequence[Write]]:
        """The last turn; the conflict is as in :meth:`Turns.taken`."""

    def take_over(self, run_id: str, now: float, until: float) -> tuple[Sequence[Unless], Write]:
        """Drive a run until then (seconds since the epoch). Raises ``Overtaken`` where another gateway does, or it has
        ended."""

    def hold(self, run_id: str, until: float) -> Write:
        """Go on driving it until then."""

    def leave(self, run_id: str, now: float) -> Write:
        """Leave it to the other gateways at once."""

    async def due(self, now: float) -> Sequence[str]:
        """Runs that have not ended, and that this gateway may drive: no other one does."""

    async def driven_until(self, run_id: str) -> float | None:
        """Until when a gateway drives a run, or since when none does; ``None`` for one that has ended."""

    async def find(self, run_id: str) -> Run | None:
        """One run; of whatever tenant."""

    async def turns(self, run_id: str, after: int = -1) -> Sequence[Turn]:
        """Its turns in order, those whose number is higher than ``after``."""

    async def page(self, tenant: str, principal: str | None, *, after: int | None, limit: int) -> RunPage:
        """Runs of a tenant, newest first.

        Args:
            principal: only those of this pseudonym.
            after: ``log_index`` of the last one of the page before.
        """

    async def left_waiting(self) -> Sequence[str]:
        """Plans with steps that wait for people although their run has ended."""

    async def restored(self, run_id: str) -> bool:
        """Whether a run began before the log was last restored from a backup."""
