"""What was done and read before: by others since, by a context, by a principal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from gateway.entries import EntryType
from gateway.state import PlanState, Reported, StepState


class TopicKind(StrEnum):
    """What decisions rest on the past of."""

    CONTEXT = "context"
    PRINCIPAL = "principal"
    FREEZE = "freeze"
    """What is frozen, of every tenant."""


class Topic(NamedTuple):
    """A context (by its id) or a principal (by its pseudonym), as entries are about one."""

    kind: TopicKind
    tenant: str
    name: str


FREEZES: Final = Topic(TopicKind.FREEZE, "", "")
"""The one topic of every freeze, set or lifted."""


class Others(Protocol):
    """What other writers of the same log appended about topics that are watched, as far as this process saw when it
    last held the head's lock. Asks the database nothing."""

    def watch(self, topic: Topic) -> None:
        """Take note from now on; call it before the log is read about the topic."""

    def unwatch(self, topic: Topic) -> None:
        """Forget the topic. Nothing that rests on it is in step any more."""

    def in_step(self, topic: Topic, as_of: int) -> bool:
        """Whether others wrote nothing about the topic at ``as_of`` or later, as far as is known here."""

    def since(self, topic: Topic, as_of: int) -> Sequence[int] | None:
        """Log indices of what they wrote since, rising; ``None`` where that is not known, or was too much."""


@dataclass(frozen=True, slots=True)
class LoggedStep:
    """An entry about a plan or one of its steps, with what a context is remembered by."""

    index: int
    type: EntryType
    at: float
    """Seconds since the epoch."""
    gateway: str
    context_id: str
    plan_id: str
    step_id: str | None
    hand: str
    action: str
    effect: str | None
    manifest_digest: str | None
    facts: Mapping[str, Any]
    commitments: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Logged:
    """What a reading of the log found, and the size of the log that was read."""

    size: int
    steps: Sequence[LoggedStep]


class Past(Protocol):
    """What the log knows of a context or a principal. Reads only."""

    async def of_context(self, tenant: str, context_id: str) -> Logged:
        """Every entry about plans and steps of a context, oldest first. Raises ``log.unavailable``."""

    async def these(self, indices: Sequence[int]) -> Sequence[LoggedStep]:
        """The entries at these indices that are about plans and steps, oldest first. Raises ``log.unavailable``."""

    async def of_principal(self, tenant: str, pseudonym: str, since: float, limit: int) -> Logged:
        """The newest ``limit`` entries about a principal's plans and steps since a time, oldest first.

        Raises:
            Unavailable: ``log.unavailable``.
        """


class Contexts(Protocol):
    """What contexts and principals did and read before: what ``input.context`` and ``steps[].provenance`` say.

    One process's memory of the log, which is the truth: it is rebuilt from there where it is not at hand, and caught up
    where another gateway wrote about the same. The methods that do not wait keep no caller waiting.
    """

    async def recall(self, plan: PlanState) -> None:
        """Have at hand what is known of the plan's principal and context. Reads the log at the first use of either in
        this process and after another gateway wrote about it, and not at all for a context that nobody used before.

        Raises:
            Unavailable: ``log.unavailable``, or ``gateway.overloaded`` where others write faster than can be read.
        """

    async def prepare(self, plan: PlanState) -> None:
        """Have what the context remembers ready to be looked at. Whoever calls :meth:`consider` does this right before,
        with nothing to wait for in between."""

    def rests_on(self, plan: PlanState) -> Mapping[Topic, int]:
        """What the round that is being decided rests on (``Append.rests_on``); nothing where nobody was judged."""

    def consider(self, plan: PlanState, states: Sequence[StepState], now: float) -> Mapping[str, Any]:
        """The ``context`` members ``spent, history, taint, principal_taint, private, personal_data`` for a round, as
        they were before it; what the round may spend is reserved from now on, and each state has its ``provenance``."""

    def decided(self, plan: PlanState, states: Sequence[StepState]) -> None:
        """Release what was denied."""

    def recorded(
        self,
        plan: PlanState,
        judged: Sequence[StepState],
        ended: Sequence[StepState],
        launched: Sequence[StepState],
        now: float,
        index: int,
    ) -> None:
        """A round is on record: what was judged, what ended without having run, and what is about to run.

        Args:
            index: of its last entry.
        """

    def outcome(self, plan: PlanState, state: StepState, document: bytes | None, now: float, index: int) -> None:
        """A step's ending is on record, at ``index``.

        Args:
            document: the result that the caller is shown (``HandResult.document``), as JSON.
        """

    def reported(self, plan: PlanState, state: StepState, reported: Reported, document: bytes) -> None:
        """What a client says came of a released step is on record.

        Args:
            document: its ``{content, structured}`` as it is on record, as JSON.
        """

    def forget(self, tenant: str, principal_id: str, context_id: str | None = None) -> None:
        """What one context of a principal remembers was erased, or what all of them do: call it once that is durable.

        The values are unknown from now on, as they are to whoever reads the log. That untrusted and private results
        were read, and what was spent, stays.
        """

    def forget_all(self) -> None:
        """Something was erased, here or at another gateway, and it is not said of whom: remember no value. What is
        still there is read from the log again."""

    def left(self, plan: PlanState, *, certain: bool) -> None:
        """The plan is taken forward no more, or anew. What it reserved for a round that did not come on record is
        released.

        Args:
            certain: whether it is certain that the round is not on record; else what it reserved stays.
        """
