"""Where the time of a run goes: ``pytest --times`` sums it by directory, and by fixture for what it took to set up."""

import time
from collections import defaultdict
from collections.abc import Generator
from heapq import nlargest
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any, Final

import pytest

_PROPERTY: Final = "fixture seconds"
_SHOWN: Final = 40
_PHASES: Final = ("setup", "call", "teardown")

_set_up: Final[defaultdict[str, float]] = defaultdict(float)
"""Of the test that is being set up, each fixture without those that it asked for."""
_within: Final[list[float]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--times", action="store_true", help="Sum the run's seconds by directory and by fixture.")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--times"):
        config.pluginmanager.register(_Fixtures())
        if not hasattr(config, "workerinput"):
            config.pluginmanager.register(_Sums())


class _Fixtures:
    """In the process that runs the tests: fixtures are noted in the report of the test that they were set up for."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        began = time.perf_counter()
        _within.append(0.0)
        try:
            return (yield)
        finally:
            whole = time.perf_counter() - began
            _set_up[f"{fixturedef.baseid}::{fixturedef.argname}"] += whole - _within.pop()
            if _within:
                _within[-1] += whole

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        _set_up.clear()
        try:
            return (yield)
        finally:
            item.user_properties.append((_PROPERTY, dict(_set_up)))


class _Sums:
    """In the process that hears of every test."""

    def __init__(self) -> None:
        self._directories: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._fixtures: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        directory = self._directories[str(PurePosixPath(report.nodeid.partition("::")[0]).parent)]
        directory[report.when or "call"] += report.duration
        if report.when == "setup":
            directory["tests"] += 1
            for fixtures in (value for name, value in report.user_properties if name == _PROPERTY):
                for fixture, seconds in dict[str, float](fixtures).items():
                    self._fixtures[fixture] += seconds

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        write = terminalreporter.write_line
        write("seconds  setup   call  teardown  tests  directory")
        for name, sums in sorted(self._directories.items(), key=lambda one: -sum(one[1][it] for it in _PHASES)):
            setup, call, teardown = (sums[phase] for phase in _PHASES)
            write(f"{setup + call + teardown:7.1f}{setup:7.1f}{call:7.1f}{teardown:10.1f}{sums['tests']:7.0f}  {name}")
        write("seconds  fixture, without those that it asks for")
        for name, seconds in nlargest(_SHOWN, self._fixtures.items(), key=itemgetter(1)):
            write(f"{seconds:7.1f}  {name}")
