"""What an operator may say of a mail hand, and what agents and policies see of it."""

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.manifest import ArgumentRole
from gateway.settings import SettingsError
from hand_adapters.mail import MailAdapter
from hand_adapters.schemas import Checker
from tests.mail.conftest import ARGS, hand

TLS: dict[str, Any] = {"security": "tls", "host": "mail.example.com", "user": "u"}


@pytest.mark.parametrize(
    "mail",
    [
        {"recipients": []},
        {"recipients": ["*"]},
        {"recipients": ["*@*"]},
        {"recipients": ["*@com"]},
        {"recipients": ["*@*.example.com"]},
        {"recipients": ["a*@example.com"]},
        {"recipients": ["A@Example.com"]},
        {"recipients": ["a@bücher.example"]},
        {"recipients": ["Ann <a@example.com>"]},
        {"recipients": ["a@example.com\n"]},
        {"recipients": [f"{'a' * 65}@example.com"]},
        {"senders": []},
        {"senders": ["*@example.com"]},
        {"sender_name": "x\r\nBcc: y"},
        {"sender_name": "ceo@example.com"},
        {"sender_name": "Billing", "senders": ["a@example.com", "b@example.com"]},
        {"host": "mail.example.com/x"},
        {"user": "u"},
        {"ca_file": "/x.pem"},
        {"attachment_types": {"eml": "message/rfc822"}},
        {"attachment_types": {"x": "multipart/mixed"}},
        {"attachment_types": {"x": "text/plain; name=y"}},
        {"attachment_types": {"tar.gz": "application/gzip"}},
        {"unknown": 1},
    ],
)
def test_a_table_that_says_too_much_is_refused(mail: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        hand(mail)


@pytest.mark.parametrize(
    ("mail", "more", "where"),
    [
        ({}, {"private_network": False}, "mail.security"),
        (TLS, {"secrets": {}}, "mail.user"),
        ({**TLS, "user": None}, {"secrets": {"x": {"place": "password"}}}, "mail.user"),
        ({**TLS, "host": "10.0.0.1"}, {"private_network": False}, "mail.host"),
        ({**TLS, "host": "169.254.169.254"}, {}, "mail.host"),
        ({}, {"actions": {}}, "actions"),
        ({}, {"actions": {"send": {}, "read": {}}}, "actions"),
        ({}, {"actions": {"send": {"side_effects": "none"}}}, "side_effects"),
        ({}, {"actions": {"send": {"side_effects": "reversible"}}}, "side_effects"),
        ({}, {"actions": {"send": {"args_schema": {}}}}, "actions.send"),
        ({}, {"actions": {"send": {"args": {"/to/*": "content"}}}}, "/to/*"),
        ({}, {"actions": {"send": {"args": {"/nothing": "content"}}}}, "/nothing"),
    ],
)
def test_a_declaration_that_cannot_be_true_is_refused(mail: dict[str, Any], more: dict[str, Any], where: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        MailAdapter.validate("mail", hand(mail, **more))
    assert where in refusal.value.detail


def test_other_adapters_take_no_mail_and_mail_no_other_place_of_a_secret() -> None:
    with pytest.raises(ValidationError):
        hand({}, adapter="http", base_url="https://a.example")
    with pytest.raises(ValidationError):
        hand(TLS, secrets={"x": {"place": "bearer", "targets": ["https://a.example"]}})
    with pytest.raises(ValidationError):
        hand({}, egress=[{"host": "a.example", "paths": ["/**"]}])


async def test_agents_see_whom_they_may_write_to_and_policies_what_the_arguments_are() -> None:
    adapter = MailAdapter("mail", hand({}), None)  # type: ignore[arg-type]
    (action,) = (await adapter.manifest()).actions.values()
    properties = action.args_schema["properties"]
    assert set(properties) == {"to", "cc", "bcc", "reply_to", "subject", "text"}
    assert "ann@example\\.org" in properties["to"]["items"]["pattern"]
    assert action.roles["/bcc/*"] is ArgumentRole.RECIPIENT
    assert action.roles["/text"] is ArgumentRole.CONTENT
    assert str(action.side_effects) == "external"
    checker = Checker(action.args_schema)
    assert not checker.problems(ARGS)
    for wrong in ({"to": ["evil@y.example"]}, {"to": []}, {"html": "x"}, {"from": "bot@example.com"}, {"headers": {}}):
        assert checker.problems({**ARGS, **wrong})


async def test_whatever_an_operator_changes_has_to_be_pinned_again() -> None:
    async def digest(**mail: Any) -> str:
        return (await MailAdapter("mail", hand(mail), None).manifest()).digest  # type: ignore[arg-type]

    changes: list[dict[str, Any]] = [
        {},
        {"host": "127.0.0.2"},
        {"port": 26},
        {"senders": ["a@example.com"]},
        {"recipients": ["*@example.com"]},
        {"recipients_max": 3},
        {"internal": ["example.org"]},
        {"html": True},
        {"sender_name": "A"},
        {"attachment_types": {"pdf": "application/pdf"}},
        {"content_max_bytes": 5000},
        {"security": "starttls", "host": "mail.example.com"},
    ]
    assert len({await digest(**one) for one in changes}) == len(changes)
    assert await digest(connections_max=1) == await digest()


async def test_several_senders_are_a_choice_that_has_to_be_made() -> None:
    senders = ["a@example.com", "b@example.com"]
    adapter = MailAdapter("mail", hand({"senders": senders}), None)  # type: ignore[arg-type]
    schema = (await adapter.manifest()).actions["send"].args_schema
    assert (schema["properties"]["from"]["enum"], "from" in schema["required"]) == (senders, True)
    assert adapter.analyse("send", {**ARGS, "from": "b@example.com"})["sender"] == "b@example.com"
