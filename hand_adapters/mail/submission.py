"""One message given to one server (SMTP, RFC 5321; submission, RFC 6409) over a connection of its own.

All recipients or none: where the server refuses one of them, the message is not sent to the others. So what was
approved is what happened, and there is no half of it to tell of.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import aiosmtplib

from gateway.settings import MailSettings
from hand_adapters.dialer import connected
from hand_adapters.mail.addresses import domain_of

QUIT_SECONDS: Final = 0.5
"""How long a server may take to say goodbye, once what counts is known."""
_WORDS_MAX: Final = 300
"""Characters of a server's own words."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server took responsibility for the message (RFC 5321 section 6.1)."""

    code: int
    words: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The server said no, and nobody gets the message.

    Attributes:
        part: ``sender``, ``recipients`` or ``message``.
        code: of its reply; 4xx passes by, 5xx does not (RFC 5321 section 4.2.1).
        refused: the recipients that it does not take, each with the code.
    """

    part: str
    code: int
    words: str
    refused: Sequence[tuple[str, int]] = ()


Outcome = Accepted | Rejected
"""What a server said of a message."""


@dataclass(slots=True)
class Attempt:
    """What became of one message.

    Attributes:
        sent: it may have reached the server.
        outcome: what the server said of it, once it did.
    """

    sent: bool = False
    outcome: Outcome | None = None


class Unreachable(Exception):
    """No server that could be spoken to, or one that broke off."""


async def submit(
    mail: MailSettings,
    tls: ssl.SSLContext | None,
    password: str | None,
    envelope: tuple[str, Sequence[str]],
    message: bytes,
    attempt: Attempt,
    *,
    private_network: bool,
) -> Outcome:
    """Give a message to the server; what it says of it. Cancelled, it breaks the connection off.

    Args:
        tls: what its certificate is judged by; ``None`` where no TLS is spoken.
        envelope: sender and recipients.

    Raises:
        Unreachable: it said nothing of it; before ``attempt.sent`` nobody gets the message, after it nobody knows.
    """
    sender, recipients = envelope
    try:
        async with _connection(mail, tls, sender, private_network=private_network) as client:
            if mail.user is not None:
                await _log_in(client, mail.user, password or "")
            outcome: Outcome | None = await _envelope(client, sender, recipients, len(message))
            if outcome is None:
                attempt.sent = True
                outcome = await _data(client, message)
            attempt.outcome = outcome
            await _quit(client)
            return outcome
    except (aiosmtplib.SMTPException, OSError, ValueError) as exc:
        raise Unreachable(type(exc).__name__) from None


class _Client(aiosmtplib.SMTP):
    """One that breaks a connection off where the library closes it.

    Under TLS closing means to say goodbye and to wait for the other side, while the transport goes on to hold the
    socket; a socket that was closed under it gives its number to the next one, which the event loop then refuses.
    """

    def close(self) -> None:
        """End the connection at once, whatever lies in a buffer."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
        super().close()


@contextlib.asynccontextmanager
async def _connection(
    mail: MailSettings, tls: ssl.SSLContext | None, sender: str, *, private_network: bool
) -> AsyncIterator[aiosmtplib.SMTP]:
    """A greeted server, under TLS where it is to be. Broken off at the end."""
    host, port = mail.address
    sock = await connected(host, port, private_network=private_network)
    client = _Client(
        hostname=host,
        sock=sock,
        timeout=None,
        use_tls=mail.security == "tls",
        start_tls=False,
        tls_context=tls,
        local_hostname=domain_of(sender),
    )
    try:
        await client.connect()
        if mail.security == "starttls":
            await client.starttls()
        await client.ehlo()
        yield client
    finally:
        client.close()
        with contextlib.suppress(OSError):  # not closed: it is the transport's, and this ends whatever holds it
            sock.shutdown(socket.SHUT_RDWR)


async def _log_in(client: aiosmtplib.SMTP, user: str, password: str) -> None:
    """By a password in clear (RFC 4616, or LOGIN, which has no RFC), under TLS alone."""
    if client.get_transport_info("sslcontext") is None:
        raise Unreachable("no TLS")
    methods = client.server_auth_methods
    if "plain" in methods:
        await client.auth_plain(user, password)
    elif "login" in methods:
        await client.auth_login(user, password)
    else:
        raise Unreachable("it offers neither PLAIN nor LOGIN")


async def _envelope(client: aiosmtplib.SMTP, sender: str, recipients: Sequence[str], size: int) -> Rejected | None:
    """Sender and recipients; ``None`` where the server takes all of them. Each recipient is asked for."""
    options = [f"SIZE={size}"] if client.supports_extension("size") else []  # RFC 1870
    try:
        await client.mail(sender, options=options)
    except aiosmtplib.SMTPSenderRefused as refusal:
        return _rejected("sender", refusal)
    refused: list[tuple[str, int]] = []
    first: Rejected | None = None
    for recipient in recipients:
        try:
            await client.rcpt(recipient)
        except aiosmtplib.SMTPRecipientRefused as refusal:
            first = first or _rejected("recipients", refusal)
            refused.append((recipient, refusal.code))
    return None if first is None else replace(first, refused=refused)


async def _data(client: aiosmtplib.SMTP, message: bytes) -> Outcome:
    try:
        reply = await client.data(message)
    except aiosmtplib.SMTPDataError as refusal:
        return _rejected("message", refusal)
    return Accepted(reply.code, _words(reply.message))


def _rejected(part: str, refusal: aiosmtplib.SMTPResponseException) -> Rejected:
    """A reply that is a no.

    Raises:
        Unreachable: any other says nothing that could be relied on.
    """
    if not 400 <= refusal.code <= 599:
        raise Unreachable(f"a reply that is none: {refusal.code}")
    return Rejected(part, refusal.code, _words(refusal.message))


async def _quit(client: aiosmtplib.SMTP) -> None:
    """Say goodbye; whether it is answered changes nothing."""
    with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(QUIT_SECONDS):
            await client.quit()


def _words(text: str) -> str:
    """A server's own words, made whole; they are as trustworthy as any result."""
    return text.encode("utf-8", "replace").decode()[:_WORDS_MAX]
