"""What a verification found, for people and for programs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final


class Verdict(StrEnum):
    """What kind of thing was found."""

    PROVED = "proved"
    FAILED = "failed"
    """It does not hold. One of these, and nothing in the bundle should be relied on."""
    OPEN = "open"
    """It was to be shown and cannot be with what was given."""
    LIMIT = "not proved"
    """No bundle of this kind can show it; said so that nobody reads more into it."""


class Exit(IntEnum):
    """Exit code of the program."""

    HOLDS = 0
    FAILED = 1
    USAGE = 2
    OPEN = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence and what it is about."""

    verdict: Verdict
    about: str
    text: str


def entries(number: int) -> str:
    """A number of entries, in words."""
    return "1 entry" if number == 1 else f"{number} entries"


FINDINGS_MAX: Final = 1_000
"""Kept; the rest are counted. A bundle that is wrong everywhere must not fill the memory."""


@dataclass(slots=True)
class Report:
    """Findings in the order in which they were made, and the facts that a program may want."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    left_out: int = 0

    def add(self, verdict: Verdict, about: str, text: str) -> None:
        """Note one more finding."""
        if len(self.findings) >= FINDINGS_MAX and verdict is Verdict.FAILED:
            self.left_out += 1
            return
        self.findings.append(Finding(verdict, about, text))

    def proved(self, about: str, text: str) -> None:
        """It holds."""
        self.add(Verdict.PROVED, about, text)

    def failed(self, about: str, text: str) -> None:
        """It does not."""
        self.add(Verdict.FAILED, about, text)

    @property
    def exit(self) -> Exit:
        """The worst of the findings. A report without anything proved holds nothing."""
        found = {finding.verdict for finding in self.findings}
        if Verdict.FAILED in found or Verdict.PROVED not in found:
            return Exit.FAILED
        return Exit.OPEN if Verdict.OPEN in found else Exit.HOLDS

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "holds": self.exit is Exit.HOLDS,
            "verdict": self.exit.name.lower(),
            **self.facts,
            "findings": [{"verdict": str(one.verdict), "about": one.about, "text": one.text} for one in self.findings],
            "more_failures": self.left_out,
        }

    def lines(self) -> Iterable[str]:
        """As text: what holds, what does not, what is open, what no bundle shows, and the verdict last."""
        for verdict, title in _TITLES:
            chosen = [one for one in self.findings if one.verdict is verdict]
            if chosen:
                yield title
                yield from (f"  - {one.about}: {one.text}" for one in chosen)
        if self.left_out:
            yield f"  - and {self.left_out} more that do not hold"
        yield _VERDICTS[self.exit]


_TITLES: Final = (
    (Verdict.PROVED, "Proved:"),
    (Verdict.LIMIT, "Not proved, and not to be read into it:"),
    (Verdict.OPEN, "Open: it was to be shown, and what was given does not show it:"),
    (Verdict.FAILED, "DOES NOT HOLD:"),
)
_VERDICTS: Final = {
    Exit.HOLDS: "VERDICT: the bundle holds.",
    Exit.FAILED: "VERDICT: the bundle does NOT hold. Do not rely on it, and ask whoever gave it to you.",
    Exit.OPEN: "VERDICT: nothing in it is wrong, but not everything that you asked is shown.",
}
