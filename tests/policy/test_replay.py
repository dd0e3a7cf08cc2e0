"""Recorded inputs decided again, by both engines: what differs, what is left out and said, and what breaks it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest

from gateway.evaluation import record
from gateway.model import Decision, DecisionReason, Effect
from gateway.policy.bundle import load
from gateway.policy.differences import Kind
from gateway.policy.faults import BundleError
from gateway.policy.judges import judging
from gateway.policy.pool import EvaluatorPool
from gateway.policy.replay import Page, ReplayReport, replay
from gateway.settings import PolicySettings
from tests.policy.support import OPEN, SHIPPED, ask, embedded, inspected, step, write

COUNTER = itertools.count()
OPEN_TO_ALL = """package handrail

decisions contains {"step": step.id, "effect": "allow"} if {
	some step in input.steps
}
"""
SLOW = """package handrail

decisions contains {"step": step.id, "effect": "allow"} if {
	some step in input.steps
	step.hand == "known"
}

decisions contains {"step": step.id, "effect": "allow"} if {
	some step in input.steps
	step.hand == "slow"
	some a in numbers.range(1, 5000)
	some b in numbers.range(1, 5000)
	a * b == 0
}
"""


def line(policy_input: Mapping[str, Any], effect: str = "allow", *codes: str, commitment: str = "") -> dict[str, Any]:
    """A recorded evaluation as the API gives it, in which every step was decided alike."""
    reasons = tuple(DecisionReason(code, "words") for code in codes or ("old.rule",))
    decisions = {one["id"]: Decision(one["id"], Effect(effect), reasons, "0" * 64) for one in policy_input["steps"]}
    document = orjson.loads(record(policy_input, decisions))
    return {"commitment": commitment or f"unique {next(COUNTER)}", "index": 1, "time": "t", "evaluation": document}


async def paged(*pages: Sequence[Mapping[str, Any]]) -> AsyncIterator[Page]:
    for number, lines in enumerate(pages, 1):
        yield Page(lines, number, len(pages))


async def run(
    directory: Path, *pages: Sequence[Mapping[str, Any]], engine: Literal["embedded", "opa"] = "embedded",
    **limits: Any,
) -> ReplayReport:  # fmt: skip
    settings = PolicySettings(**limits)
    async with judging(load(directory), engine, workers=2, limits=settings) as judge:
        return await replay(paged(*pages), judge, workers=2)


def kinds(report: ReplayReport) -> dict[str, int]:
    return {str(kind): count for kind, count in report.tally.kinds.items()}


@pytest.mark.parametrize("engine", ["embedded", pytest.param("opa", marks=pytest.mark.opa)])
async def test_what_a_candidate_would_change_is_counted_by_kind(
    tmp_path: Path, engine: Literal["embedded", "opa"], opa_program: Path
) -> None:
    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "ask")})
    report = await run(
        tmp_path,
        [line(ask(step("a"), step("b", hand="other"))), line(ask(step("c")), "ask")],
        [line(ask(step("d")), "deny"), line(ask(step("e", hand="other")), "deny", "policy.undecided")],
        engine=engine,
    )
    assert kinds(report) == {"newly_denied": 1, "newly_asked": 2, "reasons_changed": 2}
    assert (report.evaluations, report.decisions, report.unchanged) == (4, 5, 0)
    assert report.digest == load(tmp_path).digest


async def test_the_bundle_that_decided_finds_no_difference(tmp_path: Path) -> None:
    engine = await embedded(SHIPPED)
    inputs = [
        ask(step(f"s{n}", "git", action, repo_path="/repo")) for n, action in enumerate(["git_status", "git_push"])
    ]
    try:
        lines = [
            {"commitment": str(n), "evaluation": orjson.loads(record(one, await engine.decide(one)))}
            for n, one in enumerate(inputs)
        ]
    finally:
        await engine.close()
    report = await run(SHIPPED, lines)
    assert (report.unchanged, kinds(report)) == (2, {})


async def test_an_evaluation_whose_steps_stand_on_two_pages_counts_once(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "deny")})
    twice = line(ask(step("a"), step("b")), commitment="c1")
    report = await run(tmp_path, [twice], [twice, line(ask(step("c")), commitment="c2")])
    assert (report.evaluations, report.decisions) == (2, 3)


async def test_what_is_gone_or_does_not_hold_is_counted_and_not_guessed(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "allow")})
    broken: list[Any] = [
        {"commitment": "1", "fault": "erased"},
        {"commitment": "2", "fault": "unreadable"},
        {"commitment": "3", "evaluation": {"input": {}, "decisions": {}}},
        {"commitment": "4", "evaluation": None},
        {"commitment": "5", "evaluation": {"input": {**ask(step("s")), "steps": [{"id": 5}]}, "decisions": {}}},
        {"commitment": "6", "evaluation": {"input": ask(), "decisions": {}}},
        {"commitment": "7", "evaluation": {"input": ask(step("s")), "decisions": {"s": {"effect": "maybe"}}}},
        {},
        {"commitment": ["a list"]},
    ]
    undecided = line(ask(step("known")), commitment="8")
    undecided["evaluation"]["decisions"] = {}
    report = await run(tmp_path, [*broken, undecided, line(ask(step("fine")), commitment="9")])
    assert (report.erased, report.unreadable, report.decisions) == (1, 9, 1)


async def test_a_recorded_time_out_is_no_opinion_of_the_old_bundle(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "allow")})
    report = await run(tmp_path, [line(ask(step("a")), "deny", "policy.timeout"), line(ask(step("b")), "deny", "a.b")])
    assert (report.passing, report.decisions, kinds(report)) == (1, 1, {"newly_allowed": 1})


async def test_an_input_that_hangs_the_candidate_costs_itself_alone(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": SLOW})
    lines = [
        line(ask(step(f"s{n}", hand="slow" if n == 5 else "known")), "allow", commitment=str(n)) for n in range(20)
    ]
    report = await run(tmp_path, lines, deadline_milliseconds=100)
    assert dict(report.faults) == {"policy.timeout": 1}
    assert report.decisions == 20
    (denied,) = [group for group in report.tally.groups if group.kind is Kind.NEWLY_DENIED]
    assert (denied.hand, denied.now) == ("slow", ("deny", ("policy.timeout",)))


async def test_a_candidate_that_a_gateway_would_refuse_is_refused_here(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": OPEN_TO_ALL})
    with pytest.raises(BundleError, match="self-test"):
        await run(tmp_path, [line(ask(step("a")))])


async def test_a_recording_that_breaks_off_is_an_error_and_no_result(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[Page]:
        yield Page([line(ask(step("a")))], 1, 2)
        raise ConnectionResetError("gone")

    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "allow")})
    async with judging(load(tmp_path), "embedded", workers=1, limits=PolicySettings()) as judge:
        with pytest.raises(ConnectionResetError):
            await replay(broken(), judge, workers=1)


async def test_pages_wait_for_what_decides_them(tmp_path: Path) -> None:
    """However fast a recording can be read, no more of it is in memory than is being decided, and one page ahead."""
    read: list[int] = []
    release = asyncio.Event()
    digest = "d" * 64

    class Held:
        digest = "d" * 64
        literals: tuple[str, ...] = ()

        async def judge(self, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Decision]]:
            await release.wait()
            return [{one["id"]: Decision(one["id"], Effect.ALLOW, (), digest) for one in i["steps"]} for i in inputs]

    async def endless() -> AsyncIterator[Page]:
        for number in range(200):
            read.append(number)
            yield Page([line(ask(step("a")), commitment=str(number))], number, 200)

    going = asyncio.create_task(replay(endless(), Held(), workers=2))
    for _ in range(500):
        await asyncio.sleep(0)
    assert len(read) <= 2 + 2 + 3, "two at work, two in line, one being put, and one page ahead"
    release.set()
    assert (await going).evaluations == 200


async def test_many_inputs_in_one_question_have_the_answers_they_have_alone(tmp_path: Path) -> None:
    bundle = await inspected(write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "allow")}))
    pool = EvaluatorPool(bundle, workers=1, deadline_seconds=2.0)
    await pool.start()
    try:
        raws = [orjson.dumps(ask(step(f"s{n}", hand=hand))) for n, hand in enumerate(["known", "other"] * 40)]
        assert await pool.evaluate_many(raws) == [await pool.evaluate(raw) for raw in raws]
        assert await pool.evaluate_many([]) == []
        bad, good = await pool.evaluate_many([b"not json", raws[0]])
        assert "policy.error" in str(bad.reason)
        assert good == await pool.evaluate(raws[0])
    finally:
        await pool.close()
