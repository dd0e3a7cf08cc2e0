"""Connections that the proxy does not look into."""

import asyncio
import ssl
from typing import Any

import pytest

from gateway.settings import EgressLimits
from hand_adapters.egress import serving
from tests.egress.world import World, opened, settings, status
from tests.until import until


async def blind(world: World, port: int, host: Any, request: bytes, name: str | None = None) -> bytes:
    """What a client hears that speaks TLS with the host itself, and believes the host's authority alone."""
    context = ssl.create_default_context(cafile=str(world.authority.certificate))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT {host.name}:{host.port} HTTP/1.1\r\n\r\n".encode())
    begun = await reader.readuntil(b"\r\n\r\n")
    if status(begun) != 200:
        writer.close()
        return begun
    if name is not None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    await writer.start_tls(context, server_hostname=name or host.name)
    writer.write(request)
    answer = await reader.read(100)
    writer.close()
    return answer


REQUEST = b"GET /whatever HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_blind_host_is_spoken_to_end_to_end_and_given_nothing(world: World) -> None:
    host = await world.host()
    world.injected = {"Authorization": "Bearer secret"}
    async with (
        opened(settings(world.rule(host, blind=True, ca_file=None))) as (gate, port),
        serving(gate, world.call()),
    ):
        assert status(await blind(world, port, host, REQUEST)) == 200
    assert host.requests == [REQUEST]
    assert world.asked_for == []
    assert world.records[0][:2] == (
        "EGRCON",
        {"scheme": "https", "host": "api.example", "port": host.port, "how": "blind"},
    )
    assert world.records[-1][1]["sent_bytes"] > len(REQUEST), "bytes are counted as they pass"


@pytest.mark.parametrize("name", ["other.example", "evil.example", "127.0.0.1"])
async def test_a_greeting_for_another_host_goes_nowhere(world: World, name: str) -> None:
    """Domain fronting: the tunnel is for one host, and what is within for another behind the same address."""
    host = await world.host()
    async with (
        opened(settings(world.rule(host, blind=True, ca_file=None))) as (gate, port),
        serving(gate, world.call()),
    ):
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await blind(world, port, host, REQUEST, name)
        await until(lambda: world.causes() == ["greeting"])
    assert host.connections == 0


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01", b""])
async def test_what_is_no_greeting_goes_nowhere(world: World, said: bytes) -> None:
    host = await world.host()
    async with (
        opened(settings(world.rule(host, blind=True, ca_file=None))) as (gate, port),
        serving(gate, world.call()),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"CONNECT {host.name}:{host.port} HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.write_eof()
        await reader.read()
        writer.close()
        await until(lambda: world.causes() == ["greeting"])
    assert host.connections == 0


async def test_no_request_that_can_be_seen_goes_to_a_blind_host(world: World) -> None:
    host = await world.host()
    where = f"{host.name}:{host.port}"
    async with (
        opened(settings(world.rule(host, blind=True, ca_file=None))) as (gate, port),
        serving(gate, world.call()),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET http://{where}/ HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
        assert status(await reader.readuntil(b"\r\n\r\n")) == 403
        writer.close()
    assert host.connections == 0


async def test_blind_bytes_are_counted_and_end_with_the_step(world: World) -> None:
    host = await world.host()
    host.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
    limits = EgressLimits(received_bytes=50_000)
    declared = settings(world.rule(host, blind=True, ca_file=None), egress_limits=limits)
    context = ssl.create_default_context(cafile=str(world.authority.certificate))
    async with opened(declared) as (gate, port), serving(gate, world.call()):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"CONNECT {host.name}:{host.port} HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await writer.start_tls(context, server_hostname=host.name)
        writer.write(REQUEST)
        received = b""
        try:
            while piece := await reader.read(65_536):
                received += piece
        except (ConnectionError, ssl.SSLError):
            writer.transport.abort()
        assert len(received) < 60_000
        await until(lambda: world.causes() == ["received"])
        writer.transport.abort()


async def test_a_decision_that_does_not_name_a_blind_host_keeps_it_closed(world: World) -> None:
    host = await world.host()
    async with (
        opened(settings(world.rule(host, blind=True, ca_file=None))) as (gate, port),
        serving(gate, world.call(egress_hosts=())),
    ):
        assert status(await blind(world, port, host, REQUEST)) == 403
    assert host.connections == 0


async def test_a_blind_host_at_a_private_address_needs_the_operators_word(world: World) -> None:
    host = await world.host()
    declared = settings(world.rule(host, blind=True, ca_file=None, private_network=False))
    async with opened(declared) as (gate, port), serving(gate, world.call()):
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await blind(world, port, host, REQUEST)
        await until(lambda: world.causes() == ["unreachable"])
    assert host.connections == 0
