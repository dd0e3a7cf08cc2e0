"""What the page of limits shows can be used, and says what is so."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from gateway.settings import LimitSettings, ServerSettings, Settings
from gateway.web import server
from gateway.web.doors import POLITE_MAX
from gateway.web.limits import HEADERS_MAX, HEADERS_MAX_BYTES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")


def test_the_settings_on_the_page_are_taken(tmp_path: Path) -> None:
    [block] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    settings = Settings(home=tmp_path, **tomllib.loads(block))
    assert settings.limits == LimitSettings(drain_notice_seconds=5)
    assert settings.server == ServerSettings()
    assert settings.hands["weather"].resilience.calls_per_second == 10


def test_the_defaults_on_the_page_are_the_defaults() -> None:
    said = re.findall(r"`(server\.)?(\w+)` \(([\d.,]+)\)", PAGE)
    assert len(said) >= 12
    for place, name, value in said:
        section = ServerSettings() if place else LimitSettings()
        assert float(value.replace(",", "")) == getattr(section, name), name


def test_the_limits_that_are_no_settings_are_those_of_the_page() -> None:
    for text in (
        f"{HEADERS_MAX_BYTES:,} bytes with the target, {HEADERS_MAX} headers",
        f"{server.KEEP_ALIVE_SECONDS} seconds; what drips",
        f"{server.UNREAD_PROGRESS_BYTES:,} bytes more",
        f"At most {POLITE_MAX} connections beyond limits may be silent",
    ):
        assert text in PAGE


def test_the_measurement_on_the_page_runs() -> None:
    command = [sys.executable, "-m", "bench.limits", "--requests", "50", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("| 1.00 |") >= 1
    assert "and of the principal" in done.stdout
