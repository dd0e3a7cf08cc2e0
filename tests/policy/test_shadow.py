"""A shadow beside a live engine: bounded, counted, and without a say, whatever the candidate does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import HandrailError
from gateway.model import Decision
from gateway.policy.bundle import Bundle, load
from gateway.policy.candidate import Candidate
from gateway.policy.comparison import Comparison, together
from gateway.policy.decisions import decide, deny_all
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.shadow import Shadowing
from gateway.reasons import Reason
from tests.policy.support import OPEN, ask, step, write

LIMITS: Mapping[str, Any] = {"workers": 1, "deadline_seconds": 2.0, "input_max_bytes": 1_048_576}


@dataclass
class Kept:
    signed: Any


@dataclass
class Signed:
    bundle: Bundle


def said(effect: str, policy_input: Mapping[str, Any], code: str = "test.x") -> Mapping[str, Decision]:
    ids = [one["id"] for one in policy_input["steps"]]
    reasons = [{"code": code, "message": "w"}]
    return decide(ids, [{"step": one, "effect": effect, "reasons": reasons} for one in ids], "a" * 64)


def bundle(directory: Path, effect: str) -> Bundle:
    return load(write(directory, {"handrail/main.rego": OPEN.replace("EFFECT", effect)}))


async def holding(made: Bundle, backend: Any = None) -> Candidate:
    async def fetch(digest: str) -> Any:
        return Kept(Signed(made)) if digest == made.digest else None

    candidate = Candidate(lambda: backend or EmbeddedEngine(**LIMITS), fetch)
    await candidate.hold(made.digest)
    return candidate


class Scripted:
    """An engine port that answers as a test says; bundles and candidates around it are real."""

    digest = ""

    def __init__(self, answer: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Decision]]]) -> None:
        self.answer = answer
        self.asked = 0

    async def activate(self, made: Bundle, record: Callable[[], Awaitable[None]]) -> None:
        await record()

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        self.asked += 1
        return await self.answer(policy_input)

    async def maintain(self) -> None: ...

    async def ready(self) -> None: ...

    async def close(self) -> None: ...


async def test_it_judges_the_same_input_and_counts_what_differs(tmp_path: Path) -> None:
    made = bundle(tmp_path, "deny")
    candidate = await holding(made)
    into, outcomes = Comparison(made.digest), list[str]()
    shadowing = Shadowing(candidate, 10, outcomes.append)
    await shadowing.follow(into)
    shadowing.offer(ask(step()), said("allow", ask(step())))
    shadowing.offer(ask(step(hand="odd")), said("deny", ask(step())))
    await shadowing.idle()
    assert outcomes == ["newly_denied", "reasons_changed"]
    assert (into.decisions, into.faults, into.shed) == (2, {}, 0)
    await shadowing.close()
    await candidate.close()


async def test_a_flood_is_left_out_and_counted_and_nobody_waits(tmp_path: Path) -> None:
    """A candidate that never answers: offering stays a matter of a moment, memory stays bounded."""
    never = asyncio.Event()

    async def hang(policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        await never.wait()
        return said("allow", policy_input)

    made = bundle(tmp_path, "allow")
    candidate = await holding(made, Scripted(hang))
    into = Comparison(made.digest)
    shadowing = Shadowing(candidate, 5)
    await shadowing.follow(into)
    for _ in range(1000):
        shadowing.offer(ask(step()), said("allow", ask(step())))
    assert shadowing.waiting == 5
    assert into.shed == 995
    await shadowing.close()
    shadowing.offer(ask(step()), said("allow", ask(step())))
    assert into.shed == 995


async def test_a_candidate_that_keeps_failing_is_left_alone_and_its_faults_are_no_differences(tmp_path: Path) -> None:
    async def late(policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        return deny_all([one["id"] for one in policy_input["steps"]], Reason.POLICY_TIMEOUT, made.digest)

    made = bundle(tmp_path, "allow")
    engine = Scripted(late)
    candidate = await holding(made, engine)
    into = Comparison(made.digest)
    shadowing = Shadowing(candidate, 100, elapsed=lambda: 0.0)
    await shadowing.follow(into)
    for _ in range(50):
        shadowing.offer(ask(step()), said("allow", ask(step())))
    await shadowing.idle()
    assert engine.asked == 5
    assert (into.faults["policy.timeout"], into.shed, into.decisions) == (5, 45, 0)
    assert into.tally.kinds.total() == 0
    await shadowing.close()


async def test_a_candidate_whose_engine_breaks_is_a_fault_and_the_shadow_goes_on(tmp_path: Path) -> None:
    async def break_(policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        raise RuntimeError("no engine does that")

    made = bundle(tmp_path, "allow")
    candidate = await holding(made, Scripted(break_))
    into = Comparison(made.digest)
    shadowing = Shadowing(candidate, 10)
    await shadowing.follow(into)
    for _ in range(2):
        shadowing.offer(ask(step()), said("allow", ask(step())))
    await shadowing.idle()
    assert into.faults == {"policy.error": 2}
    await shadowing.close()


async def test_what_the_active_engine_failed_to_decide_is_not_compared(tmp_path: Path) -> None:
    made = bundle(tmp_path, "allow")
    candidate = await holding(made)
    into = Comparison(made.digest)
    shadowing = Shadowing(candidate, 10)
    await shadowing.follow(into)
    shadowing.offer(ask(step()), deny_all(["s1"], Reason.POLICY_UNAVAILABLE, "a" * 64))
    await shadowing.idle()
    assert (into.not_comparable, into.decisions) == (1, 0)
    await shadowing.close()
    await candidate.close()


async def test_there_is_no_engine_without_a_candidate_and_one_while_there_is(tmp_path: Path) -> None:
    first, second = bundle(tmp_path / "1", "allow"), bundle(tmp_path / "2", "deny")
    engines = list[EmbeddedEngine]()

    async def fetch(digest: str) -> Any:
        return {one.digest: Kept(Signed(one)) for one in (first, second)}.get(digest)

    def make() -> EmbeddedEngine:
        engines.append(EmbeddedEngine(**LIMITS))
        return engines[-1]

    candidate = Candidate(make, fetch)
    assert engines == []
    await candidate.hold(first.digest)
    old = engines[0].pool
    await candidate.hold(second.digest)
    assert (candidate.digest, len(engines), old.processes) == (second.digest, 2, ())
    await candidate.hold("")
    assert (candidate.digest, engines[1].digest) == ("", "")


async def test_a_bundle_that_is_not_held_denies_and_says_why(tmp_path: Path) -> None:
    made = bundle(tmp_path, "allow")
    candidate = await holding(made)
    await candidate.hold("0" * 64)
    assert isinstance(candidate.problem, HandrailError)
    assert candidate.settled("0" * 64)
    for digest in ("0" * 64, made.digest):
        decision = (await candidate.decide(digest, ask(step())))["s1"]
        assert (decision.reasons[0].code, decision.policy_digest) == ("policy.unavailable", digest)
    await candidate.hold(made.digest)
    assert candidate.problem is None
    await candidate.close()


def test_what_gateways_counted_adds_up_and_stays_bounded() -> None:
    one, other = Comparison("c" * 64), Comparison("c" * 64)
    policy_input = ask(step())
    allowed, known = said("allow", policy_input)["s1"], {"a.x", "a.y"}
    for into, code in ((one, "a.x"), (other, "a.x"), (other, "a.y")):
        into.add(policy_input, allowed, said("deny", policy_input, code)["s1"], known)
    other.shed = 7
    other.add(policy_input, allowed, deny_all(["s1"], Reason.POLICY_ERROR, "c")["s1"], ())
    whole = together("c" * 64, [one.document(), other.document()]).document()
    assert (whole["decisions"], whole["shed"], whole["faults"]) == (3, 7, {"policy.error": 1})
    assert whole["rules"] == {"newly_denied": {"a.x": 2, "a.y": 1}}
    assert together("c" * 64, [whole]).document() == whole


def test_a_code_that_spells_an_argument_is_not_shown() -> None:
    into = Comparison("c" * 64)
    policy_input = ask(step())
    into.add(policy_input, said("allow", policy_input)["s1"], said("deny", policy_input, "leak.my_secret")["s1"], ())
    assert "my_secret" not in str(into.document())


@pytest.mark.parametrize("groups", [1000])
def test_a_candidate_that_gives_many_reasons_fills_no_memory(groups: int) -> None:
    into = Comparison("c" * 64)
    policy_input = ask(step())
    names = [f"a.x{number}" for number in range(groups)]
    for name in names:
        into.add(policy_input, said("allow", policy_input)["s1"], said("deny", policy_input, name)["s1"], names)
    document = into.document()
    assert (len(document["groups"]), document["not_grouped"]) == (200, {"newly_denied": groups - 200})
