"""How hands do against the objectives that are pinned with them, as this process saw it.

What counts is a call that was let go and made: answered, also with the tool's own error, or a fault of the hand
(:data:`FAULTS`). Not counted is what the hand has no part in: denials, waiting for people, arguments that the caller
got wrong, secrets, freezes, the gateway's own log, answers from before.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from gateway.manifest import Slo
from gateway.model import StepStatus
from gateway.reasons import Reason
from gateway.state import PlanState, StepState
from gateway.telemetry import Metrics
from gateway.times import format_time

FAULTS: Final = frozenset(
    {
        Reason.HAND_UNAVAILABLE,
        Reason.HAND_CIRCUIT_OPEN,
        Reason.HAND_BUSY,
        Reason.HAND_DRIFTED,
        Reason.HAND_CRASHED,
        Reason.HAND_TIMEOUT,
        Reason.HAND_PROTOCOL,
        Reason.HAND_LOST_REPLY,
        Reason.SCHEMA_RESULT,
        Reason.OVERLOADED,
        Reason.CLAIM_EXPIRED,
    }
)
"""Why a call counts against its hand."""
DAY_SECONDS: Final = 86_400.0
BUCKETS: Final = 336
"""Of a window; 28 days are parted into 2 hours."""
HOUR_BUCKETS: Final = 60
"""Of the last hour, by which a burn rate is told."""


class Outcome(StrEnum):
    """What a call is to an objective."""

    ANSWERED = "answered"
    LATE = "late"
    """Answered, and not within ``latency_seconds``."""
    FAULT = "fault"


def outcome(state: StepState, seconds: float, slo: Slo | None) -> Outcome | None:
    """What an ended call was; ``None`` where it says nothing of the hand."""
    if state.cached_from is not None:
        return None
    reason = None if state.error is None else state.error.reason
    if reason in FAULTS and state.status in {StepStatus.FAILED, StepStatus.AMBIGUOUS}:
        return Outcome.FAULT
    if state.status is StepStatus.SUCCEEDED or reason is Reason.HAND_FAILED:
        late = slo is not None and slo.latency_seconds is not None and seconds > slo.latency_seconds
        return Outcome.LATE if late else Outcome.ANSWERED
    return None


@dataclass(slots=True)
class Counts:
    """Calls, by what they were."""

    answered: int = 0
    late: int = 0
    fault: int = 0

    @property
    def calls(self) -> int:
        """All of them."""
        return self.answered + self.late + self.fault

    def add(self, other: "Counts") -> None:
        """Count what ``other`` counted, too."""
        self.answered += other.answered
        self.late += other.late
        self.fault += other.fault


@dataclass(slots=True)
class Window:
    """Counts of the last ``seconds``, in ``parts`` that fall out one by one. Memory is bounded by the parts."""

    seconds: float
    parts: int
    _counts: dict[int, Counts] = field(default_factory=dict)

    def add(self, what: Outcome, now: float) -> None:
        """Count one call."""
        part = self._part(now)
        if part not in self._counts:
            self._prune(part)
            self._counts[part] = Counts()
        counts = self._counts[part]
        setattr(counts, what, getattr(counts, what) + 1)

    def total(self, now: float) -> Counts:
        """What was counted within the window."""
        self._prune(self._part(now))
        total = Counts()
        for counts in self._counts.values():
            total.add(counts)
        return total

    def _part(self, now: float) -> int:
        return int(now * self.parts / self.seconds)

    def _prune(self, newest: int) -> None:
        for part in [one for one in self._counts if one <= newest - self.parts]:
            del self._counts[part]


@dataclass(slots=True)
class _Measured:
    slo: Slo
    since: float
    whole: Window
    hour: Window


class Objectives:
    """What this process measured. Belongs to one event loop."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        """Count in ``metrics``, and by ``clock`` (seconds since the epoch)."""
        self._metrics = metrics
        self._clock = clock
        self._measured: dict[tuple[str, str], _Measured] = {}

    def measure(self, plan: PlanState, state: StepState, seconds: float) -> None:
        """Count a step that was let go and ended.

        Args:
            seconds: what its call took.
        """
        if state.manifest is None:
            return
        slo = state.manifest.slo
        what = outcome(state, seconds, slo)
        if what is None:
            return
        self._metrics.hand_calls.labels(state.step.hand, str(what)).inc()
        if slo is not None:
            now = self._clock()
            known = self._of(plan.plan.tenant, state.step.hand, slo, now)
            known.whole.add(what, now)
            known.hour.add(what, now)

    def view(self, tenant: str, hand: str, slo: Slo) -> dict[str, Any]:
        """``{objective, measured}`` of a hand; what is not known yet is ``None``."""
        now = self._clock()
        known = self._of(tenant, hand, slo, now)
        whole, hour = known.whole.total(now), known.hour.total(now)
        measured: dict[str, Any] = {
            "since": format_time(max(known.since, now - slo.window_days * DAY_SECONDS)),
            "calls": whole.calls,
            "faults": whole.fault,
            "late": whole.late,
            "availability": _part(whole.calls - whole.fault, whole.calls),
            "within_latency": None if slo.latency_seconds is None else _part(whole.answered, whole.calls - whole.fault),
        }
        if slo.availability is not None:
            allowed = 1 - slo.availability
            measured["budget_left"] = None if not whole.calls else 1 - whole.fault / whole.calls / allowed
            measured["burn_rate"] = None if not hour.calls else hour.fault / hour.calls / allowed
        return {"id": hand, "objective": slo.document(), "measured": measured}

    def _of(self, tenant: str, hand: str, slo: Slo, now: float) -> _Measured:
        """What was measured by this objective; another one begins anew."""
        known = self._measured.get((tenant, hand))
        if known is None or known.slo != slo:
            whole, hour = Window(slo.window_days * DAY_SECONDS, BUCKETS), Window(3600.0, HOUR_BUCKETS)
            known = self._measured[tenant, hand] = _Measured(slo, now, whole, hour)
        return known


def _part(some: int, whole: int) -> float | None:
    return some / whole if whole else None
