"""The listener's certificate over real sockets: what it shows, what it takes, and what becomes of changed files."""

import asyncio
import contextlib
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key

from gateway.certificates import Certificate
from gateway.errors import Unavailable
from gateway.reasons import Reason
from gateway.settings import ServerSettings, Settings, TlsSettings
from gateway.tls import ServerTls
from gateway.web import server as server_module
from gateway.web.asgi import create_app
from tests.authority import Authority
from tests.web.conftest import serving
from tests.web.fake import testing_only_Gateway

KEY = {"authorization": "Bearer hr_agent_key"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def installed(authority: Authority, directory: Path, name: str = "server") -> TlsSettings:
    """A pair of its own files, that a test may change."""
    directory.mkdir(exist_ok=True)
    certificate, key = authority.issue(name)
    settings = TlsSettings(certificate=directory / "tls.crt", key=directory / "tls.key")
    shutil.copy(certificate, settings.certificate)
    shutil.copy(key, settings.key)
    return settings


@asynccontextmanager
async def listening(settings: TlsSettings, tls: ServerTls) -> AsyncIterator[int]:
    gateway = testing_only_Gateway()
    gateway.settings = gateway.settings.model_copy(update={"server": ServerSettings(tls=settings)})
    async with serving(create_app(gateway), gateway.settings, tls=tls) as port:  # type: ignore[arg-type]
        yield port


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.certificate)


async def shown(port: int, authority: Authority, *, name: str | None = "127.0.0.1") -> tuple[str, str]:
    """Thumbprint and protocol that a client is shown."""
    context = trusting(authority)
    if name is None:
        context.check_hostname = False
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name or "")
    tls = writer.get_extra_info("ssl_object")
    der, version = tls.getpeercert(binary_form=True), tls.version()
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    return Certificate.read(der).thumbprint, version


async def test_requests_are_answered_over_tls_13_and_not_in_clear(authority: Authority, tmp_path: Path) -> None:
    settings = installed(authority, tmp_path / "tls")
    tls = ServerTls(settings)
    async with listening(settings, tls) as port:
        async with httpx2.AsyncClient(verify=trusting(authority)) as http:
            assert (await http.get(f"https://127.0.0.1:{port}/healthz")).status_code == 200
        assert await shown(port, authority) == (tls.certificate.thumbprint, "TLSv1.3")
        async with httpx2.AsyncClient() as http:
            with pytest.raises(httpx2.TransportError):
                await http.get(f"http://127.0.0.1:{port}/healthz")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_not_resumed(authority: Authority, tmp_path: Path, version: ssl.TLSVersion) -> None:
    settings = installed(authority, tmp_path / "tls")
    async with listening(settings, ServerTls(settings)) as port:
        context = trusting(authority)
        context.minimum_version = context.maximum_version = version

        async def ticket() -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            session = writer.get_extra_info("ssl_object").session
            writer.close()
            return session is not None and session.has_ticket

        assert not await ticket()


@pytest.mark.parametrize(
    "offered",
    ["AES128-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"],
    ids=["no-forward-secrecy", "cbc", "finite-field"],
)
async def test_a_client_with_weak_ciphers_is_turned_away(authority: Authority, tmp_path: Path, offered: str) -> None:
    settings = installed(authority, tmp_path / "tls")
    async with listening(settings, ServerTls(settings)) as port:
        context = trusting(authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(offered)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=context)


async def test_a_client_of_tls_11_is_turned_away(authority: Authority, tmp_path: Path) -> None:
    settings = installed(authority, tmp_path / "tls")
    async with listening(settings, ServerTls(settings)) as port:
        # By hand: the ClientHello of TLS 1.1 with no extension, which no library here would send any more.
        hello = bytes.fromhex("0302") + bytes(32) + bytes.fromhex("000002c0090100")
        body = b"\x01" + len(hello).to_bytes(3, "big") + hello
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01" + len(body).to_bytes(2, "big") + body)
        answer = await reader.read()
        writer.close()
        assert answer[:1] in {b"", b"\x15"}, "an alert or nothing, and no ServerHello"


def test_a_client_that_never_shakes_hands_is_let_go(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEAD_TIMEOUT_SECONDS", 0.05)
    tls = ServerTls(installed(authority, tmp_path / "tls"))

    async def silent() -> bytes:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=tls.context)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        try:
            return await reader.read()
        finally:
            writer.close()
            server.close()

    configured = server_module.uvicorn_config(lambda: None, Settings()).get_loop_factory()  # type: ignore[arg-type]
    with asyncio.Runner(loop_factory=configured) as runner:
        assert runner.run(silent()) == b""


async def test_a_swapped_pair_is_shown_to_who_comes_next_and_open_connections_go_on(
    authority: Authority, tmp_path: Path
) -> None:
    settings = installed(authority, tmp_path / "tls")
    tls = ServerTls(settings)
    async with listening(settings, tls) as port:
        first = tls.certificate.thumbprint
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(authority))
        writer.write(b"POST /v1/plans HTTP/1.1\r\nhost: x\r\ncontent-type: application/jose\r\ncontent-length: 3\r\n")
        writer.write(f"authorization: {KEY['authorization']}\r\n\r\na".encode())
        installed(authority, tmp_path / "tls", "renewed")
        tls.refresh()
        assert tls.problem is None
        assert tls.certificate.thumbprint != first
        assert (await shown(port, authority))[0] == tls.certificate.thumbprint
        assert (await shown(port, authority, name=None))[0] == tls.certificate.thumbprint, "a client that names nobody"
        writer.write(b"bc")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 2"), "the request under way"
        writer.close()


async def test_a_folder_swapped_by_its_link_is_taken(authority: Authority, tmp_path: Path) -> None:
    """As Kubernetes does it: files are links into ``..data``, which is itself a link that is renamed over."""
    old, new, mount = tmp_path / "..1", tmp_path / "..2", tmp_path / "mount"
    installed(authority, old)
    mount.mkdir()
    (mount / "..data").symlink_to(old)
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(Path("..data") / name)
    tls = ServerTls(TlsSettings(certificate=mount / "tls.crt", key=mount / "tls.key"))
    first = tls.certificate.thumbprint
    installed(authority, new, "renewed")
    (mount / "..next").symlink_to(new)
    (mount / "..next").replace(mount / "..data")
    tls.refresh()
    assert tls.problem is None
    assert tls.certificate.thumbprint != first


def half(settings: TlsSettings, authority: Authority) -> None:
    shutil.copy(authority.issue("renewed")[0], settings.certificate)


def cut(settings: TlsSettings, authority: Authority) -> None:
    settings.certificate.write_bytes(authority.issue("renewed")[0].read_bytes()[:200])


def empty(settings: TlsSettings, authority: Authority) -> None:
    settings.key.write_bytes(b"")


def gone(settings: TlsSettings, authority: Authority) -> None:
    settings.key.unlink()


def wide(settings: TlsSettings, authority: Authority) -> None:
    settings.key.chmod(0o644)


def over(settings: TlsSettings, authority: Authority) -> None:
    certificate, key = authority.issue("over", days=(-2, -1))
    shutil.copy(certificate, settings.certificate)
    shutil.copy(key, settings.key)


def early(settings: TlsSettings, authority: Authority) -> None:
    certificate, key = authority.issue("early", days=(1, 2))
    shutil.copy(certificate, settings.certificate)
    shutil.copy(key, settings.key)


def locked(settings: TlsSettings, authority: Authority) -> None:
    key = load_key(settings.key.read_bytes(), None)
    encryption = BestAvailableEncryption(b"word")
    settings.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def pipe(settings: TlsSettings, authority: Authority) -> None:
    settings.key.unlink()
    os.mkfifo(settings.key, 0o600)


def huge(settings: TlsSettings, authority: Authority) -> None:
    with settings.certificate.open("r+b") as file:
        file.truncate(2_000_000)


BROKEN = [half, cut, empty, gone, wide, over, early, locked, pipe, huge]


@pytest.mark.parametrize("spoil", BROKEN)
async def test_a_broken_pair_leaves_the_one_before_and_is_loud_and_a_mended_one_is_taken(
    authority: Authority,
    tmp_path: Path,
    spoil: Callable[[TlsSettings, Authority], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = installed(authority, tmp_path / "tls")
    tls = ServerTls(settings)
    before = tls.certificate.thumbprint
    async with listening(settings, tls) as port:
        spoil(settings, authority)
        tls.refresh()
        assert tls.problem is not None
        assert tls.problem.reason is Reason.TLS_CERTIFICATE
        assert str(tmp_path) in tls.problem.detail
        assert tls.unusable
        assert "PRIVATE" not in tls.problem.detail
        assert "certificate files not taken" in "".join(capsys.readouterr())
        tls.refresh()
        assert "certificate files not taken" not in "".join(capsys.readouterr()), "once, not every second"
        assert (await shown(port, authority))[0] == before
        settings.key.unlink(missing_ok=True)
        installed(authority, tmp_path / "tls", "mended")
        tls.refresh()
        assert not tls.unusable
        assert (await shown(port, authority))[0] == tls.certificate.thumbprint != before


@pytest.mark.parametrize("spoil", BROKEN)
def test_nothing_is_served_with_a_pair_that_is_broken_from_the_start(
    authority: Authority, tmp_path: Path, spoil: Callable[[TlsSettings, Authority], None]
) -> None:
    settings = installed(authority, tmp_path / "tls")
    spoil(settings, authority)
    with pytest.raises(Unavailable) as refused:
        ServerTls(settings)
    assert refused.value.reason is Reason.TLS_CERTIFICATE


def test_a_pair_that_is_moved_away_and_back_is_no_problem_any_more(authority: Authority, tmp_path: Path) -> None:
    settings = installed(authority, tmp_path / "tls")
    tls = ServerTls(settings)
    away = settings.key.rename(tmp_path / "away")
    tls.refresh()
    assert tls.problem is not None
    away.rename(settings.key)
    tls.refresh()
    assert tls.problem is None


def test_a_certificate_that_runs_out_while_it_serves_is_said(authority: Authority, tmp_path: Path) -> None:
    now = [0.0]
    settings = installed(authority, tmp_path / "tls")
    now[0] = x509.load_pem_x509_certificate(settings.certificate.read_bytes()).not_valid_before_utc.timestamp()
    tls = ServerTls(settings, lambda: now[0])
    assert not tls.unusable
    now[0] = tls.certificate.ends_at + 1
    assert tls.unusable


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_key_of_another_user_is_refused(authority: Authority, tmp_path: Path) -> None:
    settings = installed(authority, tmp_path / "tls")
    os.chown(settings.key, 12345, -1)
    with pytest.raises(Unavailable, match="uid 12345"):
        ServerTls(settings)
