"""How the client connects by TLS: the gateway is always verified, and unusable files are said before a call."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from handrail import AsyncClient, Client, ClientError, Unreachable

from tests.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@asynccontextmanager
async def serving(authority: Authority, server: tuple[Path, Path]) -> AsyncIterator[tuple[str, list[str]]]:
    """A TLS server that answers ``{}``, its URL, and the names of clients' certificates."""
    seen: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_OPTIONAL

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        shown = writer.get_extra_info("ssl_object").getpeercert()
        seen.append(dict(pair[0] for pair in shown["subject"])["commonName"] if shown else "")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
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
                with pytest.raises(Unreachable):
                    await made.me()
        async with AsyncClient(url.replace("127.0.0.1", "localhost"), ca_file=authority.certificate) as made:
            with pytest.raises(Unreachable):
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
