"""What a call says of a message is what became of it: with a real server, and with some that hang and lie."""

import asyncio
import ssl
from typing import Any

import pytest

from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandDrifted, HandError
from tests.authority import Authority
from tests.mail.servers import PLAIN, Mailbox, Scripted, real
from tests.until import until

NOT_EXECUTED, UNKNOWN = HandFailure.NOT_EXECUTED, HandFailure.UNKNOWN
DEADLINE = 0.3


async def failing(awaitable: Any) -> tuple[Reason, HandFailure]:
    with pytest.raises(HandError) as caught:
        await awaitable
    return caught.value.reason, caught.value.failure


async def hanging(listen: Any, connect: Any, verb: str) -> tuple[Reason, HandFailure]:
    """What a call comes to whose server falls silent at a command; with more time where it did not come that far."""
    for seconds in (DEADLINE, 5.0, 60.0):
        server = Scripted({verb: None})
        hand = await connect(await listen(server))
        found = await failing(hand.send(deadline_seconds=seconds))
        if server.reached.is_set():
            return found
    raise AssertionError(f"{verb} was never said")


async def test_a_message_reaches_everybody_who_is_named_and_nobody_sees_who_is_hidden(secured: Any) -> None:
    mailbox, connect = secured
    hand = await connect(sender_name="Billing")
    args = {
        "to": ["ann@example.org"],
        "cc": ["cy@example.com"],
        "bcc": ["ben@example.org", "ann@example.org"],
        "reply_to": "ben@example.org",
        "subject": "Grüße, 你好 and a very long subject " + "word " * 20 + "end",
        "text": "first\n.\n..\nFrom here\nGrüße\n",
    }
    result = await hand.send(args)
    (envelope,) = mailbox.taken
    assert (envelope.mail_from, envelope.rcpt_tos) == (
        "bot@example.com",
        ["ann@example.org", "cy@example.com", "ben@example.org"],
    )
    read = mailbox.message()
    assert (read["subject"], read.get_content().replace("\r\n", "\n")) == (args["subject"], args["text"])
    assert (read["from"], read["to"], read["cc"]) == (
        "Billing <bot@example.com>",
        "ann@example.org",
        "cy@example.com",
    )
    assert read["reply-to"] == "ben@example.org"
    assert "bcc" not in read
    assert envelope.content.count(b"ben@example.org") == 1  # as the one to reply to
    assert mailbox.secure == [True]
    assert result.structured == {
        "message_id": read["message-id"].strip("<>"),
        "recipients": envelope.rcpt_tos,
        "code": 250,
    }
    assert result.content[0]["text"] == "2.0.0 queued as 4711"
    (asked,) = hand.asked
    assert f"{asked[0]}://{asked[1]}:{asked[2]}" == hand.adapter._mail.origin


async def test_a_wrong_password_sends_nothing(secured: Any) -> None:
    mailbox, connect = secured
    hand = await connect(user="somebody@example.com")
    assert await failing(hand.send()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert mailbox.taken == []


async def test_a_server_is_who_its_certificate_says_or_is_told_nothing(secured: Any, tmp_path: Any) -> None:
    mailbox, connect = secured
    other = Authority(tmp_path / "other")
    for change in ({"ca_file": other.certificate}, {"ca_file": None}, {"host": "localhost"}):
        hand = await connect(**change)  # the certificate names the address alone
        assert await failing(hand.send()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert mailbox.taken == []


async def test_a_server_that_refuses_one_recipient_is_given_the_message_for_nobody(listen: Any, connect: Any) -> None:
    mailbox = Mailbox(refused={"ben@example.org": "550 5.1.1 no such user", "cy@example.com": "451 later"})
    hand = await connect(await listen(real(mailbox)))
    result = await hand.send({"to": ["ann@example.org", "ben@example.org", "cy@example.com"]})
    assert result.is_error
    assert result.structured == {
        "error": "recipients",
        "code": 550,
        "temporary": False,
        "refused": [{"address": "ben@example.org", "code": 550}, {"address": "cy@example.com", "code": 451}],
    }
    assert mailbox.taken == []


@pytest.mark.parametrize(
    ("verb", "said", "part", "temporary"),
    [
        ("MAIL", b"550 not you\r\n", "sender", False),
        ("MAIL", b"452 full\r\n", "sender", True),
        ("RCPT", b"550 not them\r\n", "recipients", False),
        ("DATA", b"451 not now\r\n", "message", True),
        (".", b"554 spam\r\n", "message", False),
        (".", b"421 going down\r\n", "message", True),
    ],
)
async def test_what_a_server_refuses_nobody_gets(
    listen: Any, connect: Any, verb: str, said: bytes, part: str, temporary: bool
) -> None:
    server = Scripted({verb: said})
    hand = await connect(await listen(server))
    result = await hand.send()
    assert (result.is_error, result.structured["error"], result.structured["temporary"]) == (True, part, temporary)


@pytest.mark.parametrize("verb", ["GREETING", "EHLO", "MAIL", "RCPT"])
async def test_a_server_that_hangs_or_breaks_off_before_the_message_has_not_got_it(
    listen: Any, connect: Any, verb: str
) -> None:
    assert await hanging(listen, connect, verb) == (Reason.HAND_TIMEOUT, NOT_EXECUTED)
    for said in (b"", b"nonsense\r\n", b"250-" + b"x" * 100_000, b"250-a\r\n" * 20_000, b"\xff\xfe\r\n"):
        hand = await connect(await listen(Scripted({verb: said})))
        assert await failing(hand.send()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)


@pytest.mark.parametrize("verb", ["DATA", "."])
async def test_a_server_that_hangs_or_breaks_off_after_it_may_have_the_message(
    listen: Any, connect: Any, verb: str
) -> None:
    assert await hanging(listen, connect, verb) == (Reason.HAND_TIMEOUT, UNKNOWN)
    for said in (b"", b"nonsense\r\n", b"299 maybe\r\n", b"250-" + b"x" * 100_000):
        hand = await connect(await listen(Scripted({verb: said})))
        assert await failing(hand.send()) == (Reason.HAND_LOST_REPLY, UNKNOWN)


@pytest.mark.parametrize("said", [None, b"", b"nonsense\r\n", b"500 no\r\n"])
async def test_a_goodbye_that_goes_wrong_changes_nothing(listen: Any, connect: Any, said: bytes | None) -> None:
    hand = await connect(await listen(Scripted({"QUIT": said})))
    result = await hand.send()
    assert (result.is_error, result.structured["code"]) == (False, 250)


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA"])
async def test_a_server_that_answers_twice_is_not_believed_beyond_the_next_question(
    listen: Any, connect: Any, verb: str
) -> None:
    """A reply too many would be taken for the answer to the next command, and so for one to the message."""
    said = PLAIN.get(verb, b"250 OK\r\n")
    hand = await connect(await listen(Scripted({verb: said + said})))
    assert await failing(hand.send()) == (Reason.HAND_LOST_REPLY, UNKNOWN)


async def test_a_freeze_breaks_the_connection_off(listen: Any, connect: Any) -> None:
    server = Scripted({".": None})
    hand = await connect(await listen(server))
    sending = asyncio.create_task(hand.send())
    await server.reached.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await server.ended.wait()


@pytest.mark.parametrize("verb", ["GREETING", "EHLO", "MAIL", "."])
async def test_a_connection_under_tls_that_was_broken_off_leaves_nothing_to_the_next(
    listen: Any, connect: Any, authority: Authority, server_tls: ssl.SSLContext, verb: str
) -> None:
    """Who says goodbye to TLS waits for the other side. The next socket has the same number as the one before, and the
    event loop must not think it still in use."""
    server = Scripted({verb: None})
    hand = await connect(await listen(server, server_tls), security="tls", ca_file=authority.certificate)
    for _ in range(3):
        server.reached.clear()
        sending = asyncio.create_task(hand.send())
        await until(lambda sending=sending: server.reached.is_set() or sending.done())
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


@pytest.mark.parametrize("said", [b"421 closing\r\n", b"221 bye\r\n", b"500 no\r\n"])
async def test_neither_does_one_whose_goodbye_is_not_answered_in_tls(
    listen: Any, connect: Any, authority: Authority, server_tls: ssl.SSLContext, said: bytes
) -> None:
    held: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """It answers, and goes on listening."""
        held.append(writer)
        server = Scripted({"QUIT": said})
        await server._say(writer, "GREETING")
        while line := await reader.readline():
            verb = line.split()[0].decode()
            await server._say(writer, verb)
            if verb == "DATA":
                await reader.readuntil(b"\r\n.\r\n")
                await server._say(writer, ".")
            if verb == "QUIT":
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                return

    silent = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls)
    port = silent.sockets[0].getsockname()[1]
    hand = await connect(port, security="tls", ca_file=authority.certificate)
    try:
        for _ in range(3):
            assert (await hand.send()).structured["code"] == 250
    finally:
        for writer in held:
            writer.transport.abort()
        silent.close()
        await silent.wait_closed()


async def test_nobody_listens(connect: Any, listen: Any) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    hand = await connect(port)
    assert await failing(hand.send()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)


async def test_a_name_that_leads_into_the_own_network_is_not_dialled(listen: Any, connect: Any) -> None:
    server = Scripted()
    hand = await connect(await listen(server), host="localhost")
    hand.adapter._private_network = False
    assert await failing(hand.send()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert server.heard == []


async def test_starttls_is_not_left_out_because_somebody_on_the_way_took_it_out(
    listen: Any, connect: Any, authority: Authority
) -> None:
    for says in ({}, {"STARTTLS": b"454 not now\r\n", "EHLO": b"250-a\r\n250 STARTTLS\r\n"}):
        server = Scripted(dict(says))
        port = await listen(server)
        hand = await connect(port, security="starttls", user="u", ca_file=authority.certificate)
        assert await failing(hand.send()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
        assert {"AUTH", "MAIL"}.isdisjoint(server.verbs())


async def test_what_stood_in_clear_behind_the_answer_to_starttls_is_not_believed(
    listen: Any, connect: Any, authority: Authority, server_tls: ssl.SSLContext
) -> None:
    """A reply that was put into the buffer before TLS would answer the first command under it (CVE-2021-38371)."""
    injected = b"220 go ahead\r\n250-evil.example\r\n250 AUTH LOGIN\r\n"
    says: dict[str, Any] = {"EHLO": b"250-a\r\n250 STARTTLS\r\n", "STARTTLS": injected}
    server = Scripted(says, server_tls)
    hand = await connect(await listen(server), security="starttls", user="u", ca_file=authority.certificate)
    assert await failing(hand.send()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert "AUTH" not in server.verbs()


async def test_a_password_goes_by_no_way_that_was_not_chosen(
    listen: Any, connect: Any, authority: Authority, server_tls: ssl.SSLContext
) -> None:
    server = Scripted({"EHLO": b"250-a\r\n250 AUTH CRAM-MD5 XOAUTH2\r\n"})
    hand = await connect(await listen(server, server_tls), security="tls", user="u", ca_file=authority.certificate)
    assert await failing(hand.send()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert "AUTH" not in server.verbs()


async def test_more_calls_than_connections_wait_for_each_other(listen: Any, connect: Any) -> None:
    server = Scripted({".": None})
    hand = await connect(await listen(server), connections_max=1)
    first = asyncio.create_task(hand.send(step_id="one"))
    await server.reached.wait()
    assert await failing(hand.send(step_id="two", deadline_seconds=DEADLINE)) == (Reason.HAND_TIMEOUT, NOT_EXECUTED)
    first.cancel()
    await asyncio.wait([first])


async def test_the_same_call_is_the_same_message_and_another_is_another(listen: Any, connect: Any) -> None:
    mailbox = Mailbox()
    hand = await connect(await listen(real(mailbox)))

    async def sent(args: dict[str, Any] | None = None, **changes: Any) -> str:
        return str((await hand.send(args, **changes)).structured["message_id"])

    key = {"idempotency_key": "k"}
    assert await sent() == await sent()
    assert await sent() != await sent(step_id="other")
    assert await sent(**key) == await sent(plan_id="other", step_id="other", **key)
    others = [await sent(**key), await sent(idempotency_key="l"), await sent(principal_id="bea", **key)]
    assert len({*others, await sent(tenant="acme", **key), await sent({"text": "other"}, **key)}) == 5


async def test_another_declaration_than_the_pinned_one_sends_nothing(listen: Any, connect: Any) -> None:
    server = Scripted()
    hand = await connect(await listen(server))
    hand.digest = "0" * 64
    with pytest.raises(HandDrifted):
        await hand.send()
    assert server.heard == []


async def test_a_server_that_takes_no_such_size_is_asked_before_the_message(listen: Any, connect: Any) -> None:
    mailbox = Mailbox()
    hand = await connect(await listen(real(mailbox, data_size_limit=1000)))
    result = await hand.send({"text": "x" * 2000})
    assert (result.structured["error"], result.structured["code"]) == ("sender", 552)
    await until(lambda: mailbox.taken == [])
