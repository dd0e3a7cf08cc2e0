"""A hand that hides what it says from the gateway and not from its reader, and one that wants to be slow to read."""

import json
import random
import re
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import HandResult
from gateway.manifest import EVERY_KIND
from gateway.personal_data import BUILT_IN, UNSEARCHED, Scanner, declared, scanner
from gateway.personal_data.folding import fold
from gateway.personal_data.scanner import CANDIDATES_MAX, DEPTH_MAX, _Known

SCANNER = Scanner()
CARD = "4111111111111111"

HIDDEN = {
    "full-width digits": "４１１１１１１１１１１１１１１１",
    "Arabic digits": "٤١١١١١١١١١١١١١١١",
    "mathematical digits": "𝟒𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏",
    "zero-width spaces": "\u200b".join(CARD),
    "soft hyphens": "4111\u00ad1111\u00ad1111\u00ad1111",
    "a right-to-left override": "\u202e4111111111111111\u202c",
    "no-break spaces": "4111\u00a01111\u00a01111\u00a01111",
    "other dashes": "4111\u20131111\u20141111\u22121111",
    "control characters": "4111\x001111\x1b1111\x081111",
    "tag characters": "4111\U000e00411111\U000e004211111111",
    "letters that show nothing": "4111\u31641111\u115f1111\uffa01111",
    "signs that show nothing": "4111\u28001111\U000e0fff1111\ufff01111",
    "marks on digits": "4\u0301" + "1" * 15,
}
ADDRESSES = {
    "a full-width at": "jo＠example.org",
    "a small at": "jo﹫example.org",
    "a Cyrillic letter": "j\u043e@ex\u0430mple.org",
    "letters of another script": "名前@例え.example",
    "an ideographic full stop": "jo@example。org",
    "a zero-width joiner in it": "jo\u200d@exam\u200dple.org",
    "accents": "jö@exämple.org",
}


def out(value: Any) -> tuple[dict[str, int], Any]:
    """What is taken out of a value, and the value without it."""
    scan = SCANNER.scan(HandResult((), value), look=(), take=(EVERY_KIND,))
    assert not scan.found
    return dict(scan.taken), scan.result.structured


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_a_card_number_is_found_however_it_is_spelt(text: str) -> None:
    taken, shown = out(f"it is {text}, yes")
    assert taken == {"card": 1}
    assert shown.replace("\u202e", "").replace("\u202c", "") == "it is [redacted:card], yes"


@pytest.mark.parametrize("text", ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_is_found_however_it_is_spelt(text: str) -> None:
    assert out(f"mail {text} soon") == ({"email": 1}, "mail [redacted:email] soon")


BESIDE = {
    "dots after it": ("jo@example.org...thanks", "[redacted:email]...thanks"),
    "a label that is none after it": ("jo@example.org.-.com", "[redacted:email].-.com"),
    "a dash after it": ("jo@example.org-.com", "[redacted:email]-.com"),
    "a name that is none before it": ("x@-.jo@example.org", "x@[redacted:email]"),
    "a label that is too long before it": (f"x@{'b' * 70}.jo@example.org", f"x@{'b' * 9}[redacted:email]"),
    "a name that is too long before it": (f"x@{'a.' * 200}jo@example.org", "[redacted:email]@example.org"),
    "emphasis around a number": ("_123-45-6789_", "_[redacted:national_id]_"),
    "the name of a file": ("scan_123-45-6789_2.pdf", "scan_[redacted:national_id]_2.pdf"),
    "emphasis around an account": ("_DE89370400440532013000_", "_[redacted:iban]_"),
    "a text in JSON": ('"jo\\u0040example.org"', '"[redacted:email]"'),
}


@pytest.mark.parametrize(("text", "shown"), BESIDE.values(), ids=BESIDE)
def test_what_stands_beside_it_hides_nothing(text: str, shown: str) -> None:
    assert out(text)[1] == shown


def test_names_that_become_one_name_are_told_apart_in_linear_work() -> None:
    """A result of a megabyte can have tens of thousands of them."""

    def lines(members: int) -> int:
        ran = 0

        def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
            nonlocal ran
            ran += frame.f_code.co_name == "distinct"
            return trace

        value = {
            **{f"[redacted:email] {n}": n for n in range(members)},
            **{f"{n}@example.org": n for n in range(members)},
        }
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            shown = out(value)[1]
        finally:
            sys.settrace(before)
        assert len(shown) == 2 * members, "none hides another"
        return ran

    assert lines(400) < 3 * lines(200)


def test_it_is_found_in_names_numbers_lists_and_json_in_text() -> None:
    taken, shown = out(
        {
            "jo@example.org": 1,
            "bo@example.org": 2,
            "n": int(CARD),
            "f": float(CARD),
            "phones": ["030 1234567", {"mobile": 40123456789}],
            "birthDate": "1980-03-12",
            "text": json.dumps({"inner": json.dumps({"mail": "al@example.org"})}),
        }
    )
    assert taken == {"birth_date": 1, "card": 2, "email": 3, "phone": 2}
    assert shown["[redacted:email]"] == 1
    assert shown["[redacted:email] 2"] == 2, "a name that is taken out hides no member"
    assert (shown["n"], shown["f"]) == ("[redacted:card]", "[redacted:card]")
    assert json.loads(json.loads(shown["text"])["inner"]) == {"mail": "[redacted:email]"}


def test_what_stands_in_two_values_is_not_one() -> None:
    """All texts are searched together, and each for itself: nothing of one counts in the next."""
    apart: list[Any] = ["4111 1111", "1111 1111", "tel", "1234567", "born", "1980-03-12", "jo@example", ".org", "ssn"]
    apart += ["123456789", {"a": "jo@", "b": "example.org"}, "123-45-", "6789"]
    assert out(apart) == ({}, apart)
    beside = ["12", CARD, "XX00", "GB82 WEST 1234 5698 7654 32", "+", "jo@example.org", "@example.org", "", "x"]
    assert out(beside) == (
        {"card": 1, "email": 1, "iban": 1},
        ["12", "[redacted:card]", "XX00", "[redacted:iban]", "+", "[redacted:email]", "@example.org", "", "x"],
    )


def test_a_declared_pattern_ends_with_its_text() -> None:
    greedy = Scanner([declared("code", "K[^;]{0,50}"), declared("number", "[0-9]{2,30}")])
    scan = greedy.scan(HandResult((), ["aK1", "b", "Kc;d", CARD]), look=(), take=("code", "number"))
    assert scan.result.structured == ["a[redacted:code]", "b", "[redacted:code];d", "[redacted:number]"]


def test_of_two_members_of_one_name_none_hides_the_other() -> None:
    """A parser sees the last, and a model reads both; escapes hide the first from a look at the text."""
    taken, shown = out('{"a": "jo\\u0040example.org", "a": 1, "b": "bo@example.org"}')
    assert taken == {"email": 2}
    assert shown == '{"a": "[redacted:email]", "a": 1, "b": "[redacted:email]"}'
    assert out('{"jo@example.org": 1, "bo@example.org": 2, "a": 3, "a": 4}')[1] == (
        '{"[redacted:email]": 1, "[redacted:email] 2": 2, "a": 3, "a": 4}'
    )


WRITTEN = [
    '{ "id":123456789012345678901,\n\t"v": 1.10, "e": -1E2, "m": "%s", "u": "\\u00e9\\/", "t": [true, null] }\n',
    '{"m": "al"}\n{"m": ["%s"],  "v": 1.0}\n',
    '["%s",  "\\ud83d\\ude00",1.0]',
    '12:00 {"m": "%s"} sent',
]


@pytest.mark.parametrize("text", WRITTEN)
@pytest.mark.parametrize("spelt", ["jo@example.org", "jo\\u0040example.org"])
def test_of_json_in_a_text_all_else_stays_as_it_is_written(text: str, spelt: str) -> None:
    assert out(text % spelt) == ({"email": 1}, text % "[redacted:email]")
    assert out(text % "al") == ({}, text % "al")


VALUES = st.recursive(
    st.text(max_size=4) | st.integers() | st.floats() | st.booleans() | st.none() | st.just("jo@example.org"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES, st.sampled_from([None, 1]), st.sampled_from([{}, {"ensure_ascii": False}]))
def test_json_in_a_text_is_what_it_was_without_it(value: Any, indent: int | None, how: dict[str, bool]) -> None:
    text = json.dumps(value, indent=indent, **how)
    shown = SCANNER.scan(HandResult((), text), look=(), take=("email",)).result.structured
    assert shown == text.replace("jo@example.org", "[redacted:email]")


def test_what_is_too_deep_is_taken_out_whole() -> None:
    deep: Any = "jo@example.org"
    for _ in range(DEPTH_MAX + 1):
        deep = [deep]
    _taken, shown = out(deep)
    assert "jo@example.org" not in str(shown)
    scan = SCANNER.scan(HandResult((), deep), look=(EVERY_KIND,))
    assert scan.found == {UNSEARCHED: 1}
    assert scan.result.structured is deep, "nothing was to be taken out"
    assert out("[" * 100_000)[1] == "[" * 100_000, "a text that is no JSON is a text"
    nested = json.dumps("jo@example.org")
    for _ in range(12):
        nested = json.dumps([nested])
        if len(nested) > 500_000:
            break
    assert "jo@example.org" not in str(out(nested)[1])


def pieces() -> Iterator[tuple[str, str]]:
    """What patterns with repetitions are slow on, a hundred kilobytes each."""
    for one in (
        "1",
        "1 ",
        "42 ",
        "a",
        "a@",
        "a@b.",
        "DE00 ",
        "1.",
        ":1",
        "+1",
        "tel ",
        "born ",
        "ssn ",
        "(",
        "4-",
        "9" * 19,
    ):
        yield one, one * (100_000 // len(one))
    mixed = random.Random(7)
    yield "all mixed", "".join(mixed.choices("0123456789 .-@:+aDEF/(tel", k=100_000))


@pytest.mark.parametrize("text", [text for _, text in pieces()], ids=[name for name, _ in pieces()])
def test_hostile_texts_take_bounded_work(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The patterns are RE2's, linear in the text; what Python does beside is counted here: no more than a few looks for
    each byte, and none after the bound."""
    looks = 0

    def counted(check: Any) -> Any:
        def look(view: bytes, match: Any) -> Iterator[tuple[int, int]]:
            nonlocal looks
            looks += 1 + (match.end() - match.start())
            yield from check(view, match)

        return look

    scanner = Scanner()
    scanner.recognisers = tuple(
        type(one)(one.id, one.kind, one.pattern, counted(one.check), one.needs) for one in BUILT_IN
    )
    scan = scanner.scan(HandResult((), text), look=(EVERY_KIND,))
    assert scan.result.structured is text
    assert looks <= min(8 * len(text), 16 * CANDIDATES_MAX)


def test_a_text_with_too_many_candidates_is_taken_out_whole() -> None:
    crowd = "joe@example.org " * 60_000
    scan = SCANNER.scan(
        HandResult(({"type": "text", "text": crowd}, {"type": "text", "text": "and jo@example.org"})),
        look=(EVERY_KIND,),
        take=("email",),
    )
    assert (scan.found, scan.taken["unsearched"]) == ({}, 1)
    assert scan.result.content == ({"type": "text", "text": "[redacted:unsearched]"},)
    assert SCANNER.scan(HandResult((), crowd), look=(EVERY_KIND,)).found[UNSEARCHED] == 1


def test_texts_that_are_looked_through_again_are_bounded() -> None:
    """An address in each of many small texts of JSON has each of them written anew, and searched by itself."""
    assert out(['["a@b.example"]'] * 100) == ({"email": 100}, ['["[redacted:email]"]'] * 100)
    many = ['["a@b.example"]'] * (CANDIDATES_MAX // 8)
    assert out(many) == ({UNSEARCHED: 1}, "[redacted:unsearched]")
    found = SCANNER.scan(HandResult((), many), look=(EVERY_KIND,)).found
    assert found == {"email": len(many)}, "nothing is written anew"


@given(st.text(alphabet=st.characters(), max_size=40), st.text(max_size=40))
def test_whatever_stands_around_it_the_span_is_the_number(before: str, after: str) -> None:
    """The way back from the view: what is cut out begins and ends where the number does."""
    text = f"{before} | {CARD} | {after}"
    view = fold(text)
    at = view.folded.find(CARD.encode())
    start, end = view.span(at, at + len(CARD))
    assert text[start:end].replace("\u200b", "")[-1] == "1"
    assert fold(text[start:end]).folded == CARD.encode()


ODD = [*"1４\u200bä…™ｊ@．.漢\x00 ﷺ\\", "\\u0041", "\\\\ufdfa", "\\ud835\\udfd2", "\\ud835\\u200b", "\\x41", "\\/"]


@given(st.lists(st.sampled_from(ODD), max_size=40).map("".join))
def test_each_byte_of_a_view_stands_for_a_character_in_order(text: str) -> None:
    view = fold(text)
    spans = [view.span(index, index + 1) for index in range(len(view.folded))]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    if spans:
        assert view.span(0, len(view.folded)) == (spans[0][0], spans[-1][1])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("+49 30 1234567 192.168.4.5", "[redacted:phone] [redacted:ip_address]"),
        ("+49 30 1234567 4111111111111111", "[redacted:phone] [redacted:card]"),
        ("+49 30 1234567 555-123-4567", None),
        ("phone 030 1234567 040 7654321", None),
        ("phone: 030 1234567 / 0171 1234567", None),
        ("+49 30 1234567 212-555-0187", None),
        ("born 12.03.1980 13.04.1981", None),
        ("+49 30 1234567/12345678Z", None),
        ("+49 30 1234567, 555-123-4567", None),
        ("jo@example.org192.168.4.5", None),
        ("+1 650 253 0000 10.0.0.1", None),
    ],
)
def test_what_stands_behind_what_was_taken_out_is_found_too(text: str, left: str | None) -> None:
    """One look is not enough: what is left has to hold nothing to the same look."""
    once = Scanner().scan(HandResult(({"type": "text", "text": text},), None), look=(), take=["*"]).result
    said = once.content[0]["text"]
    assert left in {None, said}
    assert not re.search(r"[0-9]{4}", said), said
    assert Scanner().scan(once, look=(), take=["*"]).result is once


PIECES = [
    "+49 30 1234567",
    "phone 030 1234567",
    "(212) 555-0187",
    "192.168.4.5",
    CARD,
    "12345678Z",
    "born 12.03.1980",
    "13.04.1981",
    "jo@example.org",
    "x",
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6), st.sampled_from([" ", ", ", "/", "; ", "\n", ""]))
def test_what_is_left_holds_nothing_to_another_look(pieces: list[str], between: str) -> None:
    result = HandResult(({"type": "text", "text": between.join(pieces)},), None)
    left = Scanner().scan(result, look=(), take=["*"]).result
    assert Scanner().scan(left, look=(), take=["*"]).result is left


def test_what_goes_on_and_on_is_taken_out_whole() -> None:
    """Numbers that are glued together are found one in each look."""
    glued = HandResult(({"type": "text", "text": "+4930123456784" * 12},), {"deep": ["+4930123456784" * 12]})
    scan = Scanner().scan(glued, look=(), take=["phone"])
    assert "4930" not in str(scan.result)
    assert scan.taken[UNSEARCHED] == 1


class Forgetful(set[tuple[str, str]]):
    """Has every text searched anew in every look."""

    def add(self, _: tuple[str, str]) -> None:
        """Nothing is clear."""


def forgetful() -> _Known:
    return _Known(clear=Forgetful())


TEXTS = st.builds(
    lambda pieces, between, wrap: wrap(between.join(pieces)),
    st.lists(st.sampled_from([*PIECES, "+4930123456784", "+4930123456784" * 12, "[redacted:phone]"]), max_size=4),
    st.sampled_from([" ", ", ", "", "\n"]),
    st.sampled_from([str, json.dumps, lambda text: json.dumps({"phone": text, text: [text, "x"]}) + "\n[1]"]),
)
VALUES = st.recursive(
    TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.sampled_from(["phone", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES, st.sampled_from([["*"], ["phone"], ["email", "birth_date"]]), st.sampled_from([[], ["*"]]))
def test_a_text_that_was_not_changed_holds_nothing_to_the_next_look(
    value: Any, take: list[str], look: list[str]
) -> None:
    """So that to search only what was changed gives what to search all of it would."""
    result = HandResult(({"type": "text", "text": json.dumps(value)},), {"deep": value})
    found = SCANNER.scan(result, look=look, take=take)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanner, "_Known", forgetful)
        assert SCANNER.scan(result, look=look, take=take) == found


def test_what_was_not_changed_is_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(scanner, "fold", lambda text: (read.append(text), fold(text))[1])
    glued = "+4930123456784" * 4
    scan = SCANNER.scan(HandResult((), {"a": "at rest", "b": [glued]}), look=(), take=["phone"])
    assert scan.taken == {"phone": 4}
    assert (read.count("at rest"), sum("redacted" in text for text in read)) == (1, 4)
