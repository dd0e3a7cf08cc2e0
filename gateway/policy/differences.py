"""Where two bundles differ on one step, and how many such differences there are. Pure.

A replay, a shadow and a canary all compare two decisions about the same input and count what they find. What is counted
names hands, actions, reason codes and obligations, and step ids as examples; never a value of a call.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from gateway.model import Decision, Effect
from gateway.reasons import ENGINE_AWAY, Reason

EXAMPLES_MAX: Final = 3
"""Steps named for each group."""
GROUPS_MAX: Final = 500
"""Groups told apart; the rest are counted by kind alone."""
COMPUTED: Final = "(computed)"
"""Stands for a code that the candidate put together while it ran: it could spell a value of a call."""
PASSING: Final = frozenset(map(str, ENGINE_AWAY))
"""Denials that say something about the moment and nothing about the policy."""

FAULTS: Final = PASSING | {
    str(Reason.POLICY_ERROR),
    str(Reason.POLICY_INPUT),
    str(Reason.POLICY_OBLIGATION),
    str(Reason.POLICY_UNREDACTED),
}
"""Denials of an engine or the gateway, and of no rule."""


class Kind(StrEnum):
    """How a decision differs from the one before."""

    NEWLY_DENIED = "newly_denied"
    NEWLY_ALLOWED = "newly_allowed"
    NEWLY_ASKED = "newly_asked"
    OBLIGATIONS_CHANGED = "obligations_changed"
    REASONS_CHANGED = "reasons_changed"
    """Same effect and obligations, for other reasons."""


CONSEQUENTIAL: Final = tuple(kind for kind in Kind if kind is not Kind.REASONS_CHANGED)
"""Differences that change what happens to a step."""
_BY_EFFECT: Final = {
    Effect.DENY: Kind.NEWLY_DENIED,
    Effect.ALLOW: Kind.NEWLY_ALLOWED,
    Effect.ASK: Kind.NEWLY_ASKED,
}


@dataclass(frozen=True, slots=True)
class Group:
    """Differences that look alike.

    Attributes:
        was: effect and codes of the decision that counts now.
        now: those of the other one.
        obligations: names of the obligations that differ, where the effect is the same.
    """

    kind: Kind
    hand: str
    action: str
    was: tuple[str, tuple[str, ...]]
    now: tuple[str, tuple[str, ...]]
    obligations: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        """The codes that explain it: of what denies or asks now, or of what no longer does."""
        return self.was[1] if self.kind is Kind.NEWLY_ALLOWED else self.now[1]

    def document(self) -> dict[str, Any]:
        """As JSON, without its count."""
        shown: dict[str, Any] = {
            "kind": str(self.kind),
            "hand": self.hand,
            "action": self.action,
            "was": {"effect": self.was[0], "reasons": list(self.was[1])},
            "now": {"effect": self.now[0], "reasons": list(self.now[1])},
        }
        if self.obligations:
            shown["obligations"] = list(self.obligations)
        return shown

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Group":
        """Rebuild from :meth:`document`."""
        was, now = ((str(one["effect"]), tuple(one["reasons"])) for one in (document["was"], document["now"]))
        obligations = tuple(document.get("obligations", ()))
        return cls(Kind(document["kind"]), document["hand"], document["action"], was, now, obligations)


def compare(
    was: Decision, now: Decision, step: Mapping[str, Any], literals: Collection[str] | None = None
) -> Group | None:
    """How ``now`` differs from ``was`` on ``step``; ``None`` where it does not.

    Args:
        step: of the policy input.
        literals: codes that stand in the other bundle's text; any other that it gives is not shown. ``None`` shows all.
    """
    before, after = _said(was, None), _said(now, literals)
    changed: tuple[str, ...] = ()
    if was.effect is not now.effect:
        kind = _BY_EFFECT[now.effect]
    elif was.obligations != now.obligations:
        kind = Kind.OBLIGATIONS_CHANGED
        changed = _changed(was.obligations.document(), now.obligations.document())
    elif [reason.code for reason in was.reasons] != [reason.code for reason in now.reasons]:
        kind = Kind.REASONS_CHANGED
    else:
        return None
    return Group(kind, str(step["hand"]), str(step["action"]), before, after, changed)


def comparable(decision: Decision) -> bool:
    """Whether a decision came from the policy, and not from an engine that was late or away."""
    return not any(reason.code in PASSING for reason in decision.reasons)


def failed(decision: Decision) -> bool:
    """Whether it is an engine's denial and no rule's."""
    return any(reason.code in FAULTS for reason in decision.reasons)


def _said(decision: Decision, literals: Collection[str] | None) -> tuple[str, tuple[str, ...]]:
    codes = (reason.code for reason in decision.reasons)
    shown = {code if literals is None or code in literals or code in _OWN else COMPUTED for code in codes}
    return str(decision.effect), tuple(sorted(shown))


def _changed(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name)))


_OWN: Final = frozenset(map(str, Reason))


@dataclass(slots=True)
class Tally:
    """Counts differences, in bounded memory whatever they are.

    Attributes:
        kinds: kind -> how many.
        groups: the first :data:`GROUPS_MAX` groups -> how many.
        rest: kind -> how many of none of these groups.
        examples: group -> ``(plan_id, step_id)`` of its first steps.
    """

    groups_max: int = GROUPS_MAX
    kinds: Counter[Kind] = field(default_factory=Counter)
    groups: Counter[Group] = field(default_factory=Counter)
    rest: Counter[Kind] = field(default_factory=Counter)
    examples: dict[Group, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, group: Group, plan_id: str, step_id: str) -> None:
        """Count one difference."""
        self.kinds[group.kind] += 1
        if group not in self.groups and len(self.groups) >= self.groups_max:
            self.rest[group.kind] += 1
            return
        self.groups[group] += 1
        named = self.examples.setdefault(group, [])
        if len(named) < EXAMPLES_MAX:
            named.append((plan_id, step_id))

    def merge(self, document: Mapping[str, Any]) -> None:
        """Add what :meth:`document` of another tally says."""
        self.kinds.update({Kind(kind): int(count) for kind, count in document["kinds"].items() if count})
        self.rest.update({Kind(kind): int(count) for kind, count in document["not_grouped"].items()})
        for one in document["groups"]:
            group, count = Group.from_document(one), int(one["count"])
            if group not in self.groups and len(self.groups) >= self.groups_max:
                self.rest[group.kind] += count
                continue
            self.groups[group] += count
            named = self.examples.setdefault(group, [])
            named += [(example["plan_id"], example["step_id"]) for example in one["examples"]]
            del named[EXAMPLES_MAX:]

    def rules(self, kind: Kind) -> list[tuple[str, int]]:
        """The rules that explain the differences of one kind, most frequent first."""
        found: Counter[str] = Counter()
        for group, count in self.groups.items():
            if group.kind is kind:
                for code in group.rules:
                    found[code] += count
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))

    def ranked(self) -> Sequence[tuple[Group, int]]:
        """Every group: what changes most first, in the order of :class:`Kind`."""
        order = list(Kind)
        return sorted(
            self.groups.items(),
            key=lambda item: (
                order.index(item[0].kind),
                -item[1],
                item[0].hand,
                item[0].action,
                item[0].was,
                item[0].now,
            ),
        )

    def document(self) -> dict[str, Any]:
        """As JSON: counts by kind, by rule, and each group with its examples."""
        return {
            "kinds": {str(kind): self.kinds[kind] for kind in Kind},
            "rules": {str(kind): dict(self.rules(kind)) for kind in Kind if self.kinds[kind]},
            "groups": [
                {
                    **group.document(),
                    "count": count,
                    "examples": [{"plan_id": plan, "step_id": step} for plan, step in self.examples[group]],
                }
                for group, count in self.ranked()
            ],
            "not_grouped": {str(kind): count for kind, count in self.rest.items()},
        }
