"""A hand's machine sleeps, is paused or has its clock set: a step that the gateway gave up meanwhile is not begun."""

import time
from collections.abc import Iterator

import pytest
from handrail.deadline import Deadline, Start


class Clocks:
    """What the machine's clocks say."""

    def __init__(self) -> None:
        self.monotonic, self.boot, self.day = 1_000.0, 5_000.0, 1_700_000_000.0

    def pass_time(self, seconds: float) -> None:
        self.monotonic += seconds
        self.boot += seconds
        self.day += seconds


@pytest.fixture
def clocks() -> Iterator[Clocks]:
    said = Clocks()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: said.monotonic)
        patch.setattr(time, "clock_gettime", lambda _: said.boot)
        patch.setattr(time, "time", lambda: said.day)
        yield said


@pytest.fixture
def deadline(clocks: Clocks) -> Deadline:
    made = Deadline(Start(), 60)
    clocks.pass_time(59)
    assert not made.is_over()
    return made


def test_its_time_ends(clocks: Clocks, deadline: Deadline) -> None:
    clocks.pass_time(1)
    assert deadline.is_over()


def test_it_ends_while_the_machine_sleeps(clocks: Clocks, deadline: Deadline) -> None:
    """The monotonic clock stands still in that."""
    clocks.boot += 3_600
    assert deadline.is_over()


def test_it_ends_while_the_machine_is_paused_from_outside(clocks: Clocks, deadline: Deadline) -> None:
    """All its own clocks stand still; the time of day is set when it goes on."""
    clocks.day += 3_600
    assert deadline.is_over()


def test_a_clock_that_is_set_back_wins_no_time(clocks: Clocks, deadline: Deadline) -> None:
    clocks.day -= 86_400
    clocks.pass_time(1)
    assert deadline.is_over()


def test_two_deadlines_of_one_answer_count_from_its_request(clocks: Clocks) -> None:
    asked = Start()
    clocks.pass_time(30)
    assert not Deadline(asked, 60).is_over()
    assert Deadline(asked, 30).is_over()
    assert Deadline(Start(), 0).is_over(), "a time of nothing is over at once"
