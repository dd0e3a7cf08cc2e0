"""The fetcher over real sockets: what is slow, long, elsewhere or no answer at all is ``auth.unavailable``, in time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway.errors import Unavailable
from gateway.reasons import Reason
from gateway.settings import SettingsError
from hand_adapters.fetcher import HttpFetcher

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(talk: Talk) -> AsyncIterator[str]:
    """Somebody who talks so on a port; its URL."""

    talking: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.append(task)
        with suppress(ConnectionError):  # the fetcher hung up, as it should
            await talk(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
    finally:
        server.close()
        await asyncio.gather(*talking)


def says(answer: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return talk


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await reader.read()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body without end, a byte whenever the reader took the last."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not reader.at_eof():
        writer.write(b"1\r\nx\r\n")
        await writer.drain()
        await asyncio.sleep(0)


async def fetch(url: str, *, private_network: bool = True, timeout_seconds: float = 5.0) -> bytes:
    fetcher = HttpFetcher("identity.company", private_network=private_network, ca_file=None)
    try:
        return await fetcher.get(url, timeout_seconds=timeout_seconds, answer_max_bytes=1000)
    finally:
        await fetcher.close()


async def test_a_document_is_got() -> None:
    async with peer(says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")) as url:
        assert await fetch(url) == b"{}"


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(says(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n"), id="a redirect"),
        pytest.param(says(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"), id="an error"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n" + b"x" * 1001), id="too long"),
        pytest.param(drips, id="without end"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}"), id="torn"),
        pytest.param(says(b"nonsense\r\n\r\n"), id="no HTTP"),
        pytest.param(says(b""), id="hung up"),
    ],
)
async def test_what_is_no_whole_short_answer_is_unavailable(talk: Talk) -> None:
    async with peer(talk) as url:
        with pytest.raises(Unavailable) as refusal:
            await fetch(url)
    assert refusal.value.reason is Reason.AUTH_UNAVAILABLE


async def test_a_peer_that_says_nothing_is_left_in_time() -> None:
    async with peer(never) as url:
        with pytest.raises(Unavailable, match="in time"):
            await fetch(url, timeout_seconds=0.2)


async def test_a_private_address_is_dialled_only_where_the_operator_said_so() -> None:
    async with peer(says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")) as url:
        with pytest.raises(Unavailable):
            await fetch(url, private_network=False)


def test_authorities_that_cannot_be_read_are_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    for file in ("empty.pem", "absent.pem"):
        with pytest.raises(SettingsError, match=r"identity\.company\.ca_file"):
            HttpFetcher("identity.company", private_network=False, ca_file=tmp_path / file)
