"""A canary: a candidate bundle that decides for a share of the principals. Pure rules; no clock, database or engine.

Who is in it is drawn by a keyed hash over the canary's id, the tenant and the principal: it stays the same for the life
of a canary, is another draw in the next one, and nobody without the key can tell or choose it.

A canary that does more harm than the active bundle would have done to the same inputs stops itself. From then on both
bundles are asked for the principals that it covered, and the stricter word counts.
"""

import hmac
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from gateway.canonical import canonical
from gateway.model import Decision, DecisionReason, Effect
from gateway.policy.decisions import Unenforceable, strictest
from gateway.policy.differences import comparable, failed
from gateway.reasons import TEXTS, Reason

PERCENT_MAX: Final = 100
PRINCIPALS_MIN: Final = 10
"""So many principals at least fill a full window."""
_STRENGTH: Final = {Effect.ALLOW: 0, Effect.ASK: 1, Effect.DENY: 2}
_MARK: Final = DecisionReason(str(Reason.POLICY_STRICTER), TEXTS[Reason.POLICY_STRICTER])


Who = tuple[str, str]
"""``(tenant, principal id)``."""


class Phase(StrEnum):
    """How a canary bears on one principal now."""

    OUTSIDE = "outside"
    """The active bundle decides: there is no canary, or it does not cover the principal."""
    INSIDE = "inside"
    """The candidate decides."""
    STRICTER = "stricter"
    """The canary stopped itself, or nothing is known of it: the stricter of both decides."""


class Cause(StrEnum):
    """Why a canary stopped itself."""

    DENIALS = "denials"
    ERRORS = "errors"


@dataclass(frozen=True, slots=True)
class Canary:
    """A canary in force.

    Attributes:
        id: of the proposal that two people made it by.
        digest: of the candidate bundle.
        active: of the bundle that it is held against; where another one decides, the canary counts for nothing.
        since, until: seconds since the epoch.
        stopped: why it stopped itself, where it did.
    """

    id: str
    digest: str
    active: str
    percent: int
    since: float
    until: float
    stopped: Cause | None = None

    def covers(self, key: bytes, tenant: str, principal_id: str) -> bool:
        """Whether the principal is one of those that the candidate decides for.

        Args:
            key: 32 bytes that serve nothing else.
        """
        drawn = hmac.digest(key, canonical([self.id, tenant, principal_id]), "sha256")[:8]
        return int.from_bytes(drawn, "big") * PERCENT_MAX < self.percent << 64


# --- whether it does harm --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """What the newest decisions of a canary came to, and what the active bundle said of the same steps.

    Attributes:
        sample: steps that both bundles judged; those where the active bundle's engine was late or away are left out.
        denied: by a rule of the candidate.
        errors: steps to which its engine gave no usable answer.
    """

    sample: int = 0
    denied: int = 0
    denied_active: int = 0
    errors: int = 0
    errors_active: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Counts)))

    def document(self) -> dict[str, int]:
        """As JSON."""
        return {one.name: getattr(self, one.name) for one in fields(Counts)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Counts":
        """Rebuild from :meth:`document`."""
        return cls(*(int(document[one.name]) for one in fields(cls)))


@dataclass(frozen=True, slots=True)
class Limits:
    """When a canary stops itself.

    Attributes:
        window: newest decisions that are looked at.
        sample_min: fewer say nothing.
        denied_margin, errors_margin: by how much the candidate's share may exceed the active bundle's, 0 to 1.
    """

    window: int
    sample_min: int
    denied_margin: float
    errors_margin: float

    def exceeded(self, counts: Counts) -> Cause | None:
        """Why a canary with these counts has to stop; ``None`` where it need not."""
        if counts.sample < self.sample_min:
            return None
        if counts.errors - counts.errors_active > self.errors_margin * counts.sample:
            return Cause.ERRORS
        if counts.denied - counts.denied_active > self.denied_margin * counts.sample:
            return Cause.DENIALS
        return None


class Watch:
    """The newest decisions of one canary on one gateway.

    Of one principal only so many count: one that asks for a thousand harmless things must not hide what others suffer.
    The few that say something by themselves always do, for a canary may cover one principal alone.
    """

    def __init__(self, limits: Limits) -> None:
        self._window = limits.window
        self._of_one_max = max(limits.sample_min, limits.window // PRINCIPALS_MIN)
        self._newest: OrderedDict[int, tuple[Who, Counts]] = OrderedDict()
        self._of: dict[Who, deque[int]] = {}
        self._number = 0
        self.counts = Counts()

    def add(self, who: Who, active: Decision, candidate: Decision) -> None:
        """Take in what both bundles said of one step. Both as the bundles said it: observation changes no share."""
        if not comparable(active):
            return
        one = Counts(
            1,
            int(candidate.effect is Effect.DENY and not failed(candidate)),
            int(active.effect is Effect.DENY and not failed(active)),
            int(failed(candidate)),
            int(failed(active)),
        )
        mine = self._of.setdefault(who, deque())
        self._number += 1
        mine.append(self._number)
        self._newest[self._number] = (who, one)
        self.counts += one
        if len(mine) > self._of_one_max:
            self._forget(mine[0])
        elif len(self._newest) > self._window:
            self._forget(next(iter(self._newest)))

    def _forget(self, number: int) -> None:
        """Take out a decision that is the oldest of its principal."""
        who, one = self._newest.pop(number)
        self.counts += Counts(*(-value for value in one.document().values()))
        self._of[who].popleft()
        if not self._of[who]:
            del self._of[who]


# --- the stricter of two ---------------------------------------------------------------------------------------------


def marked(decision: Decision) -> bool:
    """Whether it is a decision of :func:`stricter`."""
    return any(reason.code == _MARK.code for reason in decision.reasons)


def stricter(active: Decision, candidate: Decision) -> Decision:
    """The stricter of two decisions about one step, with a reason of the gateway's own that says so.

    Deny beats ask beats allow. The reasons are those of the stricter one, of both where they are as strict; the
    obligations are what both demand together, and where they cannot be merged it is a denial. What observation let go
    is let go only where the other one lets it go too. It names the bundle whose word it is: of a word that is both's,
    the active one.
    """
    highest = max(_rank(active), _rank(candidate))
    winners = [one for one in (active, candidate) if _rank(one) == highest]
    first = winners[0]
    reasons = _reasons(winners)
    if first.effect is Effect.DENY:
        return replace(first, reasons=(*reasons, _MARK), otherwise=None)
    try:
        obligations = strictest([active.obligations, candidate.obligations])
    except Unenforceable as exc:
        refused = DecisionReason(str(Reason.POLICY_OBLIGATION), str(exc))
        return Decision(first.step_id, Effect.DENY, (refused, _MARK), first.policy_digest, otherwise=None)
    return replace(first, reasons=(*reasons, _MARK), obligations=obligations, otherwise=None)


def _rank(decision: Decision) -> tuple[int, int]:
    """How strict: by the effect, then by what the bundle had said before observation let it go."""
    return _STRENGTH[decision.effect], _STRENGTH[decision.said().effect]


def _reasons(decisions: Iterable[Decision]) -> tuple[DecisionReason, ...]:
    """Each once, in order: that a hand is observed stays the first."""
    return tuple(dict.fromkeys(reason for decision in decisions for reason in decision.reasons))
