"""What a check found: for people, as JSON, and as JUnit XML for pipelines. No I/O."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from xml.etree import ElementTree as ET

from gateway.canonical import canonical
from gateway.model import EMPTY
from gateway.safe import safe
from hand_adapters.conformance.options import Options
from hand_adapters.conformance.promises import TEXTS, Promise, Status, Verdict

_TEXT_MAX: Final = 2000
"""Characters of arguments in :meth:`Report.text`."""


@dataclass(frozen=True, slots=True)
class Report:
    """One check of one hand.

    Attributes:
        digest: of the manifest that was checked; empty where there was none.
        called: the actions that gave results.
        left_out: action -> why nothing is known of what it does.
        unended: whether a call runs on that could not be ended; the process should be left at once.
    """

    hand: str
    adapter: str
    digest: str
    options: Options
    verdicts: tuple[Verdict, ...]
    called: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    unended: bool = False

    @property
    def broken(self) -> tuple[Verdict, ...]:
        """The promises that were seen to be broken."""
        return tuple(verdict for verdict in self.verdicts if verdict.status is Status.BROKEN)

    @property
    def complete(self) -> bool:
        """Whether there are actions, and every one was called and gave a result."""
        return bool(self.called) and not self.left_out

    def again(self, verdict: Verdict) -> str:
        """The command that shows a finding again, without ``handrail``."""
        words = ["hands", "check", self.hand, "--seed", str(self.options.seed)]
        words += ["--examples", str(self.options.examples)]
        if verdict.action is not None and verdict.promise not in {Promise.SIDE_EFFECTS, Promise.IDEMPOTENT}:
            words += ["--action", verdict.action]
        for action in sorted(self.options.allow_effects):
            words += ["--allow-effects", action]
        if self.options.digest is not None:
            words += ["--digest", self.options.digest]
        return shlex.join([*words, *self.options.words])

    def text(self) -> str:
        """The findings, one a line: what a test says when it fails."""
        return "\n".join(
            f"{verdict.promise} of {verdict.action or self.hand}: {verdict.seen}"
            f"{_arguments(verdict, ' ', _TEXT_MAX)} [{self.again(verdict)}]"
            for verdict in self.broken
        )

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "hand": self.hand,
            "adapter": self.adapter,
            "manifest_digest": self.digest,
            "seed": self.options.seed,
            "examples": self.options.examples,
            "verdict": "broken" if self.broken else "passed" if self.complete else "incomplete",
            "called": list(self.called),
            "left_out": dict(self.left_out),
            "verdicts": [
                {**one.document(), **({"again": self.again(one)} if one.status is Status.BROKEN else {})}
                for one in self.verdicts
            ],
        }

    def junit(self) -> str:
        """As JUnit XML: a case for each promise of each action, and one for each action that was left out."""
        suite = ET.Element("testsuite", name=f"handrail hands check {_xml(self.hand)}")
        properties = ET.SubElement(suite, "properties")
        for name, value in (("manifest_digest", self.digest), ("seed", str(self.options.seed))):
            ET.SubElement(properties, "property", name=name, value=value)
        for (promise, action), verdicts in self._cases().items():
            case = ET.SubElement(suite, "testcase", classname=_xml(self._place(action)), name=str(promise))
            self._fill(case, promise, verdicts)
        for action, why in self.left_out.items():
            case = ET.SubElement(suite, "testcase", classname=_xml(self._place(action)), name="called")
            ET.SubElement(case, "skipped", message=_xml(why))
        suite.set("tests", str(len(suite) - 1))
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
        suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
        suite.set("errors", "0")
        ET.indent(suite)
        return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"

    def _cases(self) -> dict[tuple[Promise, str | None], list[Verdict]]:
        cases: dict[tuple[Promise, str | None], list[Verdict]] = {}
        for verdict in self.verdicts:
            cases.setdefault((verdict.promise, verdict.action), []).append(verdict)
        return cases

    def _place(self, action: str | None) -> str:
        return f"handrail.hands.{self.hand}" + (f".{action}" if action else "")

    def _fill(self, case: ET.Element, promise: Promise, verdicts: list[Verdict]) -> None:
        broken = [verdict for verdict in verdicts if verdict.status is Status.BROKEN]
        if broken:
            failure = ET.SubElement(case, "failure", type=str(promise), message=_xml(broken[0].seen))
            lines = [TEXTS[promise]]
            for verdict in broken:
                lines.append(verdict.seen)
                if verdict.args is not None:
                    lines.append(_arguments(verdict, "arguments: ", None))
            lines.append(f"again: handrail {self.again(broken[0])}")
            failure.text = _xml("\n".join(lines))
        elif all(verdict.status is Status.NOT_SHOWN for verdict in verdicts):
            ET.SubElement(case, "skipped", message=_xml(verdicts[0].seen))


def _arguments(verdict: Verdict, before: str, most: int | None) -> str:
    """The arguments of a finding in one line of JSON, at most so many characters of it; empty where it has none."""
    if verdict.args is None:
        return ""
    written = canonical(verdict.args).decode()
    return before + (written if most is None or len(written) <= most else f"{written[:most]} ...")


def _xml(text: str) -> str:
    """``text`` without what XML 1.0 has no character for."""
    return safe(text, lines=True)
