"""What every test has: an environment without Handrail's variables, and no network but loopback (pyproject.toml)."""

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import structlog

from tests import services

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools" / "bin"

pytest_plugins = [
    f"tests.{name}"
    for name in (
        "planted.plugin", "lean", "patience", "unsynchronised", "timing", "migrated", "inspected", "postgres",
        "mariadb", "opa", "landlock_built", "chromium", "canaries", "answers", "anthropic_api.plugin",
    )
]  # fmt: skip


# Without this, structlog draws a traceback with every local variable: of a gateway that is a minute's work.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.dev.ConsoleRenderer(colors=False),
    ]
)


def _strip() -> dict[str, str]:
    """Remove and return every HANDRAIL_* variable. HANDRAIL_CI is no setting, so a gateway would refuse to start."""
    return {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("HANDRAIL_")}


@pytest.fixture(scope="session", autouse=True)
def _clean_session() -> Iterator[None]:
    """Processes that session fixtures start must not inherit the caller's configuration either."""
    removed = _strip()
    if TOOLS.is_dir() and str(TOOLS) not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = f"{TOOLS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    yield
    os.environ.update(removed)


@pytest.fixture(autouse=True)
def _clean_environment(_clean_session: None) -> Iterator[None]:
    """A test sees no HANDRAIL_* variable, and leaves none behind."""
    yield
    _strip()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI a skip is a failure, whoever made it, unless no package could have prevented it."""
    report = yield
    if services.UNDER_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not any(accepted in reason for accepted in services.ACCEPTED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped under CI: {reason}"
    return report


@pytest.fixture
def require_service() -> Callable[[object, str, str], None]:
    """``require_service(present, what, remedy)``: skip with the reason, or fail under ``.ci/run``."""
    return services.require
