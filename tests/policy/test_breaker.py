"""The circuit breaker: when it lets nobody ask, when it lets one, and that it always lets somebody ask in the end."""

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.breaker import Breaker, Circuit


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(threshold=3, pause_seconds=1.0, pause_max_seconds=4.0)
    for _ in range(3):
        assert breaker.admit(now)
        breaker.failed(now)
    return breaker


def test_failures_in_a_row_open_it_and_one_answer_between_them_does_not() -> None:
    breaker = Breaker(threshold=3)
    for _ in range(2):
        breaker.failed(0.0)
    breaker.succeeded()
    for _ in range(2):
        breaker.failed(0.0)
    assert breaker.state(0.0) is Circuit.CLOSED
    breaker.failed(0.0)
    assert breaker.state(0.0) is Circuit.OPEN
    assert not breaker.admit(0.0)


def test_after_the_pause_one_may_ask_and_a_crowd_may_not() -> None:
    breaker = opened()
    assert breaker.state(1.0) is Circuit.HALF_OPEN
    assert [breaker.admit(1.0) for _ in range(50)] == [True] + [False] * 49
    breaker.succeeded()
    assert breaker.state(1.0) is Circuit.CLOSED
    assert all(breaker.admit(1.0) for _ in range(50))


def test_each_probe_that_fails_doubles_the_pause_up_to_a_limit() -> None:
    breaker, now = opened(), 0.0
    for pause in (1.0, 2.0, 4.0, 4.0):
        assert not breaker.admit(now + pause * 0.99)
        now += pause
        assert breaker.admit(now)
        breaker.failed(now)
    breaker.forsaken()
    assert breaker.admit(now + 4.0)
    breaker.succeeded()
    assert opened(now).state(now + 1.0) is Circuit.HALF_OPEN


def test_late_failures_of_those_who_asked_before_it_opened_keep_it_open_no_longer() -> None:
    breaker = opened()
    for _ in range(100):
        breaker.failed(0.9)
    assert breaker.admit(1.0)


def test_a_probe_that_was_cancelled_leaves_the_way_to_the_next() -> None:
    breaker = opened()
    assert breaker.admit(1.0)
    breaker.forsaken()
    assert breaker.admit(1.0)


@given(st.lists(st.sampled_from(["ask", "answer", "fail", "forsake", "wait"]), max_size=200))
def test_whatever_happens_somebody_may_ask_in_the_end(events: list[str]) -> None:
    breaker, now, asked = Breaker(), 0.0, 0
    for event in events:
        if event == "wait":
            now += 0.3
        elif event == "ask":
            asked += breaker.admit(now)
        elif asked:
            asked -= 1
            report = {"answer": breaker.succeeded, "fail": partial(breaker.failed, now), "forsake": breaker.forsaken}
            report[event]()
    while asked:
        asked -= 1
        breaker.forsaken()
    assert breaker.admit(now + 60.0)
