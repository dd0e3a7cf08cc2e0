"""A mail hand keeps its promises (``handrail hands check``) at a real server."""

from typing import Any

from hand_adapters.conformance import Options, Promise, Status, check_adapter
from hand_adapters.mail import MailAdapter
from tests.mail.conftest import ARGS, MAIL
from tests.mail.servers import PASSWORD, USER, Mailbox, authenticate, real


async def test_a_mail_hand(listen: Any, authority: Any, server_tls: Any) -> None:
    mailbox = Mailbox()
    login = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    port = await listen(real(mailbox, **login), server_tls)
    settings = {
        "adapter": "mail",
        "private_network": True,
        "actions": {"send": {}},
        "mail": {**MAIL, "port": port, "security": "tls", "user": USER, "ca_file": authority.certificate},
        "secrets": {"mail": {"place": "password"}},
    }
    options = Options(
        examples=6,
        seed=5,
        allow_effects=frozenset({"send"}),
        inputs={"send": [ARGS, {**ARGS, "to": ["ben@example.org"], "subject": "Again"}]},
        secrets={"mail": PASSWORD},
    )
    report = await check_adapter(MailAdapter, settings, options=options)
    assert not report.broken, report.text()
    kept = {one.promise for one in report.verdicts if one.status is Status.KEPT}
    assert kept >= {Promise.DECLARATION, Promise.SCHEMAS, Promise.ANALYSIS, Promise.SECRETS}
    reached = {recipient for envelope in mailbox.taken for recipient in envelope.rcpt_tos}
    assert {"ann@example.org", "ben@example.org"} <= reached
    assert all(one in MAIL["recipients"] or one.endswith("@example.com") for one in reached), "only who is listed"
