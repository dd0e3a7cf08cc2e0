"""Decide the steps of a bundle again, each by the enclosed policy bundle that decided it, with the gateway's engines.

The bundle was verified before: its openings are what entries committed to, and its policies have the digests that the
entries name. The file is read once for each policy bundle, so memory holds one of them, one page of evaluations and a
bounded stretch of args that stand beside evaluations.
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
from gateway.evaluation import BESIDE_MIN_BYTES, FIELD, Evaluation, beside, parse, whole
from gateway.policy.bundle import Bundle, assemble
from gateway.policy.faults import BundleError, EngineUnavailable
from gateway.policy.judges import judging
from gateway.policy.replay import Page, ReplayReport, replay
from gateway.settings import PolicySettings

_PAGE: Final = 256
_SHOWN: Final = 20
_ARGS_MAX_BYTES: Final = 64 << 20
"""Args that are kept for evaluations to come, and"""
_WAITING_MAX: Final = 16
"""evaluations that wait for args: an export has both next to each other, as their entries are."""


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
    wrong, apart = Redecided(""), 0
    for one in _evaluations(file):
        apart += one.document is None
        for decision in one.evaluation.decisions.values():
            recorded[decision.policy_digest] = recorded.get(decision.policy_digest, 0) + 1
        wrong.differences += islice(_contradictions(one), max(0, _SHOWN - len(wrong.differences)))
    if apart:
        wrong.open.append(f"{counted(apart, 'evaluation')} cannot be repeated: not all args are enclosed.")
    if wrong.differences or wrong.open:
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
    """An evaluation; ``document`` is ``None`` where not all of its args are at hand."""

    evaluation: Evaluation
    document: Mapping[str, Any] | None
    commitment: str
    entries: tuple[Mapping[str, Any], ...]


class _Values:
    """What openings hold of args and evaluations: an evaluation is given once all of its args are at hand."""

    def __init__(self) -> None:
        self._args: dict[str, bytes] = {}
        self._args_bytes = 0
        self._waiting: dict[str, tuple[bytes, list[str], tuple[Mapping[str, Any], ...]]] = {}

    def args(self, commitment: str, value: bytes) -> Iterator[_Enclosed]:
        """Args, for the evaluations that wait for them and those to come; the oldest are let go for them."""
        if len(value) < BESIDE_MIN_BYTES:
            return  # no evaluation names these
        self._args_bytes += len(value) - len(self._args.pop(commitment, b""))
        self._args[commitment] = value
        while self._args_bytes > _ARGS_MAX_BYTES:
            self._args_bytes -= len(self._args.pop(next(iter(self._args))))
        yield from self._whole()

    def evaluation(self, commitment: str, raw: bytes, entries: tuple[Mapping[str, Any], ...]) -> Iterator[_Enclosed]:
        """An evaluation, with the entries that came from it."""
        self._waiting[commitment] = raw, beside(raw), entries
        yield from self._whole()
        if len(self._waiting) > _WAITING_MAX:
            yield self._give(next(iter(self._waiting)), None)

    def rest(self) -> Iterator[_Enclosed]:
        """Evaluations whose args did not come."""
        for commitment in list(self._waiting):
            yield self._give(commitment, None)

    def _whole(self) -> Iterator[_Enclosed]:
        for commitment, (raw, names, _) in list(self._waiting.items()):
            if self._args.keys() >= set(names):
                yield self._give(commitment, whole(raw, self._args))

    def _give(self, commitment: str, document: bytes | None) -> _Enclosed:
        raw, _, entries = self._waiting.pop(commitment)
        return _Enclosed(parse(raw), None if document is None else orjson.loads(document), commitment, entries)


async def _pages(file: Path, digest: str) -> AsyncIterator[Page]:
    """What the bundle ``digest`` decided, as pages of a replay."""
    page: list[Mapping[str, Any]] = []
    for one in _evaluations(file):
        mine = {step for step, decision in one.evaluation.decisions.items() if decision.policy_digest == digest}
        if not mine:
            continue
        if one.document is None:
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
    args: set[str] = set()
    values = _Values()
    for part in _parts(file):
        kind = part.name.partition("/")[0]
        if kind == "entries":
            by_root, named, args = {}, {}, set()
            for entry in map(orjson.loads, lines(part)):
                by_root.setdefault(entry.get("commitment", ""), []).append(entry)
        elif kind == "fields":
            for line in map(orjson.loads, lines(part)):
                if FIELD in line["fields"]:
                    named.setdefault(line["fields"][FIELD], []).extend(by_root.get(fields_root(line["fields"]), ()))
                    args.add(line["fields"].get("args", ""))
        elif kind == "openings":
            for line in map(orjson.loads, lines(part)):
                commitment = line["commitment"]
                if commitment in named:
                    yield from values.evaluation(commitment, b64url_decode(line["value"]), tuple(named[commitment]))
                elif commitment in args:
                    yield from values.args(commitment, b64url_decode(line["value"]))
        else:
            _pass(part)
    yield from values.rest()


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
