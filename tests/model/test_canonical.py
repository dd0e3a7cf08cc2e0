"""Strict JSON and its canonical form: what two readers could read differently is refused."""

import json
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from gateway import canonical as module
from gateway.canonical import MAX_DEPTH, Written, b64url_decode, b64url_encode, canonical, parse
from gateway.errors import Refused
from gateway.reasons import Reason

SAFE = 2**53 - 1
numbers = st.integers(-SAFE, SAFE) | st.floats(-SAFE, SAFE) | st.sampled_from([1e21, 1.5e300, 5e-324, -0.0, 1e-7])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_the_fast_path_writes_what_rfc_8785_writes(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(values)
def test_what_was_written_reads_back_the_same(value: Any) -> None:
    assert canonical(parse(canonical(value))) == canonical(value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{} {}",
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":1,"\\u0061":2}',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1e999",
        b"9007199254740993",
        b"-9007199254740993",
        b"9007199254740992",
        b"9007199254740993.0",
        b"1e16",
        b"9" * 5000,
        b"\xff",
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'{"\\udfff":1}',
        b"\xef\xbb\xbf{}",
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
        b"[" * 100_000 + b"]" * 100_000,
        b"'a'",
        b"[1,]",
        b"01",
        b'"\x00"',
        b"\x0b1",
    ],
)
def test_ambiguous_json_is_refused(text: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        parse(text)
    assert refusal.value.reason is Reason.SCHEMA_JSON


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        (b'{"a": 1,\n  "b" 2}', {"expected": "JSON (RFC 8259)", "line": 2, "column": 7}),
        (b"", {"expected": "JSON (RFC 8259)", "line": 1, "column": 1}),
        ('{"é":\n "é'.encode() + b"\xff", {"expected": "UTF-8", "line": 2, "column": 4}),
        (b'{"a": [{"b": 1, "c": 2, "c": 3}]}', {"expected": "each member of an object once", "member": "c"}),
        (b'{"<b>": 1, "<b>": 2}', {"expected": "each member of an object once"}),
        (b'{"a": 9007199254740993}', {"expected": "numbers that every reader keeps: integers below 2^53"}),
        (b'{"a": NaN}', {"expected": "JSON (RFC 8259), which has no NaN and no Infinity"}),
        (b'{"a": "\\ud800"}', {"expected": "whole characters: half of a surrogate pair is none"}),
        (b"[" * 66 + b"]" * 66, {"expected": "at most 64 levels"}),
        (b"[" * 100_000 + b"]" * 100_000, {"expected": "at most 64 levels"}),
    ],
    ids=["syntax", "empty", "utf-8", "twice", "twice-unnamed", "number", "nan", "surrogate", "deep", "deeper"],
)
def test_what_is_not_strict_json_is_told_with_its_cause_and_place(text: bytes, facts: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refusal:
        parse(text)
    assert refusal.value.facts == facts


def spelt(value: Any) -> Any:
    """A value with the types of its numbers, and the order of its members."""
    if isinstance(value, dict):
        return [(name, spelt(member)) for name, member in value.items()]
    return [spelt(item) for item in value] if isinstance(value, list) else (type(value), repr(value))


@given(values)
def test_a_compact_text_is_read_as_the_slower_reader_does(value: Any) -> None:
    raw = orjson.dumps(value)
    spaced = json.dumps(value, ensure_ascii=False).encode()

    def outcome(text: bytes) -> Any:
        try:
            return spelt(parse(text))
        except Refused as refused:
            return refused.reason

    assert outcome(raw) == outcome(b" " + raw) == outcome(spaced)


@pytest.mark.parametrize("number", ["9007199254740992", "9007199254740994.0", "1e16", "-1e17", "123456789012345680.0"])
def test_a_number_that_is_not_safe_is_refused_in_a_compact_text_too(number: str) -> None:
    with pytest.raises(Refused):
        parse(f'{{"a":[{number}]}}'.encode())


def test_a_compact_text_does_not_take_the_slower_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each body of 50 kB would cost three times as much."""
    monkeypatch.setattr(module, "_DECODER", None)
    assert parse(b'{"b":[1,2.5,"\xc3\xa9"],"a":{}}') == {"b": [1, 2.5, "é"], "a": {}}


def test_the_edges_of_what_is_safe_are_accepted() -> None:
    assert parse(b"[9007199254740991,-9007199254740991]") == [SAFE, -SAFE]
    assert parse(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None


class Odd(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, 2**60, 1e16, "\ud800", {"\ud800": 1}, {1: 2}, b"x", object()]
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises((Refused, TypeError)):
        canonical(value)


def test_prices_and_whole_floats_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or one price in a large result would cost the event loop twenty times as much."""
    monkeypatch.delattr(rfc8785, "dumps")
    priced = {"total": 12.5, "count": 10.0, "lines": [{"price": -0.01, "discount": -0.0}, {"price": 1e15 + 0.5}]}
    written = b'{"count":10,"lines":[{"discount":0,"price":-0.01},{"price":1000000000000000.5}],"total":12.5}'
    assert canonical(priced) == written
    assert type(priced["count"]) is float, "what was given is not changed"


def test_names_of_other_languages_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(rfc8785, "dumps")
    assert canonical({"größe": 1, "名": 2, "a": 3, "": 4}) == '{"":4,"a":3,"größe":1,"名":2}'.encode()


def test_names_beyond_one_unit_are_sorted_by_their_surrogates() -> None:
    assert canonical({"\U0001f600": 1, "\ue000": 2}) == '{"\U0001f600":1,"\ue000":2}'.encode()
    assert canonical({"\uffff": 1, "\ue000": 2}) == rfc8785.dumps({"\uffff": 1, "\ue000": 2})


@pytest.mark.parametrize("number", [1e-6, 9.999e-6, 1e21, 1e-7, 2.5e-300])
def test_what_has_an_exponent_in_either_takes_the_slow_path(number: float) -> None:
    assert canonical([number, -number]) == rfc8785.dumps([number, -number])


def test_a_subclass_of_str_takes_the_slow_path_and_the_same_form() -> None:
    assert canonical({"a": Odd("b")}) == b'{"a":"b"}'


@given(st.binary(max_size=40))
def test_base64url_has_one_spelling(raw: bytes) -> None:
    text = b64url_encode(raw)
    assert b64url_decode(text) == raw
    assert "=" not in text


@pytest.mark.parametrize("text", ["YQ=", "YQ==", "YR", "Y", "YWI+", "YWI/", "YW I", "YQ\n", "é"])
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(Refused) as refusal:
        b64url_decode(text)
    assert refusal.value.reason is Reason.VERIFY_MALFORMED


def test_python_json_and_ours_agree_on_ordinary_text() -> None:
    text = '{"b":[1,2.5,true,null,"x\\n"],"a":{"c":"\\u00e9"}}'
    assert parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "whole",
    [
        {"b": {"z": 1, "a": [True, None, "ü"]}, "a": 2},
        {"b": {"a": 10.0, "b": 1e-9}, "a": 1.5},
        {"b": {"\U0001f600": 1, "\uffff": 2}, "a": 1},
        {"b": {"a": 1}, "a": 1e300},
    ],
)
def test_a_part_that_is_written_already_changes_nothing(whole: dict[str, Any]) -> None:
    part = Written(canonical(whole["b"]))
    assert canonical({**whole, "b": part}) == canonical(whole) == rfc8785.dumps(whole)
    assert canonical([[part]]) == canonical([[whole["b"]]])


@given(st.dictionaries(texts, values, min_size=1, max_size=4))
def test_any_part_may_be_written_already(whole: dict[str, Any]) -> None:
    name = min(whole)
    assert canonical({**whole, name: Written(canonical(whole[name]))}) == rfc8785.dumps(whole)
