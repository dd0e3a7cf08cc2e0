"""What a hand echoes: each encoding that is looked for, within each other, and what must be left alone."""

import base64
import quopri
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import HandResult
from gateway.redaction import MARK, Redactor
from tests.canaries import found_in
from tests.secrets.world import HOWS, echoed

VALUE = 's3cret+/ "\\<&%=?value'
BARE = [how for how in HOWS if how not in {"structured", "error", "blob"}]


def spelt(how: str, text: str) -> str:
    """As a hand echoes it; less what it is told between."""
    return bytes(echoed(how, text).body).decode("utf-8", "replace")


@pytest.mark.parametrize("how", BARE)
def test_an_echo_is_taken_out(how: str) -> None:
    text = bytes(echoed(how, VALUE).body).decode()
    cleaned = Redactor([VALUE]).text(text)
    assert MARK in cleaned
    assert found_in([VALUE], cleaned.encode()) == []


@given(st.text(max_size=60), st.sampled_from(BARE), st.sampled_from(BARE), st.text(max_size=8))
def test_what_is_too_short_to_hold_a_value_need_not_be_looked_at(
    beside: str, one: str, other: str, before: str
) -> None:
    """Texts that are left out for their length alone make no difference to what is found."""
    text = beside + spelt(one, before + spelt(other, VALUE))
    quick, thorough = Redactor([VALUE]), Redactor([VALUE])
    thorough._shortest = 0
    for looked_at in (text, beside, text[: len(text) // 2], text[1:], text.replace("i", "\u0130")):
        assert quick.text(looked_at) == thorough.text(looked_at)


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


KEY = "0123456789abcdef0123456789abcDEF"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("length", range(16, 28))
@pytest.mark.parametrize("offset", range(3))
def test_not_one_bit_of_a_value_stays_at_the_edges_of_its_base64(
    offset: int, length: int, encode: Callable[[bytes], bytes]
) -> None:
    """Two values that differ in their first and last bit alone are cut out to the same."""
    middle = "s3cr3t~?>" * 4
    left = {
        Redactor([value]).text(encode(b"x" * offset + value.encode() + b"after").decode())
        for value in (f"p{middle[: length - 2]}q", f"q{middle[: length - 2]}p")
    }
    assert len(left) == 1
    assert MARK in left.pop()


@pytest.mark.parametrize("member", ["data", "blob"])
def test_a_value_that_looks_like_base64_is_taken_out_of_members_of_base64_too(member: str) -> None:
    assert Redactor([KEY]).result(HandResult((), {member: KEY})).structured == {member: MARK}
    assert Redactor([KEY]).result(HandResult(({"type": "image", member: KEY},))).content[0][member] == MARK


@pytest.mark.parametrize("value", [KEY, VALUE])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_wide_characters_are_found_in_a_blob(value: str, encoding: str) -> None:
    blob = base64.b64encode(f"before {value} after".encode(encoding)).decode()
    cleaned = Redactor([value]).result(HandResult(({"type": "resource", "resource": {"blob": blob}},)))
    assert base64.b64decode(cleaned.content[0]["resource"]["blob"]) == MARK.encode()


@pytest.mark.parametrize("value", [KEY, VALUE])
@pytest.mark.parametrize(
    "encode",
    [
        lambda value: base64.b64encode(base64.b64encode(value.encode())).decode(),
        lambda value: base64.b64encode(quote(quote(value, safe=""), safe="").encode()).decode(),
        lambda value: base64.b32encode(value.encode()).decode(),
        lambda value: base64.b32encode(b"abc" + value.encode() + b"x").decode().lower(),
        lambda value: value.encode().hex(":"),
        lambda value: " ".join(f"0x{byte:02X}" for byte in value.encode()),
        lambda value: str(list(value.encode())),
        lambda value: quopri.encodestring(value.encode(), quotetabs=True).decode(),
        lambda value: "".join(f"={byte:02X}" for byte in value.encode()),
        "\u200b".join,
        "\0".join,
        str.upper,
        str.swapcase,
    ],
)
def test_encodings_that_echoes_rarely_come_in(value: str, encode: Callable[[str], str]) -> None:
    assert MARK in Redactor([value]).text(f"before: {encode(value)} :after")


def test_numbers_and_lists_of_bytes_are_texts_too() -> None:
    redactor = Redactor([KEY, "4907312255"])
    given = {"float": 4907312255.0, "negative": -4907312255, "longer": 14907312255, "bytes": list(KEY.encode())}
    assert redactor.result(HandResult((), given)).structured == dict.fromkeys(given, MARK)
    other = {"float": 1.5, "huge": 1e300, "bytes": [1, 2, 300], "none": [], "true": [True]}
    assert redactor.result(HandResult((), other)).structured == other


def test_a_longer_value_goes_before_a_shorter_one_within_it() -> None:
    assert Redactor(["password", "password-and-more"]).text("x password-and-more y") == f"x {MARK} y"
