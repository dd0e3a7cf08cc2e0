"""What a hand echoes: each encoding that is looked for, within each other, and what must be left alone."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import HandResult
from gateway.redaction import MARK, Redactor
from tests.canaries import found_in
from tests.secrets.world import HOWS, echoed

VALUE = 's3cret+/ "\\<&%=?value'
BARE = [how for how in HOWS if how not in {"structured", "error", "blob"}]


@pytest.mark.parametrize("how", BARE)
def test_an_echo_is_taken_out(how: str) -> None:
    text = bytes(echoed(how, VALUE).body).decode()
    cleaned = Redactor([VALUE]).text(text)
    assert MARK in cleaned
    assert found_in([VALUE], cleaned.encode()) == []


@pytest.mark.parametrize("how", BARE)
def test_it_is_found_within_another_text_of_the_same_encoding(how: str) -> None:
    text = bytes(echoed(how, f"abc{VALUE}xyz").body).decode()
    assert MARK in Redactor([VALUE]).text(f"before {text} after")


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=80), st.binary())
def test_base64_finds_every_value_at_every_offset(value: str, before: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert MARK in Redactor([value]).text(encode(before + value.encode() + before).decode())


@given(st.text(max_size=200))
def test_what_holds_no_value_is_left_as_it_is(text: str) -> None:
    assert Redactor(["a-value-that-is-nowhere"]).text(text) == text


def test_all_places_of_a_result_are_looked_at() -> None:
    digits = "4907312255"
    result = HandResult(
        (
            {"type": "text", "text": f"a {VALUE} b", VALUE: "name"},
            {"type": "resource", "resource": {"blob": base64.b64encode(b"\x00\xff" + VALUE.encode()).decode()}},
            {"type": "image", "data": "not base64 " + VALUE},
        ),
        {"deep": [[{"x": VALUE}]], "number": int(digits), "other": 1, "none": None, "true": True},
    )
    cleaned = Redactor([VALUE, digits]).result(result)
    assert cleaned.content[0] == {"type": "text", "text": f"a {MARK} b", MARK: "name"}
    assert base64.b64decode(cleaned.content[1]["resource"]["blob"]) == b"\x00\xff" + MARK.encode()
    assert cleaned.content[2]["data"] == f"not base64 {MARK}"
    assert cleaned.structured == {"deep": [[{"x": MARK}]], "number": MARK, "other": 1, "none": None, "true": True}


def test_a_longer_value_goes_before_a_shorter_one_within_it() -> None:
    assert Redactor(["password", "password-and-more"]).text("x password-and-more y") == f"x {MARK} y"
