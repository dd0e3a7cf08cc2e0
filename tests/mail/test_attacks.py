"""What a mail is made to do that its arguments do not say: nothing of it gets out of the place that it was given."""

import base64
import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import MailSettings
from hand_adapters.contract import HandError
from hand_adapters.mail import MailAdapter
from hand_adapters.mail.addresses import listed, pattern_of
from hand_adapters.mail.message import read, written
from hand_adapters.mail.problems import NotTaken, Problem
from hand_adapters.schemas import Checker, normalise
from tests.mail.conftest import ARGS, MAIL, hand
from tests.mail.servers import Scripted

FILES = {"attachment_types": {"pdf": "application/pdf", "csv": "text/csv", "txt": "text/plain"}}
WIDE = MailSettings(**{**MAIL, **FILES, "html": True, "attachments_max": 2, "recipients_max": 3})
CHECKER = Checker(normalise({"type": "string", "pattern": pattern_of(MAIL["recipients"])}, close=True))
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def file(name: str, content: str = b64(b"%PDF")) -> dict[str, Any]:
    return {"attachments": [{"name": name, "content": content}]}


def adapter(**mail: Any) -> MailAdapter:
    return MailAdapter("mail", hand(mail), None)  # type: ignore[arg-type]


def parsed(args: dict[str, Any]) -> EmailMessage:
    sent = written(read({**ARGS, **args}, WIDE), WIDE, "0" * 32, NOW)
    assert re.search(rb"\r(?!\n)|(?<!\r)\n|[^\x01-\x7f]", sent) is None
    assert max(map(len, sent.split(b"\r\n"))) <= 998
    found = message_from_bytes(sent, policy=SMTP)
    assert isinstance(found, EmailMessage)
    return found


ADDRESSES = [
    '"ann@example.org" <evil@y.example>',
    "ann@example.org <evil@y.example>",
    "Ann <ann@example.org>",
    "<ann@example.org>",
    "ann@example.org, evil@y.example",
    "ann@example.org;evil@y.example",
    "team:ann@example.org,evil@y.example;",
    "undisclosed-recipients:;",
    "ann(comment)@example.org",
    "ann@example.org(evil@y.example)",
    '"ann"@example.org',
    '"evil@y.example>"@example.com',
    '"a\\"b"@example.com',
    "@y.example:ann@example.org",
    "@y.example,@z.example:ann@example.com",
    "evil%y.example@example.com",
    "y.example!evil@example.com",
    "evil@y.example@example.com",
    "|/bin/sh@example.com",
    "/etc/passwd@example.com",
    "-oQ/tmp@example.com",
    "a@[127.0.0.1]",
    "a@example.com.",
    "a@.example.com",
    "a@sub.example.com",
    "a@example.com.evil.example",
    "a@evilexample.com",
    "a@EXAMPLE.com",
    "Ann@example.org",
    "ann+x@example.org",
    "a.@example.com",
    ".a@example.com",
    "a..b@example.com",
    "a@exаmple.com",
    "a@ехаmple.com",
    "a@ｅxample.com",
    "a@example。com",
    "a@xn--exmple-cua.com",
    "ä@example.com",
    "a@example.com\r\nRCPT TO:<evil@y.example>",
    "a@example.com\n",
    "a@example.com\r",
    "a@example.com\0",
    "a@example.com\u2028b",
    "a@example.com SIZE=1",
    " a@example.com",
    "a @example.com",
    "a@example.com>",
    "=?utf-8?q?evil=40y.example?=@example.com",
    f"{'a' * 65}@example.com",
    f"{'a' * 64}@{'b.' * 100}example.com",
    "postmaster",
    "@example.com",
    "*@example.com",
    "",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("field", ["to", "cc", "bcc", "reply_to"])
def test_an_address_is_a_listed_one_and_nothing_else(address: str, field: str) -> None:
    args = {**ARGS, field: address if field == "reply_to" else [address]}
    with pytest.raises(Refused) as refusal:
        adapter().analyse("send", args)
    assert refusal.value.facts["problem"] == Problem.ADDRESS
    assert refusal.value.facts["pointer"] == ("/reply_to" if field == "reply_to" else f"/{field}/0")


def test_the_schema_says_the_same_of_an_address_as_the_adapter() -> None:
    too_long = {one for one in ADDRESSES if len(one.partition("@")[0]) > 64}
    assert {one for one in ADDRESSES if not CHECKER.problems(one)} == too_long
    for one in ("ann@example.org", "a.b+c@example.com", "A_B@example.com", "o'neil@example.com"):
        assert not CHECKER.problems(one)
        assert listed(one, MAIL["recipients"])


@given(st.text(max_size=40), st.sampled_from(["", "@example.com", "@example.org"]))
def test_what_the_schema_takes_the_adapter_takes_and_nothing_else(local: str, domain: str) -> None:
    assert listed(local + domain, MAIL["recipients"]) == (not CHECKER.problems(local + domain))


@pytest.mark.parametrize(
    "subject",
    [
        "x\r\nBcc: evil@y.example",
        "x\nBcc: evil@y.example",
        "x\rBcc: evil@y.example",
        "x\r\n\r\nbody",
        "x\0",
        "x\x0bBcc: evil@y.example",
        "x\x0cBcc: evil@y.example",
        "x\x1cBcc: evil@y.example",
        "x\x85Bcc: evil@y.example",
        "x\u2028Bcc: evil@y.example",
        "x\u2029Bcc: evil@y.example",
        "=?utf-8?q?pay=20evil?=",
        "=?utf-8?b?cGF5IGV2aWw=?= now",
        "x \u202egnp.exe",
        "x \u2066y\u2069",
        "x\U000e0041",
        "x\ufeff",
        " x",
        "x ",
        "",
        "x" * 201,
    ],
)
def test_a_subject_is_the_text_that_was_judged_or_is_refused(subject: str) -> None:
    with pytest.raises(NotTaken) as refusal:
        read({**ARGS, "subject": subject}, WIDE)
    assert (refusal.value.problem, refusal.value.pointer) == (Problem.SUBJECT, "/subject")


@pytest.mark.parametrize("text", ["a\0b", "a\x08b", "a\x1bb", "a\x7fb", "a\x85b", "a\x0bb"])
@pytest.mark.parametrize("field", ["text", "html"])
def test_a_text_has_no_control_characters(text: str, field: str) -> None:
    with pytest.raises(NotTaken) as refusal:
        read({**ARGS, field: text}, WIDE)
    assert (refusal.value.problem, refusal.value.pointer) == (Problem.CHARACTERS, f"/{field}")


SMUGGLED = [
    "x\n.\nMAIL FROM:<evil@y.example>",
    "x\r\n.\r\nMAIL FROM:<evil@y.example>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\ny\r\n.\r\n",
    "x\n.\r\nMAIL FROM:<evil@y.example>",
    "x\r.\rMAIL FROM:<evil@y.example>",
    "x\r\n.\nMAIL",
    "x\r.\r\nMAIL",
    ".\n..\n...\n",
    "From me\n>From you\n",
    "y" * 5000,
    "ä" * 5000,
    "--===============\nContent-Type: text/html\n\nx",
]


@pytest.mark.parametrize("text", SMUGGLED)
async def test_a_text_ends_no_message_and_begins_none(listen: Any, connect: Any, text: str) -> None:
    """SMTP smuggling (CVE-2023-51764): servers that disagree about where a message ends see two."""
    server = Scripted()
    link = await connect(await listen(server))
    await link.send({"text": text})
    assert server.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    (whole,) = [one for one in server.heard if one.endswith(b"\r\n.\r\n")]
    assert re.search(rb"\r(?!\n)|(?<!\r)\n", whole) is None
    plain = re.sub(rb"(?m)^\.", b"", whole.removesuffix(b".\r\n"))
    found = message_from_bytes(plain, policy=SMTP)
    assert isinstance(found, EmailMessage)
    said = found.get_content().replace("\r\n", "\n").rstrip("\n")
    assert said == text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


VISIBLE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cf")), min_size=1, max_size=200)


@given(VISIBLE.filter(lambda text: text == text.strip() and "=?" not in text))
def test_a_mail_program_reads_the_subject_that_was_judged(subject: str) -> None:
    made = parsed({"subject": subject})
    assert made["subject"] == subject
    assert made.keys() == parsed({}).keys()


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"), include_characters="\n\t."), min_size=1, max_size=400))
def test_a_mail_program_reads_the_text_that_was_judged(text: str) -> None:
    made = parsed({"text": text, "html": text})
    plain, html = made.iter_parts()
    assert isinstance(plain, EmailMessage)
    assert isinstance(html, EmailMessage)
    for part in (plain, html):
        assert part.get_content().replace("\r\n", "\n").rstrip("\n") == text.rstrip("\n")


@pytest.mark.parametrize(
    ("args", "where"),
    [
        (file("a.exe"), "/attachments/0/name"),
        (file("a.pdf.exe"), "/attachments/0/name"),
        (file("a.PDF"), "/attachments/0/name"),
        (file("a"), "/attachments/0/name"),
        (file(".pdf"), "/attachments/0/name"),
        (file("../a.pdf"), "/attachments/0/name"),
        (file("a/b.pdf"), "/attachments/0/name"),
        (file("a\\b.pdf"), "/attachments/0/name"),
        (file('a";x=".pdf'), "/attachments/0/name"),
        (file("a\r\nX: y.pdf"), "/attachments/0/name"),
        (file("a\u202efdp.exe"), "/attachments/0/name"),
        (file("a\u202ecod.pdf"), "/attachments/0/name"),
        (file("a.pdf\n"), "/attachments/0/name"),
        (file("a.pdf", "no base64"), "/attachments/0/content"),
        (file("a.pdf", "YQ"), "/attachments/0/content"),
        (file("a.pdf", "YR=="), "/attachments/0/content"),
        (file("a.pdf", "YQ==\n"), "/attachments/0/content"),
        (file("a.pdf", "YQ==YQ=="), "/attachments/0/content"),
        ({"attachments": file("a.pdf")["attachments"] * 3}, "/attachments"),
    ],
)
def test_a_file_is_what_its_name_says_or_is_refused(args: dict[str, Any], where: str) -> None:
    with pytest.raises(NotTaken) as refusal:
        read({**ARGS, **args}, WIDE)
    assert (refusal.value.problem, refusal.value.pointer) == (Problem.ATTACHMENT, where)


def test_files_arrive_as_they_were_given() -> None:
    content = bytes(range(256)) * 100
    made = parsed(file("a b-1.pdf", b64(content)) | {"html": "<p>x</p>"})
    (part,) = made.iter_attachments()
    assert isinstance(part, EmailMessage)
    assert (part.get_filename(), part.get_content_type()) == ("a b-1.pdf", "application/pdf")
    assert part.get_content() == content
    (text,) = parsed(file("a.txt", b64(b"\n.\r\n\xff\0"))).iter_attachments()
    assert text.get_payload(decode=True) == b"\n.\r\n\xff\0"


def test_limits() -> None:
    for args, problem in (
        ({"to": [f"a{n}@example.com" for n in range(4)]}, Problem.RECIPIENTS),
        ({"cc": ["a@example.com", "b@example.com"], "bcc": ["c@example.com"]}, Problem.RECIPIENTS),
        ({"to": []}, Problem.RECIPIENTS),
        ({"text": "x" * 1_048_577}, Problem.SIZE),
        (file("a.pdf", b64(b"x" * 1_048_576)), Problem.SIZE),
    ):
        with pytest.raises(NotTaken) as refusal:
            read({**ARGS, **args}, WIDE)
        assert refusal.value.problem is problem
    narrow = MailSettings(**MAIL)
    with pytest.raises(NotTaken):
        read({**ARGS, "html": "<p>"}, narrow)
    with pytest.raises(NotTaken):
        read({**ARGS, **file("a.txt")}, narrow)
    with pytest.raises(NotTaken) as refusal:
        read({**ARGS, "from": "ann@example.org"}, narrow)
    assert refusal.value.pointer == "/from"


def test_a_policy_is_told_who_gets_what() -> None:
    args = {
        **ARGS,
        "cc": ["zoe@example.com"],
        "bcc": ["ben@example.org"],
        "reply_to": "ben@example.org",
        **file("a.pdf"),
    }
    assert adapter(**FILES).analyse("send", args) == {
        "kind": "mail",
        "sender": "bot@example.com",
        "recipients": ["ann@example.org", "ben@example.org", "zoe@example.com"],
        "external": ["ann@example.org", "ben@example.org"],
        "external_domains": ["example.org"],
        "hidden": ["ben@example.org"],
        "reply_to": "ben@example.org",
        "html": False,
        "attachments": [{"name": "a.pdf", "type": "application/pdf", "bytes": 4}],
        "bytes": len("HelloA text.\n") + 4,
    }


async def test_what_is_not_analysed_is_not_sent_either(listen: Any, connect: Any) -> None:
    server = Scripted()
    link = await connect(await listen(server))
    with pytest.raises(HandError) as refusal:
        await link.send({"to": ["evil@y.example"]})
    assert (refusal.value.reason, refusal.value.failure) == (Reason.SCHEMA_ANALYSIS, HandFailure.NOT_EXECUTED)
    assert server.heard == []
