"""Whoever sets the clock back makes nothing last longer."""

import pytest

from gateway.forward_clock import ForwardClock


class Clocks:
    def __init__(self) -> None:
        self.wall = 1_000.0
        self.real = 50.0

    def clock(self) -> ForwardClock:
        return ForwardClock(lambda: self.wall, lambda: self.real)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_it_tells_the_time(clocks: Clocks) -> None:
    now = clocks.clock()
    clocks.wall, clocks.real = 1_007.0, 57.0
    assert now() == 1_007.0


def test_a_clock_set_back_does_not_take_the_time_back(clocks: Clocks) -> None:
    now = clocks.clock()
    clocks.wall, clocks.real = 1_100.0, 150.0
    assert now() == 1_100.0
    clocks.wall, clocks.real = 10.0, 160.0
    assert now() == 1_110.0, "ten seconds really passed"
    clocks.real = 170.0
    assert now() == 1_120.0


def test_a_clock_that_is_held_does_not_hold_the_time(clocks: Clocks) -> None:
    now = clocks.clock()
    clocks.real = 3_650.0
    assert now() == 4_600.0


def test_a_restart_after_the_clock_was_set_back_finds_the_time_in_the_log(clocks: Clocks) -> None:
    clocks.wall = 10.0
    now = clocks.clock()
    assert now() == 10.0
    now.at_least(1_200.0)
    assert now() == 1_200.0
    clocks.real += 5
    assert now() == 1_205.0
    now.at_least(300.0)
    assert now() == 1_205.0
