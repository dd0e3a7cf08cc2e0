"""A plugin of pytest: secrets that the code under test makes are marked from the first test on, and when the last one
is over, everything that the run wrote is searched for them. A secret outside of its home fails the run.

Searched are the run's directory (of each worker), every temporary directory that was made beside it, and what the tests
printed and logged. What a test removes or replaces is searched before it is gone, so it does not matter what anybody
keeps, pytest itself among them. Not seen is what a child process or SQLite removes before the end.
"""

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.planted import marks
from tests.planted.search import Search

_CHILD: Final = str(Path(__file__).resolve().parent / "child")
_SEARCHED: Final = "handrail_searched"
search: Final = Search()
_places: Final[set[str]] = set()
"""Directories that this run made."""
_searched_by_workers: Final[set[str]] = set()


@pytest.fixture(scope="session", autouse=True)
def _planted(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[None]:
    base = tmp_path_factory.getbasetemp()
    _places.add(str(base))
    marks.install()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_CHILD, os.environ.get("PYTHONPATH"))))
    sys.addaudithook(_before_it_is_gone)
    yield
    for place in sorted(_places):
        search.what_stayed(Path(place))
    _places.clear()
    if hasattr(request.config, "workeroutput"):
        request.config.workeroutput[_SEARCHED] = str(base)
    assert search.files, "nothing was searched"
    assert search.hits == [], said(search)


def said(search: Search) -> str:
    """What was found, for whoever reads the end of a run."""
    return "\n".join(["secrets outside of their homes:", *map(str, search.hits)])


def _before_it_is_gone(event: str, arguments: tuple[Any, ...]) -> None:
    """See what is about to be removed or replaced. An audit hook: it sees every way in which Python does that."""
    if event == "tempfile.mkdtemp":
        _places.add(os.path.realpath(arguments[0]))
    elif event in {"os.remove", "shutil.rmtree", "os.rename"} and _places:
        path = arguments[1] if event == "os.rename" else arguments[0]
        descriptors = arguments[2:] if event == "os.rename" else arguments[1:]
        if isinstance(path, str | bytes | os.PathLike) and all(one in {-1, None} for one in descriptors):
            gone = Path(os.path.realpath(os.fsdecode(path)))
            if any(str(gone).startswith(f"{place}/") or str(gone) == place for place in tuple(_places)):
                with suppress(OSError):
                    search.tree(gone) if event == "shutil.rmtree" else search.file(gone)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail the test that printed or logged a secret."""
    report = yield
    printed = Search()
    for title, text in report.sections:
        if title.endswith(f" {report.when}"):
            printed.content(f"{item.nodeid}: {title}", text.encode("utf-8", "surrogateescape"))
    if printed.hits:
        report.outcome = "failed"
        report.longrepr = said(printed)
    return report


# --- the process that the workers belong to ---------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Remember what a worker has searched."""
    _searched_by_workers.add(getattr(node, "workeroutput", {}).get(_SEARCHED, ""))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search what no worker has: of one that died, and what lies beside them."""
    if not session.config.pluginmanager.hasplugin("dsession"):
        return
    base = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    for path in base.iterdir():
        if str(path) not in _searched_by_workers:
            search.tree(path) if path.is_dir() else search.file(path)
    if search.hits:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was found where no worker could say it."""
    if config.pluginmanager.hasplugin("dsession") and search.hits:
        terminalreporter.section("canaries", red=True)
        terminalreporter.line(said(search))
