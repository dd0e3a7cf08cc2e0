"""By what keys and tokens are known: alike in what may be configured, in what leaves in a request, and in what the
shipped rule denies."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Malformed
from gateway.personal_data import SECRET_KIND, Scanner, taken_out
from gateway.policy.bundle import load
from gateway.secret_forms import FORMS
from gateway.settings import holds_a_secret
from tests.policy.support import SHIPPED, ask, step
from tests.regorus_engine import engine_of

MARK = "[redacted:secret]"
REST = "aB3" * 14
TOKENS = [
    *(f"{prefix}{REST}" for prefix in ("ghp_", "github_pat_", "glpat-", "xoxb-", "sk-ant-", "sk-proj-", "sk_live_")),
    *(f"{prefix}{REST}" for prefix in ("rk_live_", "npm_", "pypi-", "hf_", "hr_")),
    *(f"xox{one}-" + "a_" * 8 for one in "abeoprs"),
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    f"AIza{REST[:35]}",
    "https://ann:pass@host.example/x",
]


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token[:6])
def test_what_may_not_be_configured_in_the_clear_does_not_leave_either(token: str) -> None:
    assert holds_a_secret("WORD", f"is {token}")
    request = {"messages": [{"role": "user", "content": f"is {token}"}]}
    assert taken_out(request, Scanner(), [SECRET_KIND]) is not request


@pytest.mark.parametrize(
    "word", ["hr_department", "shelf_of_books_and_more", "math_hf_", "AIza", "sk-", "three_of_four_words"]
)
def test_words_are_no_tokens(word: str) -> None:
    assert not holds_a_secret("WORD", word)
    request = a_text(word)
    assert less(request) is request


HEX, LETTERS = "0123456789abcdef" * 4, "aZ3" * 30
SAMPLES = {
    "age": ["AGE-" + "SECRET-KEY-1" + "A7" * 29],
    "api_key": ["sk-" + LETTERS[:20], "sk-" + "ant-api03-" + LETTERS[:40] + "-_A"],
    "aws": ["AKIA" + "ABCDEFGHIJKLMNOP", "ASIA" + "ABCDEFGHIJKLMNOP"],
    "azure": ["AccountKey=" + LETTERS[:50] + "/+==", "SharedAccessKey=" + LETTERS[:43] + "="],
    "bearer": [
        "eyJ" + "hbGciOiJFZDI1NTE5In0.eyJ" + "zdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
        "eyJ" + "a" * 9 + ".eyJ" + "b" * 9 + ".",
    ],
    "databricks": ["dapi" + HEX[:32], "dapi" + HEX[:32] + "-2"],
    "digitalocean": ["dop_v1_" + HEX, "doo_v1_" + HEX],
    "github": [*(f"gh{one}_" + LETTERS[:36] for one in "pousr"), "github_pat_" + LETTERS[:22] + "_" + LETTERS[:59]],
    "gitlab": ["glpat-" + LETTERS[:20], "gldt-" + LETTERS[:20], "glrt-" + LETTERS[:20]],
    "google": ["AIza" + LETTERS[:35], "GOCSPX-" + LETTERS[:28], "ya29." + LETTERS[:60]],
    "handrail": ["hr_" + HEX[:16] + "_" + LETTERS[:43]],
    "hugging_face": ["hf_" + LETTERS[:34]],
    "linear": ["lin_api_" + LETTERS[:40]],
    "npm": ["npm_" + LETTERS[:36]],
    "private_key": [
        "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIE\n-----END RSA PRIVATE " + "KEY-----",
        "-----BEGIN PGP PRIVATE " + "KEY BLOCK-----\nVersion: 1\n\nlQOY\n-----END PGP PRIVATE " + "KEY BLOCK-----",
        "-----BEGIN PRIVATE " + "KEY-----\nMIIE",
        "MIIE\n-----END PRIVATE " + "KEY-----",
        "PuTTY-User-" + "Key-File-3: ssh-ed25519\nPrivate-Lines: 1\nMIIE\nPrivate-MAC: 0a1b",
    ],
    "pulumi": ["pul-" + HEX[:40]],
    "pypi": ["pypi-" + "AgEIcHlwaS5vcmc" + LETTERS],
    "sendgrid": ["SG." + LETTERS[:22] + "." + LETTERS[:43]],
    "shopify": ["shpat_" + HEX[:32], "shpss_" + HEX[:32]],
    "slack": ["xoxb-" + "1234567890-abcdef", "hooks.slack.com" + "/services/T0001/B0001/" + LETTERS[:24]],
    "stripe": ["sk_" + "live_" + LETTERS[:24], "rk_" + "test_" + LETTERS[:24], "whsec_" + LETTERS[:32]],
    "vault": ["hvs." + LETTERS[:24], "hvb." + LETTERS[:60]],
}
EACH = [(f"{kind}-{number}", one) for kind, some in SAMPLES.items() for number, one in enumerate(some)]
BEFORE = ["", " ", "\n", "\t", '"', "'", "=", "\\n", "\\t", "\\\\n", "\\u2028", "\u200b", "/", "TOKEN_"]
RULE = Path(SHIPPED / "handrail" / "secrets" / "data.json")


def spelled(text: str) -> str:
    """With its letters as escapes of JSON."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


def a_text(text: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


def less(request: Mapping[str, Any]) -> Mapping[str, Any]:
    return taken_out(request, Scanner(), [SECRET_KIND])


def told(text: str) -> str:
    """What is left of a text in a request."""
    said = less(a_text(text))["messages"][0]["content"]
    assert isinstance(said, str)
    return said


@pytest.fixture(scope="module")
def rule() -> Callable[[Any], bool]:
    """Whether the shipped rule finds a secret in args."""
    engine = engine_of(load(SHIPPED))

    def finds(args: Any) -> bool:
        engine.set_input_json(json.dumps(ask({**step(), "args": args})))
        answer = json.loads(engine.eval_query_as_json("data.handrail.secrets.decisions"))
        return bool(answer["result"][0]["expressions"][0]["value"])

    return finds


def test_the_rule_and_the_gateway_have_one_list() -> None:
    """A gateway runs with bundles of its operator's, so it does not read the forms from there."""
    assert json.loads(RULE.read_text())["patterns"] == FORMS
    assert SAMPLES.keys() == FORMS.keys()


BEGINNINGS = {"api_key-0", "github-0", "private_key-0"}  # like a word, like a prefix, and with a line of its own
PLACED = {
    f"{name} behind {before!a}": (secret, before)
    for name, secret in EACH
    for before in (BEFORE if name in BEGINNINGS else [" "])
}


@pytest.mark.parametrize(("secret", "before"), PLACED.values(), ids=PLACED)
def test_what_the_rule_denies_is_taken_out_whole(rule: Callable[[Any], bool], secret: str, before: str) -> None:
    text = f"a{before}{secret}; and more" if before else secret
    assert rule(a_text(text))
    left = told(text)
    assert not rule(a_text(left))
    at_the_end = "Private-MAC" not in secret and "END" not in secret and secret.startswith("-----")
    after = "" if at_the_end or not before else "; and more"
    # Of a key whose beginning is not there, the line before it may be a part.
    assert left.startswith(("a", MARK) if "END" in secret else "a" if before else MARK)
    assert left.endswith(MARK + after)
    assert {"MIIE", "lQOY"}.isdisjoint(re.findall(r"\w+", left))


PIECES = [one for _, one in EACH] + BEFORE + [MARK, "{", "}", "[", "]", ":", ",", "-----", "a", "sk", "-", "_", "A"]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
WRAPPED = st.one_of(
    TEXTS,
    TEXTS.map(json.dumps),
    st.lists(TEXTS, min_size=1, max_size=3).map(lambda some: json.dumps({one: [one] for one in some}, indent=1)),
    st.lists(TEXTS, min_size=2, max_size=3).map(lambda some: "\n".join(json.dumps({"out": one}) for one in some)),
    TEXTS.map(lambda text: json.dumps({"deep": json.dumps({"out": text})})),
)


@given(WRAPPED, WRAPPED)
def test_whatever_the_rule_finds_is_taken_out_so_that_it_finds_nothing(
    rule: Callable[[Any], bool], one: str, other: str
) -> None:
    call = {"type": "tool_use", "id": "t", "name": "T", "input": {one: {other: [one]}}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": one, "note": other}]}
    request = {
        "model": "m",
        "messages": [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}],
        "system": one,
        "tools": [{"name": "T", "description": other, "input_schema": {"type": "object", one: {}}}],
    }
    left = less(request)
    assert not rule(left)
    assert less(left) == left
    assert less({"requests": [{"custom_id": "a", "params": request}]})["requests"][0]["params"] == left


SPELLINGS: dict[str, tuple[str, Callable[[str], str]]] = {
    "escapes": ("a %s b", spelled),
    "some escapes": ("a %s b", lambda token: spelled(token[:2]) + token[2:]),
    "escapes in JSON": ('{"out": "a %s b"}', spelled),
    "escapes in JSON in JSON": (r'{"out": "{\"deep\": \"%s\"}"}', lambda token: spelled(token).replace("\\", "\\\\")),
    "the name of a member": ('{"%s": 1}', spelled),
    "the second line of NDJSON": ('{"a": 1}\n{"out": "%s"}', spelled),
    "a line of a log": ('12:00 INFO {"out": "%s"} sent', spelled),
    "escapes of a program": ("a %s b", lambda token: "".join(f"\\x{ord(character):02x}" for character in token)),
    "full-width letters": (
        "a %s b",
        lambda token: "".join(chr(ord(one) + 0xFEE0) if one.isalnum() else one for one in token),
    ),
    "letters that show nothing": ("a %s b", "\u200b".join),
}


@pytest.mark.parametrize(("around", "spelling"), SPELLINGS.values(), ids=SPELLINGS)
def test_it_is_taken_out_however_it_is_spelled(around: str, spelling: Callable[[str], str]) -> None:
    text = around % spelling(f"ghp_{LETTERS[:36]}")
    assert told(text) == around % MARK
    described = {**a_text("x"), "tools": [{"name": "T", "description": text}]}
    assert less(described)["tools"][0]["description"] == around % MARK


def test_slashes_of_a_webhook_that_are_escaped_hide_nothing() -> None:
    hook = "https://" + SAMPLES["slack"][1]
    assert told('{"url": "' + hook.replace("/", "\\/") + '"}') == f'{{"url": "https://{MARK}"}}'


def test_of_json_all_else_stays_as_it_is_written() -> None:
    text = '{ "v": 1.10,\n\t"v": 1e2, "k": "%s", "u": "\\u00e9\\/", "n": 12345678901234567890 }\n'
    assert told(text % f"is ghp_{REST}") == text % f"is {MARK}"
    assert told(text % f"\\u00e9 ghp_{REST}") == text % f"\\u00e9 {MARK}", "escapes beside it stay escapes"


def test_a_private_key_that_is_cut_off_ends_with_its_text() -> None:
    cut = SAMPLES["private_key"][2]
    text = json.dumps({"key": cut, "more": "stays"})
    assert json.loads(told(text)) == {"key": MARK, "more": "stays"}


@pytest.mark.parametrize("before", BEFORE[1:])
def test_a_token_is_found_behind_an_escape_and_behind_a_name(before: str) -> None:
    assert REST not in told(f'{{"out":"$ cat t{before}ghp_{REST}"}}')


def test_a_member_that_is_called_like_a_token_is_not_there_any_more() -> None:
    """Two of them are still two."""
    request = {**a_text("x"), f"ghp_{REST}": 1, f"gho_{REST}": 2, f"{MARK} 2": 3}
    found = less(request)
    assert list(found.items())[2:] == [(MARK, 1), (f"{MARK} 2", 2), (f"{MARK} 2 2", 3)]
    assert json.loads(told(json.dumps({f"ghp_{REST}": 1, f"gho_{REST}": 2}))) == {MARK: 1, f"{MARK} 2": 2}


def blocks(*some: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [*some]}]}


BATCH = {"custom_id": f"ghp_{LETTERS[:36]}", "params": a_text("x")}
CALL = {"type": "tool_use", "id": f"ghp_{LETTERS[:36]}", "name": "T", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": f"ghp_{LETTERS[:36]}", "content": "x"}
IDENTIFIERS = {
    "/requests/1/custom_id": {"requests": [{"custom_id": "a", "params": a_text("x")}, BATCH]},
    "/messages/0/content/0/id": blocks(CALL),
    "/messages/0/content/1/tool_use_id": blocks({"type": "text", "text": "x"}, RESULT),
    "/messages/0/content/0/name": blocks({**CALL, "id": "t", "name": f"ghp_{REST}"}),
    "/requests/0/params/messages/0/content/0/id": {"requests": [{"custom_id": "a", "params": blocks(CALL)}]},
}


@pytest.mark.parametrize(("pointer", "request_"), IDENTIFIERS.items(), ids=IDENTIFIERS)
def test_a_secret_in_an_identifier_is_refused_with_its_place(pointer: str, request_: Mapping[str, Any]) -> None:
    """With a mark in its place a result would belong to no call, or to another one."""
    with pytest.raises(Malformed) as refused:
        less(request_)
    assert (refused.value.facts["pointer"], refused.value.facts["problem"]) == (pointer, "secret")
    assert LETTERS[:36] not in str(refused.value.facts)


def test_an_identifier_that_only_begins_like_a_token_is_none() -> None:
    batch = {"requests": [{"custom_id": "hr_department_headcount_2026", "params": a_text("x")}]}
    assert less(batch) is batch


def test_what_looks_like_a_block_and_is_none_hides_nothing() -> None:
    """Only where blocks stand does a type say that something is signed, or an id."""
    hiding = {"type": "thinking", "signature": f"ghp_{REST}", "id": f"ghp_{REST}"}
    call = {"type": "tool_use", "id": "t", "name": "T", "input": {"deep": [hiding]}}
    left = less({**blocks(call), "tools": [hiding]})
    assert REST not in json.dumps(left)
    assert REST not in json.dumps(less(blocks({"type": ["thinking"], "x": f"ghp_{REST}"})))


def test_what_is_signed_or_encoded_stays_as_it_is() -> None:
    request = blocks(
        {"type": "thinking", "thinking": f"ghp_{REST}", "signature": "c2ln"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AKIA" + "ABCDEFGHIJKLMNOP"}},
        {"type": "text", "text": "x", "citations": [{"cited_text": f"ghp_{REST}"}]},
    )
    assert less(request) is request
