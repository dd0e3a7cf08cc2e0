"""What the page of resilience shows can be used, and says what is so."""

import re
import tomllib
from pathlib import Path

from gateway.settings import ResilienceSettings, Settings
from hand_adapters.resilience.guard import FRESH_SECONDS
from hand_adapters.resilience.retrying import RESERVE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "resilience.md").read_text(encoding="utf-8")


def test_the_declaration_on_the_page_is_one_that_a_gateway_takes(tmp_path: Path) -> None:
    [block] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    settings = Settings(home=tmp_path, **tomllib.loads(block))
    assert settings.hands["weather"].resilience.retries_max == 3
    assert settings.hands["weather"].actions["forecast"].idempotent


def test_the_defaults_on_the_page_are_the_defaults() -> None:
    said = dict(re.findall(r"`(\w+)` \(([\d.,]+)\)", PAGE))
    assert len(said) == 7
    for name, value in said.items():
        assert float(value.replace(",", "")) == getattr(ResilienceSettings(), name)
    assert (RESERVE, FRESH_SECONDS) == (10, 1)
    assert (ResilienceSettings().principal_share, ResilienceSettings().retries_share) == (0.75, 0.1)
