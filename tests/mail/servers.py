"""Mail servers on loopback: a real one, and one that says what a test wants."""

import asyncio
import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER = "handrail@example.com"
PASSWORD = "a-password-of-tests"


@dataclass
class Mailbox:
    """aiosmtpd's handler: it keeps what it takes, and refuses whom it is told to."""

    refused: dict[str, str] = field(default_factory=dict)
    """Recipient -> the reply."""
    taken: list[Envelope] = field(default_factory=list)
    secure: list[bool] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.taken.append(envelope)
        self.secure.append(session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None)
        return "250 2.0.0 queued as 4711"

    def message(self) -> EmailMessage:
        """The one message that was taken, as a mail program reads it."""
        (envelope,) = self.taken
        assert isinstance(envelope.content, bytes)
        read = message_from_bytes(envelope.content, policy=POLICY)
        assert isinstance(read, EmailMessage)
        return read


def real(mailbox: Mailbox, **settings: Any) -> Callable[[], SMTP]:
    """A factory of aiosmtpd's protocol."""

    def make() -> SMTP:
        with warnings.catch_warnings():
            # It knows TLS that was started, and not TLS from the first byte: what it warns of is no lack of it.
            warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS", UserWarning)
            return SMTP(mailbox, hostname="mail.example.com", **settings)

    return make


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    """Whether user and password are the right ones, said by PLAIN or LOGIN."""
    said = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=said, handled=False)


Step = bytes | None
"""What is said to a command: bytes as they are, ``None`` is silence. Empty bytes end the connection."""


@dataclass
class Scripted:
    """A server that says to each command what a test wants, and else what a plain one says.

    Attributes:
        says: verb (``GREETING``, ``EHLO``, ``MAIL``, ``RCPT``, ``DATA``, ``.`` ...) -> what is said.
        tls: what STARTTLS goes on with, where it is said to.
    """

    says: dict[str, Step] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    heard: list[bytes] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """A silent step was reached."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._conversation(reader, writer)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()
            self.ended.set()

    async def _conversation(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._say(writer, "GREETING"):
            await reader.read()
            return
        while line := await reader.readline():
            self.heard.append(line)
            verb = line.split()[0].decode("ascii", "replace").upper()
            if not await self._say(writer, verb):
                await reader.read()
                return
            if verb == "STARTTLS" and self.tls is not None:
                await writer.start_tls(self.tls)
            if verb == "QUIT":
                return
            if verb == "DATA" and self.says.get("DATA", b"354").startswith(b"354"):
                self.heard.append(await reader.readuntil(b"\r\n.\r\n"))
                if not await self._say(writer, "."):
                    await reader.read()
                    return

    async def _say(self, writer: asyncio.StreamWriter, verb: str) -> bool:
        """Whether the conversation goes on."""
        said = self.says.get(verb, PLAIN.get(verb, b"250 OK\r\n"))
        if said is None:
            self.reached.set()
            return False
        if not said:
            raise OSError
        writer.write(said)
        await writer.drain()
        return True

    def verbs(self) -> list[str]:
        """What was asked, less the message itself."""
        return [line.split()[0].decode() for line in self.heard if line.count(b"\r\n") == 1]


PLAIN: dict[str, bytes] = {
    "GREETING": b"220 mail.example.com ESMTP\r\n",
    "EHLO": b"250-mail.example.com\r\n250 SIZE 10000000\r\n",
    "STARTTLS": b"220 go ahead\r\n",
    "DATA": b"354 go ahead\r\n",
    "QUIT": b"221 bye\r\n",
}
