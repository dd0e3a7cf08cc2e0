"""The page for operators says what is there: its example is a declaration, and every word of the code is named."""

import re
import tomllib

from gateway.settings import EgressLimits, EgressSettings, HandSettings
from hand_adapters import annotate
from hand_adapters.egress.causes import Cause
from hand_adapters.egress.gate import ENVIRONMENT
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "egress.md").read_text(encoding="utf-8")


def test_the_example_is_a_declaration() -> None:
    example, _ = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    for hand_id, table in tomllib.loads(example)["hands"].items():
        manifest = annotate.manifest(hand_id, HandSettings(**table), ())
        assert [rule.host for rule in manifest.egress] == ["api.tracker.example", "downloads.example"]
        [use] = manifest.secrets
        assert use.fits("https://api.tracker.example:443", "POST", "/v1/issues/7/comments")
        assert not use.fits("https://api.tracker.example:443", "GET", "/v1/search/x")


def test_every_key_cause_and_variable_is_named() -> None:
    words = set(re.findall(r"`([A-Za-z_]+)`", PAGE))
    assert set(map(str, Cause)) <= words
    assert set(EgressSettings.model_fields) <= words
    upper = {name for name in ENVIRONMENT if name.isupper()}
    assert upper <= words
    assert set(EgressLimits.model_fields) <= words
