"""What a person reads is the call and nothing else: hostile values can hide, reorder, imitate and steer nothing."""

import hashlib
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.canonical import sha256_canonical
from gateway.lookalikes import warnings_of
from gateway.manifest import ArgumentRole
from gateway.rendering import ARGUMENTS_MAX, HEAD_CHARACTERS, TAIL_CHARACTERS, Rendering, render

UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def request(args: Any, **changes: Any) -> dict[str, Any]:
    return {
        "id": "ap-1",
        "status": "open",
        "hand": "mail",
        "action": "send",
        "description": "Sends a message.",
        "side_effects": "external",
        "requested_by": "agent",
        "acts_for": "ada",
        "requested_at": "2026-11-21T02:00:00.000Z",
        "expires_at": "2026-11-21T03:00:00.000Z",
        "quorum": 2,
        "answers": [
            {"approver": "bob", "answer": "approve", "attested_by": "approver", "at": "1970-01-01T00:00:01.000Z"}
        ],
        "reasons": [{"code": "mail.external", "message": "Mail leaves the house."}],
        "args": args,
        "roles": {"/to": "recipient", "/links/*": "url"},
        "binding": {"args_sha256": sha256_canonical(args)},
        **changes,
    }


def rendered(args: Any, **changes: Any) -> Rendering:
    return render(request(args, **changes))


def the(rendering: Rendering, name: str) -> Any:
    assert rendering.arguments is not None
    return next(argument for argument in rendering.arguments if argument.name == name)


def test_the_exact_call_its_reasons_and_who_asked_are_all_said() -> None:
    args = {"to": "ada@example.com", "n": 3, "on": True, "off": None, "list": [], "more": {"deep": ["x", ""]}}
    shown = rendered(args)
    assert shown.arguments is not None
    assert [(argument.name, argument.kind, argument.head) for argument in shown.arguments] == [
        ("/to", "text", "ada@example.com"),
        ("/n", "number", "3"),
        ("/on", "yes or no", "true"),
        ("/off", "null", "null"),
        ("/list", "empty list", ""),
        ("/more/deep/0", "text", "x"),
        ("/more/deep/1", "empty text", ""),
    ]
    assert the(shown, "/to").role == "recipient"
    text = shown.text()
    for word in ("mail", "send", "external", "agent", "ada", "2026-11-21", "1 of 2", "Mail leaves the house."):
        assert word in text
    assert sha256_canonical(args) in text
    assert "This cannot be taken back" in text


HOSTILE = {
    "ansi": "\x1b[2Jharmless",
    "8-bit": "\x9b31m",
    "bidi override": "\u202egpj.exe",
    "isolates": "\u2066a\u2069b",
    "zero width": "a\u200bb\u200dc\ufeff",
    "carriage return": "pay 10\rpay 99",
    "tags": "\U000e0041",
    "fillers": "\u3164\u2800",
    "lone surrogate": "\ud800",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("place", ["value", "name", "reason", "description", "person", "nested"])
def test_hostile_text_anywhere_is_spelled_out(value: str, place: str) -> None:
    args: Any = {"text": value} if place == "value" else {value: 1} if place == "name" else {"a": [{"b": value}]}
    changes: dict[str, Any] = {}
    if place == "reason":
        changes["reasons"] = [{"code": "a.b", "message": value}]
    elif place == "description":
        changes["description"] = value
    elif place == "person":
        changes["acts_for"] = value
    text = render({**request({}), "args": args, **changes}).text()
    assert not any(unicodedata.category(char) in UNSEEN and char != "\n" for char in text)
    assert "\\u{" in text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=40),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    ).map(lambda value: {"v": value})
)
def test_whatever_the_call_is_it_is_shown_without_anything_that_steers(args: dict[str, Any]) -> None:
    text = render({**request({}), "args": args}).text(40)
    assert not any(unicodedata.category(char) in UNSEEN and char != "\n" for char in text)


def test_a_value_cannot_look_like_another_argument() -> None:
    shown = rendered({"body": "hello\n/to (text, recipient)\n  | ada@example.com", "to": "eve@example.com"})
    lines = shown.text(80).splitlines()
    assert [line for line in lines if line.startswith("/")] == ["/body (text)", "/to (text, recipient)"]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_long_line_is_broken_behind_its_bar_and_not_by_the_terminal(width: int) -> None:
    value = "x" * (3 * width) + "/to (text)" + "\u6f22" * width
    lines = rendered({"body": value}).text(width).split("the exact arguments:")[1].strip().splitlines()
    cells = [sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line) for line in lines[1:]]
    assert all(line.startswith(("  | ", "  : ")) for line in lines[1:])
    assert width - 2 < max(cells) <= width
    assert "".join(line[4:] for line in lines[1:]) == value


def test_what_is_cut_is_said_with_the_digest_of_the_whole_and_its_end_is_shown() -> None:
    value = "a" * 5_000 + "\u00e9 and then delete everything"
    shown = rendered({"body": value})
    body = the(shown, "/body")
    assert body.cut.sha256 == hashlib.sha256(value.encode()).hexdigest()
    assert (body.cut.of, body.cut.characters) == (len(value), len(value) - HEAD_CHARACTERS - TAIL_CHARACTERS)
    assert body.tail.endswith("delete everything")
    text = shown.text()
    assert body.cut.sha256 in text
    assert "1 value is cut below. An approval is for the whole." in text
    assert the(render(request({"body": value}), whole=True), "/body").head == value


def test_more_arguments_than_fit_are_counted() -> None:
    shown = rendered({"list": list(range(ARGUMENTS_MAX + 7))})
    assert (len(shown.arguments or ()), shown.left_out) == (ARGUMENTS_MAX, 7)
    assert f"[7 more values are not shown; SHA-256 of all arguments: {shown.args_sha256}]" in shown.text()


def test_a_member_name_or_a_reason_of_any_length_does_not_push_the_rest_away() -> None:
    shown = rendered({"n" * 100_000: 1, "to": "x"}, reasons=[{"code": "a.b", "message": "m" * 100_000}])
    assert len(shown.text()) < 5_000
    assert "more characters are not shown" in shown.text()


def test_erased_arguments_are_not_an_empty_call() -> None:
    assert "cannot be shown" in render({**request({}), "args": None}).text()
    assert "no arguments" in rendered({}).text()


LOOKALIKES = {
    "cyrillic a": ("p\u0430ypal.com", None, "mixes letters: CYRILLIC, LATIN"),
    "all cyrillic": ("\u0430\u0440\u0440\u04cf\u0435.com", None, "CYRILLIC SMALL LETTER A"),
    "greek in an address": ("ad\u03b1@example.com", None, "GREEK SMALL LETTER ALPHA"),
    "an encoded host": ("https://xn--pypal-4ve.com/", None, "It reads: p\u0430ypal"),
    "user information": ("https://bank.example@evil.example/", None, "before the @"),
    "user information is named": ("https://bank.example@evil.example/", None, "before the @ is no host: bank.example"),
    "a number for a host": ("http://2130706433/", None, "a number and not a name"),
    "a hexadecimal host": ("http://0x7f.1/", None, "a number and not a name"),
    "another port": ("https://example.com:8443/", None, "port 8443"),
    "no tls": ("http://example.com/", None, "not https but http"),
    "percent in the host": ("https://ex%61mple.com/", None, "programs read differently"),
    "an account with an odd letter": ("DE89\u0417704", ArgumentRole.ACCOUNT, "CYRILLIC CAPITAL LETTER ZE"),
    "reordering": ("\u202etxt.exe", None, "reorder the text"),
    "pushed out of sight": ("ok" + " " * 40 + "; rm -rf /", None, "white space characters stand in a row"),
    "pushed down": ("ok" + "\n" * 40 + "; rm -rf /", None, "white space characters stand in a row"),
    "padding": (" ada", None, "begins or ends with white space"),
}


@pytest.mark.parametrize(("text", "role", "expected"), LOOKALIKES.values(), ids=LOOKALIKES)
def test_what_is_not_what_it_looks_like_is_pointed_at(text: str, role: ArgumentRole | None, expected: str) -> None:
    found = warnings_of(text, role)
    assert any(expected in warning for warning in found), found
    assert all(unicodedata.category(char) not in UNSEEN for warning in found for char in warning)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Gr\u00fc\u00dfe aus K\u00f6ln",
        "\u041f\u0440\u0438\u0432\u0435\u0442 world",
        "\u6771\u4eac\u30bf\u30ef\u30fc\u306b\u884c\u304f",
        "ada@example.com",
        "two\nlines",
        "a.b",
        "https",
        "://",
        "http://[",
    ],
)
def test_ordinary_text_gets_no_warning(text: str) -> None:
    assert warnings_of(text) == []


def test_where_a_url_goes_is_said_apart_from_what_is_written_around_it() -> None:
    text = rendered({"link": "https://bank.example:pass@evil.example/https://bank.example"}).text()
    assert "> goes to the host evil.example\n" in text


@pytest.mark.parametrize("link", ["https://good.example\\@evil.example/", "https://good.example%40evil.example/"])
def test_where_programs_find_different_hosts_none_is_named(link: str) -> None:
    text = rendered({"link": link}).text()
    assert "goes to the host" not in text
    assert "is no host" not in text
    assert "programs read differently" in text


def test_a_warning_costs_no_more_than_the_value_is_long() -> None:
    for text in (
        "a@" + "." * 100_000 + " ",
        "a." * 100_000,
        " " * 100_000,
        "http://" + "a@" * 50_000,
        "\u0430a" * 50_000,
    ):
        warnings_of(text, ArgumentRole.URL)


def test_the_place_of_every_marked_argument_is_in_the_warnings() -> None:
    shown = rendered({"to": "p\u0430ypal@example.com", "links": ["https://example.com"], "body": "fine"})
    assert the(shown, "/links/0").host == "example.com"
    assert any("Look twice at: /to." in warning for warning in shown.warnings)


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({}, "Waits for people."),
        ({"your_answer": "approve"}, "Waits for people.\nYou have answered: you approved. Approvals so far: 1 of 2."),
        ({"status": "granted", "your_answer": "approve"}, "Approved.\nYou approved it."),
        ({"status": "expired"}, "Expired: nobody approved in time."),
        ({"status": "voided", "successor": "ap-2\u202e"}, "The call is asked about in another request: ap-2\\u{202e}."),
        ({"status": "paused\x1b"}, "paused\\u{1b}."),
    ],
)
def test_the_first_thing_said_is_how_far_the_request_is(changes: dict[str, Any], first: str) -> None:
    head = rendered({}, **changes).text().partition("\n\n")[0]
    assert head == first or head.endswith(first)
