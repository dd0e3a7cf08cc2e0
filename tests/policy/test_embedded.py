"""The evaluator processes: whatever a policy does to them, the plan is denied and the next one is decided."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.model import Effect
from gateway.policy.bundle import Bundle, Module
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.faults import BundleError, EngineUnavailable, EvaluationFailed
from gateway.policy.pool import EvaluatorPool
from gateway.policy.process import EvaluatorProcess
from gateway.policy.request import LARGE_BYTES, allowed_seconds
from gateway.reasons import Reason
from tests.policy.support import OPEN, ask, embedded, inspected, record, said, step, write
from tests.until import until

TRICKS = """package handrail

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

decisions contains {"step": step.id, "effect": "allow"} if {
	some step in input.steps
	step.hand == "number"
	to_number(step.action) == 1
}

decisions contains {"step": step.id, "effect": "allow"} if {
	some step in input.steps
	step.hand == "big"
	count([a | some a in numbers.range(1, 100000000)]) > 0
}

decisions contains "<undefined>" if {
	some step in input.steps
	step.hand == "odd"
}
"""
PANIC = """package handrail

decisions contains {"step": step.id, "effect": "allow"} if {
	some step in input.steps
	step.hand == "known"
}

decisions contains {"step": step.id, "effect": "allow"} if {
	some step in input.steps
	strings.count(step.hand, step.action) == 1
	step.hand == "panic"
}
"""


async def only(engine: EmbeddedEngine, *steps: dict[str, Any]) -> tuple[str, list[str]]:
    decisions = await engine.decide(ask(*steps))
    (decision,) = decisions.values()
    return said(decision)


@pytest.fixture
async def tricky(tmp_path: Path) -> Any:
    write(tmp_path, {"a.rego": TRICKS})
    engine = await embedded(tmp_path, deadline_seconds=0.25)
    yield engine
    await engine.close()


async def test_a_known_step_is_decided(tricky: EmbeddedEngine) -> None:
    assert await only(tricky, step()) == ("allow", [])
    assert await only(tricky, step(hand="nowhere")) == ("deny", ["policy.undecided"])


@pytest.mark.limits
async def test_a_slow_policy_is_killed_and_denied_and_the_next_plan_decided(tricky: EmbeddedEngine) -> None:
    assert await only(tricky, step(hand="slow")) == ("deny", ["policy.timeout"])
    assert await only(tricky, step()) == ("allow", [])


@pytest.mark.limits
async def test_a_flood_of_slow_policies_does_not_starve_others(tricky: EmbeddedEngine) -> None:
    slow = [only(tricky, step(hand="slow")) for _ in range(3)]
    outcomes = await asyncio.gather(*slow, only(tricky, step()))
    assert outcomes == [*[("deny", ["policy.timeout"])] * 3, ("allow", [])]


async def test_a_failing_builtin_denies_the_whole_plan(tricky: EmbeddedEngine) -> None:
    decisions = await tricky.decide(ask(step("a"), step("b", hand="number", action="x")))
    assert {name: said(one) for name, one in decisions.items()} == {
        "a": ("deny", ["policy.error"]),
        "b": ("deny", ["policy.error"]),
    }
    assert await only(tricky, step(hand="number", action="1")) == ("allow", [])


async def test_an_engine_message_with_values_of_the_input_is_not_logged(tricky: EmbeddedEngine) -> None:
    with capture_logs() as logs:
        await only(tricky, step(hand="number", action="secret-value"))
    assert "a.rego" in str(logs)
    assert "secret-value" not in str(logs)


async def test_an_answer_that_looks_like_undefined_is_ill_shaped(tricky: EmbeddedEngine) -> None:
    assert await only(tricky, step(hand="odd")) == ("deny", ["policy.error"])


async def test_memory_without_end_denies(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": TRICKS})
    engine = await embedded(tmp_path, deadline_seconds=30.0)
    try:
        assert await only(engine, step(hand="big")) == ("deny", ["policy.error"])
        assert await only(engine, step()) == ("allow", [])
    finally:
        await engine.close()


@pytest.mark.parametrize("text", ['"<undefined>"', "true", '{"s1": "allow"}', "[1]"])
async def test_an_ill_shaped_answer_denies(tmp_path: Path, text: str) -> None:
    pool = EvaluatorPool(
        Bundle((Module("a.rego", f"package handrail\n\ndecisions := {text}\n"),), b"{}", (), "d"),
        workers=1,
        deadline_seconds=2.0,
    )
    await pool.start()
    try:
        assert await pool.evaluate(b'{"steps": []}') == json.loads(text)
    finally:
        await pool.close()


async def test_undefined_decisions_are_told_from_the_text(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": 'package handrail\n\ndecisions := "<undefined>" if input.text\n'})
    pool = EvaluatorPool(
        Bundle((Module("a.rego", (tmp_path / "a.rego").read_text()),), b"{}", (), "d"), workers=1, deadline_seconds=2.0
    )
    await pool.start()
    try:
        assert await pool.evaluate(b"{}") is None
        assert await pool.evaluate(b'{"text": true}') == "<undefined>"
    finally:
        await pool.close()


async def test_a_panic_of_the_engine_denies_and_replaces_the_process() -> None:
    """The check refuses the builtin that panics, so this bundle goes around it."""
    pool = EvaluatorPool(Bundle((Module("a.rego", PANIC),), b"{}", (), "d"), workers=1, deadline_seconds=2.0)
    await pool.start()
    try:
        before = {process.pid for process in pool.processes}
        with pytest.raises(EvaluationFailed) as caught:
            await pool.evaluate(json.dumps(ask(step(hand="panic", action=""))).encode())
        assert caught.value.reason is Reason.POLICY_ERROR
        answer = await pool.evaluate(json.dumps(ask(step(action="k"))).encode())
        assert answer == [{"step": "s1", "effect": "allow"}]
        assert {process.pid for process in pool.processes} != before
    finally:
        await pool.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_a_process_killed_while_it_works_denies_and_recovers(tmp_path: Path, number: signal.Signals) -> None:
    write(tmp_path, {"a.rego": TRICKS})
    engine = await embedded(tmp_path, deadline_seconds=20.0)
    try:
        working = asyncio.create_task(only(engine, step(hand="slow")))
        await until(lambda: engine.pool.busy)
        (busy,) = engine.pool.busy
        os.kill(busy.pid, number)
        if number is signal.SIGTERM:  # regorus holds the interpreter, so a polite signal has to wait; the pool does not
            os.kill(busy.pid, signal.SIGKILL)
        assert await working == ("deny", ["policy.error"])
        assert await only(engine, step()) == ("allow", [])
        await engine.ready()
    finally:
        await engine.close()


async def test_a_process_killed_while_idle_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": TRICKS})
    engine = await embedded(tmp_path)
    try:
        for process in engine.pool.processes:
            os.kill(process.pid, signal.SIGKILL)
        outcomes = [await only(engine, step()) for _ in range(4)]
        assert outcomes[-1] == ("allow", [])
        assert {effect for effect, _ in outcomes} <= {"allow", "deny"}
    finally:
        await engine.close()


async def test_a_caller_that_gives_up_does_not_leave_its_answer_to_the_next(tricky: EmbeddedEngine) -> None:
    asking = asyncio.create_task(only(tricky, step("mine", hand="slow")))
    await until(lambda: tricky.pool.busy)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await only(tricky, step("yours", hand="nowhere")) == ("deny", ["policy.undecided"])


@pytest.mark.parametrize(
    "policy_input",
    [
        ask(step(text="x" * 2000)),
        ask(*[step(f"s{number}") for number in range(1001)]),
        ask(step("same"), step("same")),
        ask(step(deep=json.loads("[" * 120 + "]" * 120))),
        ask(step(odd=object())),
        {**ask(step()), "more": {1, "a"}.__class__},
    ],
    ids=["bytes", "steps", "twice", "depth", "no-json", "class"],
)
async def test_an_input_out_of_bounds_is_denied_unseen(tmp_path: Path, policy_input: dict[str, Any]) -> None:
    write(tmp_path, {"a.rego": TRICKS})
    engine = await embedded(tmp_path, input_max_bytes=500_000 if len(policy_input["steps"]) > 1 else 2000)
    try:
        decisions = await engine.decide(policy_input)
        assert decisions
        assert {tuple(said(decision)[1]) for decision in decisions.values()} == {("policy.input",)}
        assert {decision.effect for decision in decisions.values()} == {Effect.DENY}
    finally:
        await engine.close()


@pytest.mark.parametrize(("size", "factor"), [(0, 1), (LARGE_BYTES - 1, 1), (LARGE_BYTES, 2), (4 * LARGE_BYTES, 5)])
def test_an_evaluation_may_take_as_long_as_its_input_is_large(size: int, factor: int) -> None:
    assert allowed_seconds(0.25, size) == 0.25 * factor


async def test_before_a_bundle_and_after_the_end_everything_is_denied(tmp_path: Path) -> None:
    engine = EmbeddedEngine(workers=1, deadline_seconds=1.0, input_max_bytes=10_000)
    assert await only(engine, step()) == ("deny", ["policy.unavailable"])
    with pytest.raises(EngineUnavailable):
        await engine.ready()
    write(tmp_path, {"a.rego": TRICKS})
    engine = await embedded(tmp_path)
    await engine.close()
    assert await only(engine, step()) == ("deny", ["policy.unavailable"])


async def test_the_processes_have_nothing_of_our_environment_and_no_other_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_SECRET", "do-not-inherit")
    process = await EvaluatorProcess.start()
    try:
        await process.ask(b"S[]", 10.0)
        seen = Path(f"/proc/{process.pid}")
        assert (seen / "environ").read_bytes() == b"MIMALLOC_ARENA_RESERVE=65536\0"
        names = {link.name: str(link.readlink()) for link in (seen / "fd").iterdir()}
        assert {name for name, target in names.items() if target != "/dev/null"} == {"0"}
    finally:
        await process.stop()


async def test_a_policy_that_lets_the_known_bad_through_is_refused(tmp_path: Path) -> None:
    open_to_all = OPEN.replace('"deny")', '"allow")').replace("EFFECT", "allow")
    for text in (open_to_all, open_to_all.replace('"allow")', '"ask")')):
        write(tmp_path, {"a.rego": text})
        with pytest.raises(BundleError, match="self-test"):
            await embedded(tmp_path)


async def test_a_policy_that_cannot_be_evaluated_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": 'package handrail\n\ndecisions contains to_number("x")\n'})
    with pytest.raises(BundleError, match="cannot be evaluated"):
        await embedded(tmp_path)


async def test_evaluations_under_way_end_on_the_bundle_they_began_with(tmp_path: Path) -> None:
    write(tmp_path / "old", {"a.rego": TRICKS.replace("5000", "700")})
    write(tmp_path / "new", {"a.rego": OPEN.replace("EFFECT", "ask")})
    engine = await embedded(tmp_path / "old", deadline_seconds=20.0)
    try:
        before = engine.digest
        under_way = asyncio.create_task(engine.decide(ask(step("known"), step("slow", hand="slow"))))
        await until(lambda: engine.pool.busy)
        await engine.activate(await inspected(tmp_path / "new"), record)
        decided = await under_way
        assert said(decided["known"]) == ("allow", [])
        assert decided["known"].policy_digest == before
        after = await engine.decide(ask(step()))
        assert said(after["s1"]) == ("ask", [])
        assert after["s1"].policy_digest == engine.digest != before
    finally:
        await engine.close()
