"""Long texts are looked at in pieces, and what is found is what one look at the whole would find."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import values
from gateway.policy.values import links, pieces, plain, unseparated

WORDS = (
    "ann@corp.example",
    "https://a.example/x?y=1",
    "www.b.example.",
    "evil.example",
    "é",
    "１２",
    "e\u0301",
    "\u0301",
)
BLANKS = (" ", "\n", "  \n", "\t", "\u00a0", "", ".", "<", "@", "-", "a")
TEXTS = st.lists(st.sampled_from(WORDS + BLANKS), max_size=40).map("".join) | st.text(max_size=80)


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "PIECE", 7)


@given(TEXTS)
def test_pieces_are_the_text_and_find_what_is_in_it(text: str) -> None:
    assert "".join(pieces(text)) == text
    in_pieces = (plain(text), unseparated(text), list(links(text)))
    whole = values.PIECE
    try:
        values.PIECE = len(text) + 1  # type: ignore[misc]
        assert (plain(text), unseparated(text), list(links(text))) == in_pieces
    finally:
        values.PIECE = whole  # type: ignore[misc]


@given(TEXTS)
def test_matches_are_those_of_one_search(text: str) -> None:
    for pattern in (values._URL, values._EMAIL):
        assert [found.span() for found in values._each(pattern, text)] == [
            found.span() for found in pattern.finditer(text)
        ]


def test_no_link_is_longer_than_what_is_looked_at() -> None:
    """The longest that the patterns take: every label and part as long as it may be."""
    label = "a" * 63
    host = ".".join([label] * 9)
    for pattern, text in (
        (values._URL, f"https://{'u' * 128}@{host}:65535/{'p' * 2048}"),
        (values._EMAIL, f"{'l' * 64}@{host}"),
    ):
        found = pattern.fullmatch(text)
        assert isinstance(found, re.Match)
        assert len(found[0]) < values._REACH
