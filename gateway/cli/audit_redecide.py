"""Decide the steps of a bundle again, each by the enclosed policy bundle that decided it, with the gateway's engines.

The bundle was verified before: its openings are what entries committed to, and its policies have the digests that the
entries name. The file is read once for each policy bundle, so memory holds one of them and one page of evaluations.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from audit.evaluations import JUDGEMENTS
from audit.verifier.archive import Part, parts
from audit.verifier.segment import lines
from gateway.canonical import b64url_decode
from gateway.cli.output import counted
from gateway.commitments import fields_root
from gateway.entries import EntryType
from gateway.evaluation import FIELD, Evaluation, parse
from gateway.policy.bundle import Bundle, assemble
from gateway.policy.faults import BundleError, EngineUnavailable
from gateway.policy.judges import judging
from gateway.policy.replay import Page, ReplayReport, replay
from gateway.settings import PolicySettings

_PAGE: Final = 256
_SHOWN: Final = 20


@dataclass(slots=True)
class Redecided:
    """What one policy bundle decided again.

    Attributes:
        digest: of that bundle; empty for what the entries themselves say.
        same: steps whose decision is the recorded one.
        differences, open: in words.
    """

    digest: str
    same: int = 0
    differences: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"digest": self.digest, "same": self.same, "differences": self.differences, "open": self.open}


async def redecide(
    file: Path, engine: Literal["embedded", "opa"], workers: int, limits: PolicySettings
) -> list[Redecided]:
    """Decide everything again that the bundle in ``file`` encloses input and policies of.

    Raises:
        OSError: the file cannot be read.
        EvidenceError: it is not the one that was verified.
    """
    found: list[Redecided] = []
    enclosed = _digests(file)
    recorded: dict[str, int] = {}
    wrong = Redecided("")
    for one in _evaluations(file):
        for decision in one.evaluation.decisions.values():
            recorded[decision.policy_digest] = recorded.get(decision.policy_digest, 0) + 1
        wrong.differences += islice(_contradictions(one), max(0, _SHOWN - len(wrong.differences)))
    if wrong.differences:
        found.append(wrong)
    for digest, count in sorted(recorded.items()):
        one_by = Redecided(digest)
        found.append(one_by)
        if digest not in enclosed:
            one_by.open.append(
                f"{counted(count, 'step was', 'steps were')} decided by the bundle "
                f"{digest[:16]}, which is not enclosed."
            )
            continue
        try:
            report = await _by(file, _policy(file, digest), engine, workers, limits)
        except (BundleError, EngineUnavailable) as exc:
            one_by.open.append(f"the bundle {digest[:16]} cannot be used here: {exc.detail}")
            continue
        _tell(one_by, report)
    return found


async def _by(file: Path, bundle: Bundle, engine: Literal["embedded", "opa"], workers: int, limits: PolicySettings
              ) -> ReplayReport:  # fmt: skip
    async with judging(bundle, engine, workers=workers, limits=limits) as judge:
        return await replay(_pages(file, bundle.digest), judge, workers=workers)


def _tell(one: Redecided, report: ReplayReport) -> None:
    one.same = report.unchanged
    for group, count in report.tally.groups.most_common(_SHOWN):
        plan_id, step_id = report.tally.examples[group][0]
        one.differences.append(
            f"{counted(count, 'step')} of {group.hand} {group.action}: decided {group.was[0]}, and "
            f"{group.now[0]} by the "
            f"same bundle ({group.kind}); one is {plan_id}/{step_id}"
        )
    rest = report.tally.kinds.total() - sum(report.tally.groups.values())
    if rest:
        one.differences.append(f"and {rest} more that differ")
    if report.passing:
        one.open.append(
            f"{counted(report.passing, 'step was', 'steps were')} denied because the engine was late or "
            "away: no policy to repeat."
        )
    if report.faults:
        one.open.append(f"{report.faults.total()} decisions could not be made here ({', '.join(report.faults)}).")


@dataclass(frozen=True, slots=True)
class _Enclosed:
    evaluation: Evaluation
    document: Mapping[str, Any]
    commitment: str
    entries: tuple[Mapping[str, Any], ...]


async def _pages(file: Path, digest: str) -> AsyncIterator[Page]:
    """What the bundle ``digest`` decided, as pages of a replay."""
    page: list[Mapping[str, Any]] = []
    for one in _evaluations(file):
        mine = {step for step, decision in one.evaluation.decisions.items() if decision.policy_digest == digest}
        if not mine:
            continue
        steps = [step for step in one.document["input"]["steps"] if step["id"] in mine]
        if len(steps) == len(one.document["input"]["steps"]):
            page.append({"commitment": one.commitment, "evaluation": one.document})
        if len(page) >= _PAGE:
            yield Page(page, 0, 0)
            page = []
    yield Page(page, 0, 0)


def _evaluations(file: Path) -> Iterator[_Enclosed]:
    """Every enclosed evaluation, once for each segment that opens it, with the entries beside it that came from it."""
    by_root: dict[str, list[Mapping[str, Any]]] = {}
    named: dict[str, list[Mapping[str, Any]]] = {}
    for part in _parts(file):
        kind = part.name.partition("/")[0]
        if kind == "entries":
            by_root, named = {}, {}
            for entry in map(orjson.loads, lines(part)):
                by_root.setdefault(entry.get("commitment", ""), []).append(entry)
        elif kind == "fields":
            for line in map(orjson.loads, lines(part)):
                if FIELD in line["fields"]:
                    named.setdefault(line["fields"][FIELD], []).extend(by_root.get(fields_root(line["fields"]), ()))
        elif kind == "openings":
            for line in map(orjson.loads, lines(part)):
                if line["commitment"] in named:
                    value = b64url_decode(line["value"])
                    commitment = line["commitment"]
                    yield _Enclosed(parse(value), orjson.loads(value), commitment, tuple(named[commitment]))
        else:
            _pass(part)


def _contradictions(one: _Enclosed) -> Iterator[str]:
    """Where an entry says of a judgement what its own evaluation does not."""
    for entry in one.entries:
        effect = JUDGEMENTS.get(EntryType(entry["type"]))
        if effect is None or entry.get("effect") != effect:
            continue  # it tells of a later thing, and repeats the evaluation
        decision = one.evaluation.decisions.get(entry["step_id"])
        said = None if decision is None else (str(decision.effect), decision.policy_digest)
        if said != (effect, entry.get("policy_digest")):
            step = f"{entry['plan_id']}/{entry['step_id']}"
            yield f"the entry of {step} says {effect}, and its evaluation {said}"


def _digests(file: Path) -> set[str]:
    found = set()
    for part in _parts(file):
        _pass(part)
        if part.name.startswith("policies/"):
            found.add(part.name.removeprefix("policies/").removesuffix(".json"))
    return found


def _policy(file: Path, digest: str) -> Bundle:
    for part in _parts(file):
        if part.name == f"policies/{digest}.json":
            files = orjson.loads(part.whole(part.size))["files"]
            return assemble({path: text.encode() for path, text in files.items()})
        _pass(part)
    raise BundleError([], digest)


def _parts(file: Path) -> Iterator[Part]:
    with file.open("rb") as stream:
        yield from parts(stream)


def _pass(part: Part) -> None:
    """Read over a part."""
    for _ in part.chunks():
        continue
