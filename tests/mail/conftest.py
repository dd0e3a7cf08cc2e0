"""Mail servers for one test, and hands that speak to them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.calls import HandResult, Injections
from gateway.settings import HandSettings
from hand_adapters.mail import MailAdapter
from tests.authority import Authority
from tests.hands.hands_support import call
from tests.mail.servers import PASSWORD, USER, Mailbox, Scripted, authenticate, real

ARGS: dict[str, Any] = {"to": ["ann@example.org"], "subject": "Hello", "text": "A text.\n"}
MAIL: dict[str, Any] = {
    "host": "127.0.0.1",
    "security": "none",
    "senders": ["bot@example.com"],
    "recipients": ["*@example.com", "ann@example.org", "ben@example.org"],
}


def hand(mail: dict[str, Any], **more: Any) -> HandSettings:
    """The settings of a hand, with a password where its table ``mail`` has a user."""
    whole = {**MAIL, **mail}
    secrets = {"mail": {"place": "password"}} if whole.get("user") else {}
    said = {"adapter": "mail", "private_network": True, "actions": {"send": {}}, "secrets": secrets}
    return HandSettings(mail=whole, **{**said, **more})


@dataclass
class Hand:
    """A hand to a server."""

    adapter: MailAdapter
    digest: str
    asked: list[tuple[str, str, int]]

    async def send(self, args: dict[str, Any] | None = None, /, **changes: Any) -> HandResult:
        async def inject(scheme: str, host: str, port: int) -> Injections:
            self.asked.append((scheme, host, port))
            return Injections(password=PASSWORD)

        return await self.adapter.run(
            call("mail", "send", {**ARGS, **(args or {})}, self.digest, **{"inject": inject, **changes})
        )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("mail") / "ca")


@pytest.fixture(scope="session")
def server_tls(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("mail"))
    return context


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., Awaitable[int]]]:
    """``await listen(protocol factory or Scripted, tls)`` -> the port."""
    servers: list[asyncio.Server] = []

    async def make(what: Any, tls: ssl.SSLContext | None = None) -> int:
        if isinstance(what, Scripted):
            server = await asyncio.start_server(what.serve, "127.0.0.1", 0, ssl=tls)
        else:
            server = await asyncio.get_running_loop().create_server(what, "127.0.0.1", 0, ssl=tls)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield make
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[Hand]]]:
    """``await connect(port, **of the table mail)`` -> a hand."""
    opened: list[MailAdapter] = []

    async def make(port: int, **mail: Any) -> Hand:
        settings = hand({"port": port, **mail})
        MailAdapter.validate("mail", settings)
        adapter = MailAdapter("mail", settings, None)  # type: ignore[arg-type]
        opened.append(adapter)
        return Hand(adapter, (await adapter.manifest()).digest, [])

    yield make
    for adapter in opened:
        await adapter.close()


@pytest.fixture(params=["tls", "starttls"])
async def secured(
    request: pytest.FixtureRequest, listen: Any, connect: Any, authority: Authority, server_tls: ssl.SSLContext
) -> tuple[Mailbox, Callable[..., Awaitable[Hand]]]:
    """A real server that wants a login under TLS, and a way to a hand of its."""
    mailbox = Mailbox()
    login = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": request.param == "starttls"}
    if request.param == "tls":
        port = await listen(real(mailbox, **login), server_tls)
    else:
        port = await listen(real(mailbox, tls_context=server_tls, require_starttls=True, **login))

    async def make(**more: Any) -> Hand:
        known: dict[str, Any] = {"security": request.param, "user": USER, "ca_file": authority.certificate}
        return await connect(port, **{**known, **more})

    return mailbox, make


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"
