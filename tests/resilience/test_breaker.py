"""The circuit breaker's rules: what opens it, what closes it, and that nobody opens it for others alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_adapters.resilience import breaker
from hand_adapters.resilience.breaker import Breaker, Circuit, Circuits, Rules

RULES = Rules(failures=4, window_seconds=30.0, open_seconds=10.0, probes=1)


def fail(one: Breaker, now: float, who: str = "ana", times: int = 1) -> None:
    for _ in range(times):
        one.end(one.begin(now, who), now, failed=True)


@pytest.mark.parametrize("shared", [False, True])
def test_failures_in_a_row_open_it_and_one_success_between_does_not(shared: bool) -> None:
    one = Breaker(RULES, shared=shared)
    for who in ("ana", "ben", "ana"):
        fail(one, 0.0, who)
    one.end(one.begin(0.0, "cy"), 0.0, failed=False)
    for who in ("ana", "ben", "ana"):
        fail(one, 1.0, who)
    assert one.state(1.0) is Circuit.CLOSED
    fail(one, 1.0, "ben")
    assert one.state(1.0) is Circuit.OPEN
    assert one.refuses(2.0, "ana") == 9.0


def test_failures_that_lie_far_apart_do_not_open_it() -> None:
    one = Breaker(RULES, shared=False)
    for number in range(20):
        fail(one, number * 11.0)
    assert one.state(220.0) is Circuit.CLOSED


def test_no_failures_at_all_never_open_one_that_is_switched_off() -> None:
    for shared in (False, True):
        one = Breaker(Rules(0, 30.0, 10.0, 1), shared=shared)
        fail(one, 0.0, times=1000)
        assert one.refuses(0.0, "ana") is None


def test_one_principal_alone_never_opens_a_shared_one() -> None:
    """Arguments that make a hand crash are easily found. They close it to nobody else."""
    one = Breaker(RULES, shared=True)
    fail(one, 0.0, "mallory", times=1000)
    fail(one, 0.0, "ana")
    assert one.state(0.0) is Circuit.CLOSED
    fail(one, 0.0, "ana")
    assert one.state(0.0) is Circuit.OPEN


def test_half_open_lets_so_many_probes_through_and_closes_when_all_succeeded() -> None:
    one = Breaker(Rules(1, 30.0, 10.0, probes=2), shared=False)
    fail(one, 0.0)
    assert one.refuses(9.9, "ana") == pytest.approx(0.1)
    assert one.refuses(10.0, "ana") is None
    first, second = one.begin(10.0, "ana"), one.begin(10.0, "ana")
    assert one.state(10.0) is Circuit.HALF_OPEN
    assert one.refuses(10.0, "ana") == 1.0
    one.end(first, 10.0, failed=False)
    assert one.refuses(10.0, "ana") == 1.0
    one.end(second, 10.0, failed=False)
    assert one.state(10.0) is Circuit.CLOSED


def test_a_probe_that_fails_opens_it_anew_and_one_that_says_nothing_makes_room_for_another() -> None:
    one = Breaker(Rules(1, 30.0, 10.0, 1), shared=False)
    fail(one, 0.0)
    one.end(one.begin(10.0, "ana"), 10.0, failed=None)
    assert one.refuses(10.0, "ana") is None
    one.end(one.begin(10.0, "ana"), 10.0, failed=True)
    assert one.refuses(10.0, "ana") == 10.0


def opened_by_several() -> Breaker:
    one = Breaker(RULES, shared=True)
    for who in ("ana", "ben"):
        fail(one, 0.0, who, times=2)
    assert one.state(0.0) is Circuit.OPEN
    return one


def test_one_principal_whose_probes_fail_keeps_a_shared_one_open_for_nobody_else() -> None:
    """Whoever comes first after each time that it is open is let through first: who asks without pause, always."""
    one = opened_by_several()
    fail(one, 10.0, "mallory")
    assert one.refuses(19.0, "ana") == 1.0
    for now in (20.0, 20.1, 20.2):
        assert one.refuses(now, "mallory") is None
        fail(one, now, "mallory")
        assert one.refuses(now, "ana") is None
    fail(one, 21.0, "ana")
    assert one.refuses(21.0, "mallory") == one.refuses(21.0, "ben") == 10.0
    one.end(one.begin(31.0, "ben"), 31.0, failed=False)
    assert one.state(31.0) is Circuit.CLOSED


def test_one_principal_with_slow_probes_keeps_nobody_else_waiting_for_long() -> None:
    """A call may take an hour, and only one is let through."""
    one = opened_by_several()
    slow = one.begin(10.0, "mallory")
    assert one.refuses(10.0, "mallory") == one.refuses(19.9, "ana") == 1.0
    assert one.refuses(20.0, "ana") is None
    assert one.refuses(20.0, "mallory") == 1.0
    one.end(slow, 20.0, failed=None)
    again = one.begin(20.0, "mallory")
    assert one.refuses(20.0, "ana") is None
    one.end(one.begin(20.0, "ana"), 20.0, failed=False)
    assert one.state(20.0) is Circuit.CLOSED
    one.end(again, 3600.0, failed=True)
    assert one.state(3600.0) is Circuit.CLOSED


def test_a_call_from_before_the_circuit_opened_neither_closes_nor_prolongs_it() -> None:
    one = Breaker(Rules(1, 30.0, 10.0, 1), shared=False)
    late, later = one.begin(0.0, "ana"), one.begin(0.0, "ana")
    fail(one, 0.0)
    one.end(late, 5.0, failed=False)
    one.end(later, 5.0, failed=True)
    assert one.refuses(5.0, "ana") == 5.0


def test_a_clock_that_goes_back_does_not_keep_it_open_longer() -> None:
    one = Breaker(Rules(1, 30.0, 10.0, 1), shared=False)
    fail(one, 1_000_000.0)
    assert one.refuses(0.0, "ana") == 10.0
    assert one.refuses(10.0, "ana") is None


def test_failures_of_a_time_to_come_do_not_count() -> None:
    one = Breaker(RULES, shared=False)
    fail(one, 1_000_000.0, times=3)
    fail(one, 0.0)
    assert one.state(0.0) is Circuit.CLOSED


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "good", "bad", "neither"]),
            st.sampled_from(["ana", "ben", "cy"]),
            st.integers(-5, 15),
        ),
        max_size=80,
    ),
    st.booleans(),
)
def test_whatever_happens_it_waits_no_longer_than_it_says_and_comes_back(
    history: list[tuple[str, str, int]], shared: bool
) -> None:
    """Also where the clock goes back and calls end in any order: no state of it is one that nothing leads out of."""
    one = Breaker(RULES, shared=shared)
    now, running = 0.0, []
    for what, who, step in history:
        now += step
        if what == "begin":
            if one.refuses(now, who) is None:
                running.append(one.begin(now, who))
        elif running:
            one.end(running.pop(0), now, failed={"good": False, "bad": True, "neither": None}[what])
        left = one.refuses(now, who)
        assert left is None or 0 < left <= RULES.open_seconds
    for begun in running:
        one.end(begun, now, failed=None)
    now += RULES.open_seconds
    assert one.refuses(now, "ana") is None
    one.end(one.begin(now, "ana"), now, failed=False)
    assert one.state(now) is Circuit.CLOSED


def test_what_one_principal_brings_about_stays_with_it_and_tenants_are_apart() -> None:
    changes: list[tuple[str, Circuit]] = []
    circuits = Circuits(RULES, lambda tenant, circuit: changes.append((tenant, circuit)))

    def failing(tenant: str, who: str, times: int) -> None:
        for _ in range(times):
            circuits.end(circuits.begin((tenant, who), 0.0), 0.0, failed=True)

    failing("acme", "mallory", 4)
    assert circuits.refuses(("acme", "mallory"), 0.0) == 10.0
    assert circuits.refuses(("acme", "ana"), 0.0) is None
    assert circuits.unclosed(0.0) == {"tenant": 0, "principal": 1}
    failing("acme", "ana", 2)
    assert circuits.refuses(("acme", "ben"), 0.0) == 10.0
    assert circuits.refuses(("globex", "ana"), 0.0) is None
    assert (circuits.state("acme", 0.0), circuits.state("globex", 0.0)) == (Circuit.OPEN, Circuit.CLOSED)
    circuits.end(circuits.begin(("acme", "ben"), 10.0), 10.0, failed=False)
    assert changes == [("acme", Circuit.OPEN), ("acme", Circuit.CLOSED)]


def test_no_more_principals_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PRINCIPALS_MAX", 10)
    circuits = Circuits(RULES, lambda tenant, circuit: None)
    for number in range(1000):
        circuits.end(circuits.begin(("acme", f"p-{number}"), 0.0), 0.0, failed=False)
    assert len(circuits._own) == 10
