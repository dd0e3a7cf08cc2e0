"""A connection that the proxy does not look into: to a host that a rule lets be spoken to unseen, and to no other."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from gateway.reach import EgressRule
from hand_adapters.dialer import dial
from hand_adapters.egress.causes import Cause, Denied
from hand_adapters.egress.channel import PIECE, Channel
from hand_adapters.egress.hello import HELLO_MAX_BYTES, server_name
from hand_adapters.egress.step import Step


async def carry(step: Step, channel: Channel, rule: EgressRule) -> None:
    """Carry bytes both ways until either side ends, once the jail's greeting names the host that it asked for.

    Raises:
        ConnectionError: refused, which is on record; there is no answer that TLS would understand.
    """
    try:
        step.budget.request()
        await _greeted(channel, rule.host)
        facts: dict[str, str | int] = {"scheme": rule.scheme, "host": rule.host, "port": rule.port, "how": "blind"}
        await step.ledger.connected(facts, b"")
        try:
            reader, writer = await dial(rule.host, rule.port, private_network=rule.private_network)
        except OSError:
            step.ledger.failed += 1
            raise Denied(Cause.UNREACHABLE, rule.host) from None
        try:
            await _both(step, channel, reader, writer)
        finally:
            writer.transport.abort()
    except Denied as denied:
        await step.ledger.refused(Denied(denied.cause, rule.host))
        raise ConnectionError from denied


async def _greeted(channel: Channel, host: str) -> None:
    """Wait for the whole greeting, of which nothing has left yet. Raises Denied (``greeting``)."""
    while (name := server_name(bytes(channel.buffer[:HELLO_MAX_BYTES]))) is None:
        if not await channel.more():
            raise Denied(Cause.GREETING)
    if name != host:
        raise Denied(Cause.GREETING)


async def _both(step: Step, channel: Channel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def to_host(data: bytes) -> None:
        step.budget.send(len(data))
        writer.write(data)
        await writer.drain()

    async def to_jail(data: bytes) -> None:
        step.budget.receive(len(data))
        await channel.send(data)

    async def pump(pull: Callable[[], Awaitable[bytes]], push: Callable[[bytes], Awaitable[None]]) -> None:
        while data := await pull():
            await push(data)

    async def read() -> bytes:
        return await reader.read(PIECE)

    pumps = {asyncio.ensure_future(pump(channel.pull, to_host)), asyncio.ensure_future(pump(read, to_jail))}
    try:
        done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in pumps:
            one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*pumps, return_exceptions=True)
    for one in done:
        with contextlib.suppress(OSError):
            one.result()
