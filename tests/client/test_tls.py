"""How the client connects by TLS: the gateway is always verified, and unusable files are said before a call."""

import asyncio
import json
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from handrail import AsyncClient, Client, ClientError, SigningKey, Unverified
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
    for options, words in (
        ({"ca_file": tmp_path / "none"}, "none"),
        ({"ca_file": tmp_path / "junk"}, "junk"),
        ({"client_cert": tmp_path / "none", "client_key": key}, "none"),
        ({"client_cert": certificate, "client_key": other}, "mine.pem"),
        ({"client_cert": certificate}, "mine.pem"),
        ({"client_key": key}, "goes with its certificate"),
    ):
        with pytest.raises(ClientError, match=words):
            kind("https://127.0.0.1:1", **options)
    with pytest.raises(ClientError, match="https"):
        kind("http://127.0.0.1:1", ca_file=authority.certificate)


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
