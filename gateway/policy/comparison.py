"""What a candidate bundle said beside the active one, counted: of a shadow or a canary, on one gateway or on all. Pure.

It names digests, hands, actions, reason codes and obligations, and step ids as examples; no value of a call.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.model import Decision
from gateway.policy.canary import Counts
from gateway.policy.differences import FAULTS, Tally, comparable, compare, failed

GROUPS_MAX: Final = 200
"""Groups of differences told apart, for each candidate and gateway."""
SAME: Final = "same"
FAULT: Final = "fault"
NOT_COMPARABLE: Final = "not_comparable"
SHED: Final = "shed"


@dataclass(slots=True)
class Comparison:
    """One candidate's words beside the active bundle's.

    Attributes:
        digest: of the candidate.
        decisions: steps of which both bundles' words could be compared.
        faults: code -> steps to which the candidate's engine gave no usable answer: no difference of policy.
        not_comparable: steps where the active bundle's engine was late or away.
        shed: evaluations that were not looked at, because too many waited.
        recent: a canary's newest decisions.
    """

    digest: str
    tally: Tally = field(default_factory=lambda: Tally(GROUPS_MAX))
    decisions: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    not_comparable: int = 0
    shed: int = 0
    recent: Counts = field(default_factory=Counts)

    def add(
        self, policy_input: Mapping[str, Any], active: Decision, candidate: Decision, literals: Collection[str]
    ) -> str:
        """Compare the two words on one step.

        Args:
            literals: reason codes that stand in the candidate's text.

        Returns:
            What came of it: ``same``, a kind of difference, ``fault`` or ``not_comparable``.
        """
        if not comparable(active):
            self.not_comparable += 1
            return NOT_COMPARABLE
        if failed(candidate):
            self.faults.update(reason.code for reason in candidate.reasons if reason.code in FAULTS)
            return FAULT
        self.decisions += 1
        step = next(one for one in policy_input["steps"] if one["id"] == active.step_id)
        group = compare(active, candidate, step, literals)
        if group is None:
            return SAME
        self.tally.add(group, str(policy_input["plan"]["id"]), active.step_id)
        return str(group.kind)

    def merge(self, other: Mapping[str, Any]) -> None:
        """Add what :meth:`document` of another gateway's comparison says."""
        self.decisions += int(other["decisions"])
        self.faults.update({str(code): int(count) for code, count in other["faults"].items()})
        self.not_comparable += int(other["not_comparable"])
        self.shed += int(other["shed"])
        self.recent += Counts.from_document(other["recent"])
        self.tally.merge(other)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "candidate": self.digest,
            "decisions": self.decisions,
            "unchanged": self.decisions - self.tally.kinds.total(),
            "faults": dict(self.faults),
            "not_comparable": self.not_comparable,
            "shed": self.shed,
            "recent": self.recent.document(),
            **self.tally.document(),
        }


def together(digest: str, documents: Collection[Mapping[str, Any]]) -> Comparison:
    """The sum of what several gateways counted."""
    whole = Comparison(digest)
    for document in documents:
        whole.merge(document)
    return whole
