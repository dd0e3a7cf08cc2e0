"""How the client connects by TLS: the gateway is always verified, and unusable files are said before a call."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from handrail import AsyncClient, CertificateRefused, Client, ClientError, SigningKey, Unreachable, Unverified
from handrail.remote import RemoteHand
from handrail.step_keys import StepKeys

from tests.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@asynccontextmanager
async def serving(
    authority: Authority, server: tuple[Path, Path], body: bytes = b"{}"
) -> AsyncIterator[tuple[str, list[str]]]:
    """A TLS server that answers ``body``, its URL, and the names of clients' certificates."""
    seen: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_OPTIONAL

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        shown = writer.get_extra_info("ssl_object").getpeercert()
        seen.append(dict(pair[0] for pair in shown["subject"])["commonName"] if shown else "")
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}", seen


async def test_the_gateway_is_verified_by_the_given_authorities_alone(tmp_path: Path, authority: Authority) -> None:
    foreign = Authority(tmp_path / "foreign")
    async with serving(authority, authority.issue("server")) as (url, seen):
        async with AsyncClient(url, ca_file=authority.certificate) as made:
            assert await made.me() == {}
        for options in ({}, {"ca_file": foreign.certificate}):
            async with AsyncClient(url, **options) as made:
                with pytest.raises(Unverified, match="is not trusted: its certificate does not verify: "):
                    await made.me()
        async with AsyncClient(url.replace("127.0.0.1", "localhost"), ca_file=authority.certificate) as made:
            with pytest.raises(Unverified, match="Hostname mismatch"):
                await made.me()
    assert seen == [""]


async def test_a_certificate_is_shown_from_two_files_or_one(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("mine")
    one = tmp_path / "one.pem"
    one.write_bytes(certificate.read_bytes() + key.read_bytes())
    async with serving(authority, authority.issue("server")) as (url, seen):
        for options in ({"client_cert": certificate, "client_key": key}, {"client_cert": one}):
            async with AsyncClient(url, ca_file=authority.certificate, **options) as made:
                await made.me()

            def blocking(options: Any = options) -> None:
                with Client(url, ca_file=authority.certificate, **options) as made:
                    made.me()

            await asyncio.to_thread(blocking)
    assert seen == ["mine"] * 4


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_files_that_cannot_be_used_are_said(kind: Any, tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("mine")
    other = authority.issue("other")[1]
    (tmp_path / "junk").write_text("junk")
    sealed = tmp_path / "sealed.key"
    sealed.write_bytes(
        serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pw")
        )
    )
    for options, words in (
        ({"ca_file": tmp_path / "none"}, "none"),
        ({"ca_file": tmp_path / "junk"}, "junk"),
        ({"client_cert": tmp_path / "none", "client_key": key}, "none: No such file or directory"),
        ({"client_cert": certificate, "client_key": tmp_path / "none"}, "none: No such file or directory"),
        ({"client_cert": certificate, "client_key": other}, f"{other}: not the key of {certificate}"),
        ({"client_cert": certificate}, f"{certificate}: holds no private key; give the file of its key too"),
        ({"client_cert": key, "client_key": key}, f"{key}: holds no certificate in PEM"),
        ({"client_cert": certificate, "client_key": certificate}, f"{certificate}: holds no private key in PEM"),
        ({"client_cert": certificate, "client_key": sealed}, f"{sealed}: the key is encrypted"),
        ({"client_key": key}, "goes with its certificate"),
    ):
        with pytest.raises(ClientError, match=words) as refused:
            kind("https://127.0.0.1:1", **options)
        assert "_ssl.c" not in str(refused.value)
    with pytest.raises(ClientError, match="https"):
        kind("http://127.0.0.1:1", ca_file=authority.certificate)


@contextmanager
def demanding(authority: Authority) -> Iterator[str]:
    """A TLS server, with alerts as OpenSSL sends them, that answers nobody without a certificate of its authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection.dup() as kept, suppress(ssl.SSLError):
                try:
                    context.wrap_socket(connection, server_side=True)
                finally:
                    kept.shutdown(socket.SHUT_WR)
                    while kept.recv(4096):
                        """Until the client closes: a reset would take the alert with it."""

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("nobody", "takes nobody without a certificate"),
        ("a stranger", "does not know the authority that issued your certificate"),
        ("one whose time is over", "its time is over"),
    ],
)
def test_a_certificate_that_is_refused_is_told_apart_from_a_gateway_that_is_away(
    tmp_path: Path, authority: Authority, who: str, words: str
) -> None:
    shown: dict[str, Any] = {
        "nobody": {},
        "a stranger": files_of(Authority(tmp_path / "foreign").issue("theirs")),
        "one whose time is over": files_of(authority.issue("old", days=(-2, -1))),
    }
    with (
        demanding(authority) as url,
        Client(url, ca_file=authority.certificate, **shown[who]) as made,
        pytest.raises(CertificateRefused, match=words) as refused,
    ):
        made.me()
    assert "_ssl.c" not in str(refused.value)


async def test_a_gateway_that_closes_without_a_word_may_not_take_the_certificate(
    tmp_path: Path, authority: Authority
) -> None:
    files = files_of(Authority(tmp_path / "foreign").issue("theirs"))
    async with (
        serving(authority, authority.issue("server")) as (url, seen),
        AsyncClient(url, ca_file=authority.certificate, **files) as made,
    ):
        with pytest.raises(Unreachable, match="does not take your certificate"):
            await made.me()
    assert seen == []


def files_of(pair: tuple[Path, Path]) -> dict[str, Path]:
    return {"client_cert": pair[0], "client_key": pair[1]}


def remote_hand(url: str, ca_file: Path | None = None) -> RemoteHand:
    return RemoteHand(url, "key", "crm", {}, issuer="handrail.test/log", ca_file=ca_file)


async def test_a_remote_hand_and_the_keys_it_checks_by_come_over_the_given_authorities(authority: Authority) -> None:
    public = SigningKey.generate().public
    body = json.dumps({"steps": ["s"], "keys": [{**public.jwk(), "purpose": "step", "state": "active"}]}).encode()
    async with serving(authority, authority.issue("server"), body) as (url, _):

        def come() -> None:
            with remote_hand(url, authority.certificate) as hand:
                assert hand.work() == ["s"]
            keys = StepKeys(f"{url}/.well-known/jwks.json", ca_file=authority.certificate)
            assert keys.get(public.kid, 0.0).kid == public.kid
            with remote_hand(url) as hand, pytest.raises(Unverified):
                hand.work()

        await asyncio.to_thread(come)


async def test_a_remote_hand_that_waits_for_its_gateway_says_once_why(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    tried = 0

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal tried
            tried += 1
            if tried == 3:
                self.set()
            return self.is_set()

    async with serving(authority, authority.issue("server")) as (url, _):
        with remote_hand(url) as hand:
            await asyncio.to_thread(hand.serve, Stop())
    assert tried == 3
    [record] = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "handrail.remote")
    assert record.getMessage().startswith(f"{url} is not trusted: its certificate does not verify: ")


def test_authorities_for_keys_that_come_in_clear_are_refused(authority: Authority) -> None:
    with pytest.raises(ClientError, match="https"):
        StepKeys("http://127.0.0.1:1/jwks.json", ca_file=authority.certificate)
