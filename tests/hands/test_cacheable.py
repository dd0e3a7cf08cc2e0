"""What may be declared cacheable, and that the declaration is part of the pin."""

import re
import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.manifest import Manifest
from gateway.settings import ActionSettings, HandSettings
from hand_adapters import annotate
from tests.meta.tree import ROOT

SCHEMA = {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize(
    "declared",
    [
        {"cacheable": True},
        {"cacheable": True, "side_effects": "reversible"},
        {"side_effects": "none", "cache_seconds": 5},
        {"side_effects": "none", "cacheable": True, "cache_seconds": 0},
        {"side_effects": "none", "cacheable": True, "cache_seconds": 3601},
    ],
)
def test_only_what_has_no_effects_is_kept_and_for_an_hour_at_most(declared: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ActionSettings(**declared)


def test_a_remote_hand_has_no_cacheable_actions() -> None:
    find = {"side_effects": "none", "cacheable": True, "args_schema": SCHEMA}
    with pytest.raises(ValidationError, match="takes no cacheable actions"):
        HandSettings(adapter="remote", actions={"find": find})


def _pinned(**word: Any) -> Manifest:
    settings = HandSettings(adapter="http", base_url="https://weather.example", actions={})
    return annotate.manifest("weather", settings, [annotate.action("look", ActionSettings(**word), args_schema=SCHEMA)])


def test_the_declaration_of_the_page_is_part_of_the_pin() -> None:
    page = (ROOT / "docs" / "hands.md").read_text(encoding="utf-8")
    [block] = re.findall(r"## Answers that are given again\n\n```toml\n(.*?)```", page, re.DOTALL)
    word = tomllib.loads(block)["hands"]["weather"]["actions"]["look"]
    kept, shorter = _pinned(**word), _pinned(**{**word, "cache_seconds": 10})
    assert len({one.digest for one in (kept, shorter, _pinned(side_effects="none"))}) == 3
    again = Manifest.from_document(kept.document())
    assert (again.digest, again.actions["look"].cache_seconds) == (kept.digest, 300)
