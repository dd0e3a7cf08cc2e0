"""TOML that people read: what is written is what a parser reads."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import toml_text
from gateway.manifest import ArgumentRole


@pytest.mark.parametrize(
    ("item", "read"),
    [
        ('\U0001f600 \u202e \x7f \n \\ "', '\U0001f600 \u202e \x7f \n \\ "'),
        (Path("/srv/\U0001f600/ä"), "/srv/\U0001f600/ä"),
        ({"/\U0001f600\x7f": ArgumentRole.URL}, {"/\U0001f600\x7f": "url"}),
        (["ä", 1, 1.5, True, None, {}], ["ä", 1, 1.5, True, "", {}]),
        ("half \ud800", "half \ufffd"),
    ],
)  # fmt: skip
def test_a_value_is_read_as_it_was(item: Any, read: Any) -> None:
    line = f"x = {toml_text.value(item)}"
    assert line.isprintable()
    assert tomllib.loads(line) == {"x": read}


@pytest.mark.parametrize("name", ["plain-1", "a b", "", "\U0001f600", 'x"]\n[y]'])
def test_a_key_is_read_as_it_was(name: str) -> None:
    assert tomllib.loads(f"{toml_text.key(name)} = 1") == {name: 1}


def test_no_comment_ends_early_or_is_wide() -> None:
    lines = list(toml_text.comment("a\nb = 1 \x1b\u202e " + "word " * 60))
    assert all(line.startswith("# ") and line.isprintable() and len(line) <= 116 for line in lines)
    assert len(lines) > 1
