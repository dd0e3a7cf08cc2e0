"""How hands do against their objectives: what counts against a hand, what does not, what falls out of the window."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.calls import HandCall, HandResult
from gateway.manifest import Manifest, Slo
from gateway.model import Effect
from gateway.objectives import BUCKETS, DAY_SECONDS, Counts, Outcome, Window
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters import annotate
from tests.pipeline.house import MANIFEST, House, crash, step

SLO = Slo(0.9, 60.0, 0.5, 28)


@pytest.fixture
def watched(house: House) -> House:
    house.hands.manifests["tool"] = replace(MANIFEST, slo=SLO)
    return house


def measured(house: House) -> dict[str, Any]:
    shown: dict[str, Any] = house.pipeline.objectives.view("default", "tool", SLO)["measured"]
    return shown


async def once(house: House, behaviour: Any = None, **changes: Any) -> str:
    house.hands.behaviour.clear()
    if behaviour is not None:
        house.hands.behaviour["echo"] = behaviour
    return str((await house.plan(step("s", **changes)))["steps"][0]["status"])


async def fail(call: HandCall) -> HandResult:
    return HandResult(({"type": "text", "text": "no such city"},), None, is_error=True)


async def test_nothing_is_known_of_a_hand_that_nobody_called(watched: House) -> None:
    known = measured(watched)
    assert (known["calls"], known["availability"], known["budget_left"], known["burn_rate"]) == (0, None, None, None)


async def test_answers_and_faults_count_and_the_budget_is_what_is_left_of_them(watched: House) -> None:
    for _ in range(8):
        await once(watched)
    assert await once(watched, fail) == "failed"
    assert measured(watched)["faults"] == 0, "a tool's own error is an answer"
    assert await once(watched, crash(Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN)) == "ambiguous"
    known = measured(watched)
    assert (known["calls"], known["faults"], known["late"]) == (10, 1, 0)
    assert known["availability"] == 0.9
    assert known["budget_left"] == pytest.approx(0.0)
    assert known["burn_rate"] == pytest.approx(1.0)
    assert known["within_latency"] == 1.0
    await once(watched, crash(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED))
    assert measured(watched)["budget_left"] < 0


async def test_what_the_hand_has_no_part_in_counts_nothing(watched: House) -> None:
    watched.policy.effects["echo"] = Effect.DENY
    await once(watched)
    watched.policy.effects["echo"] = Effect.ASK
    await once(watched)
    watched.policy.effects["echo"] = Effect.ALLOW
    await once(watched, args={"text": 5})
    for reason in (Reason.SCHEMA_ARGS, Reason.SECRET_MISSING, Reason.CONNECTION_NEEDED, Reason.POLICY_OBLIGATION):
        assert await once(watched, crash(reason, HandFailure.NOT_EXECUTED)) == "failed"
    assert measured(watched)["calls"] == 0


async def test_an_answer_from_before_counts_nothing(watched: House) -> None:
    echo = replace(MANIFEST.actions["echo"], cacheable=True)
    watched.hands.manifests["tool"] = replace(MANIFEST, slo=SLO, actions={"echo": echo})
    await once(watched)
    await once(watched)
    assert measured(watched)["calls"] == 1


async def test_a_late_answer_is_late_and_no_fault(house: House) -> None:
    slow = Slo(None, 1e-9, 0.5, 1)
    house.hands.manifests["tool"] = replace(MANIFEST, slo=slow)
    await once(house)
    shown = house.pipeline.objectives.view("default", "tool", slow)
    assert (shown["measured"]["late"], shown["measured"]["faults"], shown["measured"]["within_latency"]) == (1, 0, 0.0)
    assert "budget_left" not in shown["measured"], "no availability was asked for"
    calls = house.pipeline.metrics.hand_calls.labels("tool", "late")
    assert calls._value.get() == 1


async def test_another_objective_begins_anew(watched: House) -> None:
    await once(watched)
    other = replace(SLO, availability=0.5)
    assert watched.pipeline.objectives.view("default", "tool", other)["measured"]["calls"] == 0


def test_what_is_older_than_the_window_falls_out_and_memory_does_not_grow() -> None:
    window = Window(28 * DAY_SECONDS, BUCKETS)
    for hour in range(24 * 90):
        window.add(Outcome.ANSWERED, hour * 3600.0)
    assert len(window._counts) <= BUCKETS
    now = 24 * 90 * 3600.0
    assert window.total(now).calls == pytest.approx(28 * 24, abs=4)
    assert window.total(now + 29 * DAY_SECONDS) == Counts()
    window.add(Outcome.FAULT, 0.0)
    assert window.total(now).fault in {0, 1}, "a clock that went back loses no more than a part"


def test_the_objective_is_part_of_the_pin() -> None:
    plain = HandSettings(adapter="http", base_url="https://weather.example")
    with_slo = HandSettings(adapter="http", base_url="https://weather.example", slo={"availability": 0.99})
    pinned = annotate.manifest("weather", with_slo, [])
    assert pinned.digest != annotate.manifest("weather", plain, []).digest
    assert Manifest.from_document(pinned.document()).slo == Slo(0.99, None, None, 28)


@pytest.mark.parametrize(
    "said",
    [{}, {"availability": 1}, {"availability": 0}, {"latency_seconds": 0}, {"availability": 0.9, "window_days": 91},
     {"availability": 0.9, "latency_quantile": 0.9}],
)  # fmt: skip
def test_an_objective_that_nobody_can_meet_or_miss_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HandSettings(adapter="http", base_url="https://weather.example", slo=said)
