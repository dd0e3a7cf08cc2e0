"""A call has one deadline, whatever the server behind it does; calls that nobody waits for are few."""

import threading

import pytest

from gateway.bounded import Bounded


def test_what_is_done_in_time_comes_back_as_it_is() -> None:
    bounded = Bounded(calls_max=1)
    assert [bounded.call(lambda: "done", 30) for _ in range(3)] == ["done"] * 3
    with pytest.raises(KeyError, match="gone"):
        bounded.call(lambda: {}["gone"], 30)
    assert bounded.call(lambda: 1, 30) == 1, "a failed call is over too"


def test_a_call_without_end_costs_its_caller_the_deadline_and_the_next_ones_no_more_than_so_many_threads() -> None:
    bounded, end, begun = Bounded(calls_max=2), threading.Event(), []

    def hang() -> None:
        begun.append(1)
        end.wait(30)

    try:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                bounded.call(hang, 0.05)
        assert len(begun) == 2
    finally:
        end.set()
    assert bounded.call(lambda: "again", 30) == "again", "once they ended"
