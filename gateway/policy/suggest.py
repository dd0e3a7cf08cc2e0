"""Drafting from what was seen: the narrowest lines of ``grants/data.json`` that would have covered it, and what the
arguments of the same steps held (``allowlists``). Pure.

Only what a grant alone would mend is drafted: steps that the policy denied for no other reason than a missing grant,
whether they were refused or let go by observation. Everything else is counted and said: what other rules deny, and what
any critical rule denies, is never suggested.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.evaluation import Evaluation
from gateway.model import Effect
from gateway.policy.allowlists import Allowlists
from gateway.policy.observe import LENIENT

MISSING: Final = "grants.missing"
"""The one reason that a line in the table takes away."""
LINES_MAX: Final = 1_000
LEFT_OUT_MAX: Final = 200

Key = tuple[str, str, str, str]
"""``(who, hand, action, environment)``."""


@dataclass(slots=True)
class Draft:
    """What was seen, counted in bounded memory.

    Attributes:
        by_role: whether a line is for all roles of who asked, instead of for the principal alone.
        severity: of a reason code in the bundle that the draft is for; empty where it is not known.
        covered: steps that the policy lets go already.
        erased: evaluations whose input is gone: nothing is drafted from them, and nothing guessed.
        unreadable: evaluations whose record does not hold.
    """

    severity: Callable[[str], str]
    by_role: bool = False
    covered: int = 0
    needed: Counter[Key] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str, tuple[str, ...]]] = field(default_factory=Counter)
    allowlists: Allowlists = field(default_factory=Allowlists)
    erased: int = 0
    unreadable: int = 0
    not_told_apart: int = 0

    def add(self, evaluation: Evaluation) -> None:
        """Take in the steps of one recorded evaluation."""
        asked = evaluation.policy_input
        principal = asked["principal"]
        who = ",".join(sorted(principal["roles"])) if self.by_role else str(principal["id"])
        for step in asked["steps"]:
            decision = evaluation.decisions.get(step["id"])
            if decision is None:
                continue
            said = decision.said()
            if said.effect is not Effect.DENY:
                self.covered += 1
                self.allowlists.add(step, asked["hands"])
                continue
            codes = tuple(sorted({reason.code for reason in said.reasons}))
            if codes == (MISSING,) and self.severity(MISSING) in LENIENT and who:
                self._count(self.needed, (who, step["hand"], step["action"], str(asked["environment"])), LINES_MAX)
                self.allowlists.add(step, asked["hands"])
            else:
                self._count(self.left_out, (step["hand"], step["action"], codes), LEFT_OUT_MAX)

    def _count(self, counter: Counter[Any], key: Any, most: int) -> None:
        if key not in counter and len(counter) >= most:
            self.not_told_apart += 1
        else:
            counter[key] += 1

    def table(self) -> list[dict[str, Any]]:
        """Lines for ``table``: actions of one hand together where who and where are the same."""
        actions: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for who, hand, action, environment in sorted(self.needed):
            actions[who, hand, environment].append(action)
        whom = "roles" if self.by_role else "principals"
        return [
            {
                whom: who.split(",") if self.by_role else [who],
                "hand": hand,
                "actions": names,
                "only": {"environments": [environment]},
            }
            for (who, hand, environment), names in actions.items()
        ]

    def document(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """As JSON: the lines, how often each would have been used, and what was left out and why.

        Args:
            data: of the bundle that the draft is for, under ``handrail``.
        """
        return {
            "table": self.table(),
            "seen": [
                {"who": who, "hand": hand, "action": action, "environment": environment, "steps": count}
                for (who, hand, action, environment), count in self.needed.most_common()
            ],
            "covered": self.covered,
            "left_out": [
                {"hand": hand, "action": action, "reasons": list(codes), "why": self._why(codes), "steps": count}
                for (hand, action, codes), count in self.left_out.most_common()
            ],
            "allowlists": self.allowlists.document(data),
            "erased": self.erased,
            "unreadable": self.unreadable,
            "not_told_apart": self.not_told_apart,
        }

    def _why(self, codes: tuple[str, ...]) -> str:
        if any(self.severity(code) not in LENIENT for code in codes):
            return "a critical rule denies it, or one whose severity is not known"
        return "other rules deny it too; a grant would not be enough"


def granted_hands(data: Mapping[str, Any]) -> set[str]:
    """The hands that the lines of ``grants/data.json`` name, also those in its scopes.

    Args:
        data: of a whole bundle. What is not of the grants' shape names none.
    """
    grants = data.get("handrail", {}).get("grants", {})
    if not isinstance(grants, Mapping):
        return set()
    scopes = grants.get("scopes")
    lists = [grants.get("table"), *(scopes.values() if isinstance(scopes, Mapping) else ())]
    lines = [line for one in lists if isinstance(one, list) for line in one if isinstance(line, Mapping)]
    return {str(line["hand"]) for line in lines if "hand" in line} - {"*"}


def merged(data: Mapping[str, Any], table: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of ``grants/data.json`` with the drafted lines at the end."""
    return {**data, "table": [*data.get("table", []), *table]}
