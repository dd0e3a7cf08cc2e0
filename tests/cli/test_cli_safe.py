"""Text from tools, plans and logs cannot move the cursor, hide, reorder or restyle anything."""

import json
import unicodedata

import pytest

from gateway.cli.output import Output, how_often
from gateway.safe import safe, safe_json

ATTACKS = {
    "clear screen": "\x1b[2J\x1b[H",
    "8-bit CSI": "\x9b2J",
    "window title": "\x1b]0;owned\x07",
    "hyperlink": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "carriage return": "deny\rallow",
    "backspace": "deny\b\b\b\ballow",
    "line feed": "one\ntwo",
    "right-to-left override": "\u202egpj.exe",
    "isolate": "\u2066x\u2069",
    "arabic letter mark": "\u061c",
    "zero width space": "a\u200bb",
    "zero width joiner": "a\u200db",
    "byte order mark": "\ufeff",
    "soft hyphen": "a\u00adb",
    "tag letters": "\U000e0041\U000e0042",
    "hangul filler": "\u3164",
    "braille blank": "\u2800",
    "no-break space": "a\u00a0b",
    "line separator": "a\u2028b",
    "variation selector": "a\ufe0f",
    "lone surrogate": "\ud800",
    "private use": "\ue000",
    "delete": "\x7f",
    "null": "\x00",
    "zalgo": "a" + "\u0301" * 30,
}


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_text_is_spelled_out(text: str) -> None:
    shown = safe(text)
    assert "\\u{" in shown
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for char in shown)
    shown.encode()


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_text_in_json_for_people_is_spelled_out_and_keeps_its_lines(text: str) -> None:
    shown = safe_json({"a": text, text: 1})
    assert shown.count("\n") == 3
    assert "\x1b" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize(
    "text", ["plain", "Gr\u00fc\u00dfe, \u65e5\u672c\u8a9e, \u05e9\u05dc\u05d5\u05dd", "e\u0301", "\U0001f600"]
)
def test_ordinary_text_of_any_script_stays(text: str) -> None:
    assert safe(text) == text


def test_lines_are_kept_only_where_asked_for() -> None:
    assert safe("a\nb", lines=True) == "a\nb"
    assert safe("a\nb") == "a\\u{a}b"
    assert safe("a\r\nb", lines=True) == "a\\u{d}\nb"


def test_what_is_not_text_is_shown_as_text() -> None:
    assert (safe(None), safe(7), safe(["\x1b"])) == ("", "7", "['\\x1b']")


def test_markup_and_emoji_codes_are_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    hostile = "[bold red]x[/] [link=https://evil.example]y[/link] :bomb:"
    out.line(hostile)
    out.table(["a"], [[hostile]])
    out.facts([(hostile, hostile)])
    out.block(hostile)
    out.note(hostile)
    out.error(hostile, hostile, hostile, {"pointer": hostile})
    captured = capsys.readouterr()
    assert captured.out.count("[bold red]x[/]") == 5
    assert captured.err.count("[bold red]x[/]") == 5
    assert "\U0001f4a3" not in captured.out + captured.err


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_nothing_printed_holds_a_control_character(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.line(text)
    out.table(["a"], [[text]])
    out.facts([(text, [text])])
    out.block({"x": text})
    out.note(text)
    out.error(text, text, text)
    captured = capsys.readouterr()
    for char in (captured.out + captured.err).replace("\n", ""):
        assert unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def test_json_output_is_ascii_and_exact(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(json_=True)
    document = {name: text for name, text in ATTACKS.items() if name != "lone surrogate"}
    out.show(document, lambda: None)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert "\x1b" not in printed
    assert json.loads(printed) == document


def test_a_section_begins_with_an_empty_line_and_no_escaped_one(capsys: pytest.CaptureFixture[str]) -> None:
    Output().section("one\ntwo")
    assert capsys.readouterr().out == "\none\\u{a}two\n"


def test_facts_and_cells_that_are_no_text_are_shown_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [{"pointer": "/n", "problem": "type"}]
    out = Output()
    out.error("refused", "Mend it.", "schema.args", {"problems": problems, "limit": 3, "open": True, "name": "plain"})
    out.facts([("problems", problems), ("binding", {"step": "a"})])
    said = capsys.readouterr()
    shown = 'problems=[{"pointer": "/n", "problem": "type"}], limit=3, open=true, name=plain'
    assert shown in " ".join(said.err.split())
    assert '{"pointer": "/n", "problem": "type"}' in said.out
    assert '{"step": "a"}' in said.out
    assert "'" not in said.err + said.out, "nothing as Python writes it"


def test_a_count_of_times_is_said_as_people_say_it() -> None:
    assert [how_often(count) for count in (1, 2, 10)] == ["once", "2 times", "10 times"]
