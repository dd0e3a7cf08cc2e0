"""Answers that are kept: given again to the same person for the same question alone, decided and recorded each time,
and gone when something makes them worthless."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cached_results import OVERHEAD_BYTES, CachedResults
from gateway.calls import HandCall, HandResult, Truncation
from gateway.canonical import b64url_decode
from gateway.entries import OUTDATING, EntryDraft, EntryType
from gateway.errors import HandrailError
from gateway.freeze import Scope
from gateway.freezing import FreezeOrder
from gateway.manifest import Oversize
from gateway.model import Effect, Obligations, Principal, Role
from gateway.ports import Append, HandFailure
from gateway.reasons import Reason
from gateway.telemetry import Metrics
from gateway.truncation import LOOK_AHEAD_BYTES
from tests.pipeline.house import (
    AGENT,
    MANIFEST,
    OTHER,
    House,
    SimulatedHands,
    close_house,
    crash,
    locked,
    open_house,
    step,
)

OP = Principal("op", "default", "p-op", frozenset({Role.OPERATOR}))
KEPT = replace(
    MANIFEST,
    actions={name: replace(action, cacheable=True) for name, action in MANIFEST.actions.items() if name != "write"}
    | {"write": MANIFEST.actions["write"]},
)


@pytest.fixture
def caching(house: House) -> House:
    house.hands.manifests["tool"] = KEPT
    house.directory.people["default", "op"] = OP
    return house


async def ask(house: House, text: str = "t", action: str = "echo", **changes: Any) -> dict[str, Any]:
    view = await house.plan(step("s", action, args={"text": text}), **changes)
    shown: dict[str, Any] = view["steps"][0]
    return shown


async def test_a_second_call_is_decided_and_recorded_and_not_made(caching: House) -> None:
    first = await ask(caching)
    before = len(caching.entries())
    second = await ask(caching)
    assert len(caching.hands.calls) == 1
    assert second["result"] == first["result"]
    assert second["receipt_id"] != first["receipt_id"]
    entries = caching.entries()[before:]
    assert [one["type"] for one in entries] == ["PLNRCV", "POLALW", "CRDISS", "STPDSP", "STPEXE"]
    assert entries[-1]["facts"] == {"attempts": 0, "cached_from": first["receipt_id"]}
    assert len(caching.policy.inputs) == 2
    receipts = [json.loads(_payload(one["receipt"])) for one in (first, second)]
    assert "jail" in receipts[0]
    assert "jail" not in receipts[1], "nothing ran"
    assert receipts[0]["result_commitment"] != receipts[1]["result_commitment"], "each has a salt of its own"
    assert _count(caching, "hit") == _count(caching, "miss") == 1


def _payload(token: str) -> bytes:
    return b64url_decode(token.split(".")[1])


def _count(house: House, outcome: str) -> float:
    return house.pipeline.metrics.cached_results.labels("tool", outcome)._value.get()


async def test_nobody_is_given_what_another_asked(caching: House) -> None:
    await ask(caching)
    theirs = caching.brain.payload(step("s", args={"text": "t"}), sub=OTHER.id)
    view = await caching.submit(theirs, caller=OTHER)
    assert view["steps"][0]["status"] == "succeeded"
    assert [call.principal_id for call in caching.hands.calls] == ["ada", "eve"]


async def test_other_arguments_are_another_question_and_other_spellings_are_not(caching: House) -> None:
    same = [
        '{"text":"é","n":1}',
        '{"n":1.0,"text":"\\u00e9"}',
        '{ "n" : 1e0, "text":"\\u00E9" }',
    ]
    others = ['{"text":"e\\u0301","n":1}', '{"text":"é","n":-1}', '{"text":"é"}', '{"text":"é ","n":1}']
    for spelling in same + others:
        payload = json.dumps(caching.brain.payload(step("s", args={"text": "SPOT"})))
        view = await caching.submit(caching.brain.sign(payload.replace('{"text": "SPOT"}', spelling).encode()))
        assert view["steps"][0]["status"] == "succeeded", view
    assert len(caching.hands.calls) == 1 + len(others)


async def test_what_is_not_cacheable_is_asked_each_time(house: House) -> None:
    await ask(house)
    await ask(house)
    assert len(house.hands.calls) == 2


@pytest.mark.parametrize(
    ("reason", "failure"),
    [(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED), (Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN)],
)
async def test_no_failure_is_kept(caching: House, reason: Reason, failure: HandFailure) -> None:
    caching.hands.behaviour["echo"] = crash(reason, failure)
    assert (await ask(caching))["status"] in {"failed", "ambiguous"}
    del caching.hands.behaviour["echo"]
    assert (await ask(caching))["status"] == "succeeded"
    assert len(caching.hands.calls) == 2


async def test_no_error_nothing_off_schema_and_nothing_too_large_is_kept(caching: House) -> None:
    answers = {
        "echo": HandResult(({"type": "text", "text": "no"},), None, is_error=True),
        "typed": HandResult((), ["no object"]),
        "small": HandResult(({"type": "text", "text": "x" * 1000},)),
    }
    for action, answer in answers.items():

        async def poison(call: HandCall, answer: HandResult = answer) -> HandResult:
            return answer

        caching.hands.behaviour[action] = poison
        assert (await ask(caching, action=action))["status"] == "failed"
        del caching.hands.behaviour[action]
        assert (await ask(caching, action=action))["status"] == "succeeded"
    assert len(caching.hands.calls) == 2 * len(answers)


async def test_an_answer_that_was_not_read_to_its_end_is_not_kept(caching: House) -> None:
    """Another decision may let more of it be read, and what was read ahead is no part of any result."""
    echo = replace(KEPT.actions["echo"], oversize=Oversize.TRUNCATE)
    caching.hands.manifests["tool"] = replace(KEPT, actions={**KEPT.actions, "echo": echo})

    async def endless(call: HandCall) -> HandResult:
        text = "x" * (call.result_max_bytes + LOOK_AHEAD_BYTES)
        return HandResult(({"type": "text", "text": text},), truncated=Truncation(None))

    caching.hands.behaviour["echo"] = endless
    caching.policy.obligations = Obligations(result_max_bytes=1000)
    assert (await ask(caching))["status"] == "succeeded"
    caching.policy.obligations = Obligations(result_max_bytes=5000)
    shown = await ask(caching)
    assert len(shown["result"]["content"][0]["text"]) > 4000
    assert len(caching.hands.calls) == 2


async def test_redaction_is_by_the_decision_of_each_step(caching: House) -> None:
    open_ = await ask(caching)
    caching.policy.obligations = Obligations(redact=("/structured/said",))
    closed = await ask(caching)
    caching.policy.obligations = Obligations(result_max_bytes=40)
    short = await ask(caching)
    caching.policy.obligations = Obligations()
    again = await ask(caching)
    assert len(caching.hands.calls) == 1
    assert closed["result"]["structured"] == {"said": "[redacted]"}
    assert (short["status"], short["error"]["code"]) == ("failed", "hand.result_too_large")
    assert again["result"] == open_["result"], "what was redacted for one step is whole for another"


async def test_a_denied_or_held_step_is_given_nothing(caching: House) -> None:
    await ask(caching)
    caching.policy.effects["echo"] = Effect.DENY
    assert "result" not in await ask(caching)
    caching.policy.effects["echo"] = Effect.ASK
    assert (await ask(caching))["status"] == "held"


async def test_another_jail_or_other_hosts_are_another_call(caching: House) -> None:
    await ask(caching)
    for duties in (Obligations(jail_profile="strict"), Obligations(egress_hosts=()), Obligations(egress_hosts=("a",))):
        caching.policy.obligations = duties
        await ask(caching)
    assert len(caching.hands.calls) == 4


async def test_a_hand_that_was_pinned_anew_is_asked_anew(caching: House) -> None:
    await ask(caching)
    caching.hands.manifests["tool"] = replace(KEPT, instructions="other")
    await ask(caching)
    assert len(caching.hands.calls) == 2


async def test_a_freeze_empties_it_also_after_it_is_lifted(caching: House) -> None:
    """What a poisoned hand said before somebody stopped it is not said again."""
    await ask(caching)
    assert caching.pipeline.cached._kept
    await caching.freezing.set(OP, FreezeOrder(Scope.HAND, "tool"))
    assert not caching.pipeline.cached._kept
    assert (await ask(caching))["error"]["code"] == "freeze.active"


async def test_a_freeze_at_one_gateway_empties_the_other(tmp_path: Path) -> None:
    one = await open_house(tmp_path)
    two = await open_house(tmp_path, gateway="gw-two", brain=one.brain, journal=tmp_path / "two")
    two.hands.manifests["tool"] = KEPT
    await ask(two)
    await one.freezing.set(OP, FreezeOrder(Scope.HAND, "tool"))
    assert (await ask(two))["error"]["code"] == "freeze.active"
    assert not two.pipeline.cached._kept
    await close_house(two)
    await close_house(one)


@pytest.mark.parametrize("kind", sorted(OUTDATING - {EntryType.FROZEN}))
async def test_what_makes_answers_worthless_empties_it_at_every_gateway(tmp_path: Path, kind: EntryType) -> None:
    one = await open_house(tmp_path)
    two = await open_house(tmp_path, gateway="gw-two", brain=one.brain, journal=tmp_path / "two")
    for house in (one, two):
        house.hands.manifests["tool"] = KEPT
        await ask(house)
        await ask(house)
        assert len(house.hands.calls) == 1
    await one.log.append(Append([EntryDraft(kind, "default")]))
    for house in (one, two):
        await ask(house)
        assert len(house.hands.calls) == 2, "a step whose intent is younger than the entry is given nothing older"
    await close_house(two)
    await close_house(one)


async def test_a_call_that_was_under_way_when_it_was_emptied_leaves_nothing(caching: House) -> None:
    async def overtaken(call: HandCall) -> HandResult:
        await caching.log.append(Append([EntryDraft(EntryType.ERASURE_REQUESTED, "default")]))
        return HandResult(({"type": "text", "text": "about somebody who is erased"},))

    caching.hands.behaviour["echo"] = overtaken
    await ask(caching)
    assert not caching.pipeline.cached._kept
    assert not caching.pipeline.cached._begun


@pytest.mark.limits
async def test_an_answer_whose_outcome_is_not_on_record_is_not_kept(caching: House) -> None:
    lock = locked(caching)

    async def lose_the_disk(call: HandCall) -> HandResult:
        lock.__enter__()
        return HandResult(({"type": "text", "text": "t"},))

    caching.hands.behaviour["echo"] = lose_the_disk
    assert (await ask(caching))["status"] == "ambiguous"
    lock.__exit__(None, None, None)
    assert not caching.pipeline.cached._kept
    assert not caching.pipeline.cached._begun


async def test_an_answer_may_be_referred_to_and_keeps_its_trust(caching: House) -> None:
    await ask(caching, "a")
    reference = {"$step": "a", "pointer": "/structured/said"}
    view = await caching.plan(step("a"), step("b", depends_on=["a"], args={"text": reference}))
    assert [one["status"] for one in view["steps"]] == ["succeeded", "succeeded"]
    told = caching.policy.inputs[-1]["steps"][0]["provenance"]["/text"][0]
    assert (told["source"], told["trust"]) == ("result", "untrusted")


class Time:
    """Seconds as a test says them."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def alone(hands: SimulatedHands, clock: Time, bytes_max: int = 100_000, entries_max: int = 1000) -> CachedResults:
    hands.manifests["tool"] = KEPT
    return CachedResults(hands, Metrics(), bytes_max=bytes_max, entries_max=entries_max, clock=clock)


def call(number: int) -> HandCall:
    args = {"text": str(number)}
    return HandCall(
        "default", AGENT.id, "c", "p", f"s{number}", "tool", "echo", args, json.dumps(args).encode(), "", KEPT.digest,
        30.0, 1000, subject=AGENT.pseudonym, prove=lambda method, url: "",
    )  # fmt: skip


async def through(cached: CachedResults, number: int, *, good: bool = True) -> HandResult:
    answer = await cached.run(call(number))
    cached.ended("p", f"s{number}", f"r{number}", good=good)
    return answer


async def test_an_answer_is_over_after_its_time_which_never_goes_back() -> None:
    hands, clock = SimulatedHands(), Time()
    cached = alone(hands, clock)
    await through(cached, 1)
    clock.now += 59.9
    assert (await through(cached, 1)).cached_from == "r1"
    clock.now += 0.1
    assert (await through(cached, 1)).cached_from is None, "being used does not make it younger"
    assert len(hands.calls) == 2


async def test_ten_thousand_questions_take_no_more_than_they_may() -> None:
    hands, clock = SimulatedHands(), Time()
    cached = alone(hands, clock, bytes_max=50 * (OVERHEAD_BYTES + 100), entries_max=1_000_000)
    for number in range(10_000):
        await through(cached, number)
        assert cached._size <= cached._bytes_max
    assert 40 <= len(cached._kept) <= 60
    assert cached._size == sum(one.size for one in cached._kept.values())
    assert (await through(cached, 9_999)).cached_from == "r9999"
    few = alone(SimulatedHands(), clock, entries_max=3)
    for number in (1, 2, 3, 1, 4):
        await through(few, number)
    assert {one.step for one in few._kept.values()} == {"r3", "r1", "r4"}, "the least used goes"


async def test_an_answer_larger_than_everything_and_a_cache_of_none_keep_nothing() -> None:
    for most in (0, OVERHEAD_BYTES):
        cached = alone(SimulatedHands(), Time(), bytes_max=most)
        await through(cached, 1)
        assert not cached._kept
        assert not cached._begun


async def test_a_reader_cannot_change_what_the_next_one_gets() -> None:
    cached = alone(SimulatedHands(), Time())
    await through(cached, 1)
    first = await through(cached, 1)
    first.structured["said"] = "poison"
    assert (await through(cached, 1)).structured == {"said": "1"}


async def test_without_a_person_or_with_another_pin_nothing_is_kept() -> None:
    hands = SimulatedHands()
    cached = alone(hands, Time())
    for odd in (replace(call(1), subject=""), replace(call(1), manifest_digest="f" * 64)):
        for _ in range(2):
            assert (await cached.run(odd)).cached_from is None
            cached.ended("p", "s1", "r1", good=True)
    assert len(hands.calls) == 4
    hands.behaviour["echo"] = crash(Reason.HAND_CRASHED, HandFailure.UNKNOWN)
    with pytest.raises(HandrailError):
        await cached.run(call(2))
    cached.ended("p", "s2", "r2", good=True)
    assert not cached._kept


async def test_two_at_once_are_two_calls() -> None:
    hands, both = SimulatedHands(), asyncio.Barrier(2)

    async def together(one: HandCall) -> HandResult:
        await both.wait()
        return HandResult(({"type": "text", "text": "t"},))

    hands.behaviour["echo"] = together
    cached = alone(hands, Time())
    other = replace(call(1), step_id="s2")
    await asyncio.gather(cached.run(call(1)), cached.run(other))
    for name in ("s1", "s2"):
        cached.ended("p", name, "r", good=True)
    assert len(hands.calls) == 2
    assert len(cached._kept) == 1
