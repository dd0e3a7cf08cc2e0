"""A burst, then the steady rate, for each key alone; and a hand's pace for principals, tenants and all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import HandResult
from gateway.ports import HandFailure
from gateway.rates import KEYS_MAX, Rates
from gateway.reasons import Reason
from gateway.settings import ResilienceSettings
from hand_adapters.contract import HandError
from hand_adapters.resilience.pace import Pace
from tests.resilience.world import LATER, World, told


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("per_second", [0.003, 1, 7, 499.5])
def test_a_burst_and_then_the_rate(per_second: float) -> None:
    clock = Clock()
    rates: Rates[str] = Rates(per_second, 20, clock)
    assert [rates.take("a") for _ in range(20)] == [0.0] * 20
    wait = rates.take("a")
    assert wait == pytest.approx(1 / per_second)
    assert rates.left("a") == pytest.approx(wait), "looking counts nothing, and neither does a refusal"
    assert rates.take("b") == 0.0
    clock.now += wait * 1.001
    assert (rates.left("a"), rates.take("a")) == (0.0, 0.0)
    assert rates.take("a") > 0.0


@given(st.lists(st.floats(0, 3, allow_nan=False), max_size=200), st.integers(1, 30), st.floats(0.1, 50))
def test_never_more_than_the_burst_and_the_rate_together(pauses: list[float], burst: int, per_second: float) -> None:
    clock = Clock()
    rates: Rates[None] = Rates(per_second, burst, clock)
    began, taken = clock.now, 0
    for pause in pauses:
        clock.now += pause
        while rates.take(None) == 0.0:
            taken += 1
            assert taken <= burst + (clock.now - began) * per_second + 1e-3


def test_keys_are_not_remembered_for_ever() -> None:
    rates: Rates[int] = Rates(1, 1, Clock())
    for number in range(KEYS_MAX + 10):
        rates.take(number)
    assert len(rates) == KEYS_MAX


def test_no_principal_and_no_tenant_takes_all_of_a_hands_pace() -> None:
    pace = Pace(1.0, 20, 0.5, 0.75, Clock())
    assert sum(pace.take(("acme", "ana")) == 0.0 for _ in range(50)) == 10
    assert sum(pace.take(("acme", "ben")) == 0.0 for _ in range(50)) == 5
    assert sum(pace.take(("globex", "cy")) == 0.0 for _ in range(50)) == 5
    assert pace.take(("third", "dan")) > 0.0


def test_whoever_is_refused_spent_nothing() -> None:
    clock = Clock()
    pace = Pace(1.0, 10, 0.5, 1.0, clock)
    for _ in range(100):
        pace.take(("acme", "ana"))
    assert sum(pace.take(("acme", "ben")) == 0.0 for _ in range(50)) == 5


async def test_beyond_the_pace_of_a_hand_nothing_is_sent() -> None:
    world = World(ResilienceSettings(calls_per_second=0.5, calls_burst=4, principal_share=0.5))
    for _ in range(2):
        assert isinstance(await world.run(), HandResult)
    refused = await world.run()
    assert told(refused) == (Reason.HAND_BUSY, HandFailure.NOT_EXECUTED)
    assert isinstance(refused, HandError)
    assert refused.facts["retry_after_seconds"] == 4
    assert len(world.sent) == 2
    assert world.seen[-1] == ("withheld", Reason.HAND_BUSY)
    assert world.guard.bulkhead.running == 0
    assert isinstance(await world.run(principal="ben"), HandResult), "the rest is for others"
    world.now += 4
    assert isinstance(await world.run(), HandResult)


async def test_a_retry_is_an_attempt_too() -> None:
    """Where it may not be made the call ends as the one before it ended."""
    world = World(ResilienceSettings(calls_per_second=0.001, calls_burst=1, principal_share=1))
    assert await world.run(LATER) == LATER
    assert len(world.sent) == 1
