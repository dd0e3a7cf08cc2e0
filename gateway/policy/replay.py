"""Deciding recorded inputs again: what a candidate bundle *would have done*.

Pages of recorded evaluations come in, a judge answers batches of inputs with several processes at once, and a report
counts where its decisions differ from those on record. Memory is bounded by pages and batches, not by what is read.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.errors import HandrailError
from gateway.evaluation import Evaluation, read
from gateway.model import Decision
from gateway.policy.differences import FAULTS, Tally, comparable, compare
from gateway.policy.request import steps_of
from gateway.reasons import Reason

BATCH_MAX: Final = 64
"""Inputs of one question to a judge."""
BATCH_WEIGHT_MAX: Final = 512
"""Steps of one question: a plan of many steps is a batch of its own."""
DIGESTS_MAX: Final = 20
REMEMBERED: Final = 4096
"""Evaluations remembered, so that one whose steps stand on two pages is decided once."""


class Judge(Protocol):
    """A candidate bundle in an engine of its own."""

    @property
    def digest(self) -> str:
        """Of the candidate."""

    @property
    def literals(self) -> Collection[str]:
        """The reason codes that stand in the candidate's text."""

    async def judge(self, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Decision]]:
        """The decisions for each input, in order."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a recording.

    Attributes:
        lines: recorded evaluations: ``{commitment, evaluation}`` or ``{commitment, fault}``. Read once, and best parsed
            only then: what takes long at one go keeps the evaluators waiting.
        done: how far the recording has been read, and
        total: how far it goes, in whatever unit it counts.
    """

    lines: Iterable[Mapping[str, Any]]
    done: int
    total: int


@dataclass(slots=True)
class ReplayReport:
    """What a replay found.

    Attributes:
        evaluations: decided again.
        decisions: steps of them that could be compared.
        passing: steps whose recorded decision says nothing about a policy (the engine was late or away).
        faults: code -> decisions of the candidate that are its engine's denial and no rule's.
        erased: evaluations whose input is gone.
        unreadable: evaluations whose record does not hold.
        recorded: digest of the bundle that decided -> steps; the most frequent.
    """

    digest: str
    tally: Tally = field(default_factory=Tally)
    evaluations: int = 0
    decisions: int = 0
    passing: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    erased: int = 0
    unreadable: int = 0
    recorded: Counter[str] = field(default_factory=Counter)

    @property
    def unchanged(self) -> int:
        """Decisions that are the same in effect, obligations and reasons."""
        return self.decisions - self.tally.kinds.total()

    def add(self, evaluation: Evaluation, found: Mapping[str, Decision], literals: Collection[str]) -> None:
        """Compare the candidate's decisions on one input with those on record."""
        self.evaluations += 1
        plan_id = str(evaluation.policy_input["plan"]["id"])
        for step in evaluation.policy_input["steps"]:
            was, now = evaluation.decisions.get(step["id"]), found[step["id"]]
            if was is None:
                self.unreadable += 1
                continue
            was = was.said()
            self.recorded[was.policy_digest] += 1
            if not comparable(was):
                self.passing += 1
                continue
            self.decisions += 1
            self.faults.update(reason.code for reason in now.reasons if reason.code in FAULTS)
            group = compare(was, now, step, literals)
            if group is not None:
                self.tally.add(group, plan_id, step["id"])

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "candidate": self.digest,
            "evaluations": self.evaluations,
            "decisions": self.decisions,
            "unchanged": self.unchanged,
            "not_comparable": self.passing,
            "erased": self.erased,
            "unreadable": self.unreadable,
            "faults": dict(self.faults),
            "recorded": dict(self.recorded.most_common(DIGESTS_MAX)),
            **self.tally.document(),
        }


async def replay(
    pages: AsyncIterator[Page],
    judge: Judge,
    *,
    workers: int,
    progress: Callable[[int, int], None] = lambda _a, _b: None,
) -> ReplayReport:
    """Have ``judge`` decide everything that ``pages`` hold.

    Args:
        workers: questions under way at once.
        progress: told how far the recording has been decided, and how far it goes.

    Raises:
        HandrailError: the judge cannot answer at all, or whatever ``pages`` raise.
    """
    report = ReplayReport(judge.digest)
    batches: asyncio.Queue[_Batch | None] = asyncio.Queue(workers)

    async def decide() -> None:
        while (batch := await batches.get()) is not None:
            inputs = [evaluation.policy_input for evaluation in batch.evaluations]
            for evaluation, found in zip(batch.evaluations, await judge.judge(inputs), strict=True):
                report.add(evaluation, found, judge.literals)
            if batch.ends is not None:
                progress(*batch.ends)
        await batches.put(None)

    async def feed() -> None:
        known: OrderedDict[str, None] = OrderedDict()
        async for page in _ahead(pages):
            for batch in _batches(page, report, known):
                await batches.put(batch)
        await batches.put(None)

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feed())
            for _ in range(workers):
                tasks.create_task(decide())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    return report


@dataclass(slots=True)
class _Batch:
    evaluations: list[Evaluation]
    ends: tuple[int, int] | None = None
    """Set on a page's last batch."""


async def _ahead(pages: AsyncIterator[Page]) -> AsyncIterator[Page]:
    """The same pages, each read while the one before is decided."""

    async def following() -> Page | None:
        return await anext(pages, None)

    coming = asyncio.ensure_future(following())
    try:
        while (page := await coming) is not None:
            coming = asyncio.ensure_future(following())
            yield page
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def _batches(page: Page, report: ReplayReport, known: OrderedDict[str, None]) -> Iterator[_Batch]:
    """What of a page has to be decided, as it is asked for; the rest is counted."""
    batch = _Batch([])
    weight = 0
    for line in page.lines:
        commitment = line.get("commitment")
        if isinstance(commitment, str):
            if commitment in known:
                continue
            known[commitment] = None
        if len(known) > REMEMBERED:
            known.popitem(last=False)
        evaluation = _evaluation(line, report)
        if evaluation is None:
            continue
        steps = len(evaluation.policy_input["steps"])
        if len(batch.evaluations) >= BATCH_MAX or (weight and weight + steps > BATCH_WEIGHT_MAX):
            yield batch
            batch = _Batch([])
            weight = 0
        batch.evaluations.append(evaluation)
        weight += steps
    batch.ends = (page.done, page.total)
    yield batch


def _evaluation(line: Mapping[str, Any], report: ReplayReport) -> Evaluation | None:
    """The evaluation on a line; counted as what it is where there is none to decide."""
    if line.get("fault") == "erased":
        report.erased += 1
        return None
    try:
        evaluation = read(line.get("evaluation"))
        ids = [step["id"] for step in evaluation.policy_input["steps"]]
        if not ids or ids != steps_of(evaluation.policy_input) or "id" not in evaluation.policy_input["plan"]:
            raise HandrailError(Reason.INTERNAL, "not an evaluation")
    except (HandrailError, KeyError, TypeError):
        report.unreadable += 1
        return None
    return evaluation
