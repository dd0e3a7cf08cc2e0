"""Where a text is cut: what a hostile or unlucky text has at that place, and what is never cut."""

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import HandResult, Truncation
from gateway.canonical import MAX_SAFE_INTEGER, canonical
from gateway.truncation import LOOK_AHEAD_BYTES, truncate

MARKER = re.compile(r"\n\[cut by the gateway: (?:(\d+) bytes left out|the rest was not read)\]\Z")


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **more}


def cut(result: HandResult, limit: int) -> HandResult:
    found = truncate(result, limit)
    assert found is not None
    assert len(canonical(found.document())) <= limit
    return found


def kept(value: str, limit: int = 400) -> str:
    """What is left of a text, without the marker, and that the marker tells the truth."""
    found = cut(HandResult((text(value),)), limit)
    said = found.content[-1]["text"]
    marked = MARKER.search(said)
    assert marked is not None
    left = said[: marked.start()]
    assert value.startswith(left)
    assert found.truncated == Truncation(len(value.encode()) - len(left.encode()))
    assert int(marked[1]) == found.truncated.left_out_bytes
    return left


@given(st.text(min_size=400, max_size=900), st.integers(250, 400))
def test_whatever_the_text_it_fits_and_is_its_beginning(value: str, limit: int) -> None:
    kept(value, limit)


@pytest.mark.parametrize(
    "unit",
    ["é", "€", "😀", '"', "\\", "\x00", "\n", "e\u0301", "👩\u200d🚀", "👍\U0001f3fd", "x\ufe0f", "\r\n", "\x1b[31m"],
)
def test_nothing_that_belongs_together_is_torn(unit: str) -> None:
    for before in range(12):
        left = kept("a" * before + unit * 200)
        assert len(left) > 40
        assert (len(left) - before) % len(unit) == 0


def test_a_pile_of_marks_does_not_eat_the_text_before_it() -> None:
    assert len(kept("a" * 50 + "\u0301" * 5000)) > 100


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[38;5;196m",
        "\x9b31m",
        "\x1b]0;title\x07",
        "\x1b]8;;https://x.example\x1b\\",
        "\x1b(B",
        "\x1bM",
        "\x1bPq#0\x1b\\",
    ],
)
def test_an_escape_sequence_is_whole_or_gone(sequence: str) -> None:
    """Half of one swallows the marker, or what the reader's terminal shows after it."""
    for before in range(40):
        left = kept("a" * before + (sequence + "bb") * 80)
        rest = left[before:].replace(sequence + "bb", "")
        assert rest in {"", sequence, sequence + "b"}


def test_a_sequence_that_never_ends_is_gone() -> None:
    for begun in ("\x1b]0;", "\x1bP", "\x1b["):
        assert kept("a" * 200 + begun + "1" * 500) == "a" * 200


def test_the_tools_own_marker_is_followed_by_the_gateways() -> None:
    forged = "\n[cut by the gateway: 0 bytes left out]"
    assert kept(forged * 100).count(forged) > 1


@given(st.lists(st.text(max_size=60), min_size=1, max_size=60), st.integers(300, 900))
def test_of_many_blocks_those_that_fit_stay_in_their_places(values: list[str], limit: int) -> None:
    result = HandResult(tuple(text(value) for value in values))
    if len(canonical(result.document())) <= limit:
        return
    found = cut(result, limit)
    assert found.content[:-1] == result.content[: len(found.content) - 1]
    left = MARKER.sub("", found.content[-1]["text"])
    assert values[len(found.content) - 1].startswith(left)
    gone = sum(len(value.encode()) for value in values[len(found.content) - 1 :]) - len(left.encode())
    assert found.truncated == Truncation(gone)


def test_what_is_said_of_a_block_stays_with_it() -> None:
    found = cut(HandResult((text("x" * 900, annotations={"audience": ["user"]}),)), 400)
    assert found.content[0]["annotations"] == {"audience": ["user"]}


IMAGE = {"type": "image", "data": "eHh4" * 200, "mimeType": "image/png"}


@pytest.mark.parametrize(
    "result",
    [
        HandResult((IMAGE,)),
        HandResult((text("a"), IMAGE)),
        HandResult((text("x" * 900), {"type": "image", "data": "", "mimeType": "image/png"})),
        HandResult((text("a"),), {"rows": ["x" * 900]}),
        HandResult((), ["x" * 900]),
        HandResult(({"type": "text", "text": ["x" * 900]},)),
        HandResult((text("x", _meta={"m": "x" * 900}),)),
        HandResult(({"type": "resource", "resource": {"uri": "u", "text": "x" * 900}},)),
    ],
    ids=["image", "image after", "image that would be gone", "structure", "no content", "no text", "meta", "resource"],
)
def test_what_is_no_text_is_never_cut_and_never_left_out(result: HandResult) -> None:
    assert truncate(result, 400) is None


def test_an_image_that_fits_stays() -> None:
    small = {"type": "image", "data": "eHh4", "mimeType": "image/png"}
    assert cut(HandResult((small, text("x" * 900))), 400).content[0] == small


def test_a_limit_without_room_for_the_marker_leaves_nothing() -> None:
    assert truncate(HandResult((text("x" * 900),)), 64) is None


def test_what_was_read_ahead_is_thrown_away_also_where_all_would_fit() -> None:
    read = HandResult((text("a" * 100 + "b" * LOOK_AHEAD_BYTES),), truncated=Truncation(7))
    found = cut(read, 200_000)
    assert MARKER.sub("", found.content[0]["text"]) == "a" * 100
    assert found.truncated == Truncation(LOOK_AHEAD_BYTES + 7)
    gone = cut(HandResult((text("[secret]"),), truncated=Truncation(None)), 200_000)
    assert MARKER.sub("", gone.content[0]["text"]) == ""
    assert gone.truncated == Truncation(None)
    assert truncate(HandResult((IMAGE,), truncated=Truncation(None)), 200_000) is None


@pytest.mark.parametrize("claimed", [MAX_SAFE_INTEGER, 10**30])
def test_a_server_that_claims_more_than_a_number_can_hold_is_not_believed(claimed: int) -> None:
    found = cut(HandResult((text("b" * LOOK_AHEAD_BYTES),), truncated=Truncation(claimed)), 400)
    assert found.truncated == Truncation(None)


def test_a_cut_text_is_still_utf_8_where_reading_ahead_ends_in_a_character() -> None:
    for ahead in range(4):
        value = "😀" * 100 + "x" * (LOOK_AHEAD_BYTES - ahead)
        found = cut(HandResult((text(value),), truncated=Truncation(None)), 200_000)
        assert set(MARKER.sub("", found.content[0]["text"])) == {"😀"}
        assert all(unicodedata.category(sign) != "Cs" for sign in found.content[0]["text"])
