"""One connection of a jail: its requests one after another, a tunnel's beginning, and every refusal."""

import json

from hand_adapters.egress.authority import JailAuthority
from hand_adapters.egress.causes import Cause, Denied
from hand_adapters.egress.channel import Channel, TlsChannel
from hand_adapters.egress.exchange import PHRASES, Asked, forward
from hand_adapters.egress.head import Head, authority, parse, split
from hand_adapters.egress.step import Step
from hand_adapters.egress.tunnel import carry

_TLS_HANDSHAKE = 22


async def converse(step: Step, channel: Channel, jail_authority: JailAuthority) -> None:
    """Serve a connection to its end. What is refused is answered, recorded, and ends the connection.

    Raises:
        ConnectionError: the jail has gone, or has to be left.
    """
    try:
        while (raw := await channel.head()) is not None:
            head = parse(raw)
            if head.method == "CONNECT":
                await _tunnel(step, channel, jail_authority, head)
                return
            await forward(step, channel, head, _absolute(head))
            if "close" in head.connection:
                return
    except Denied as denied:
        await step.ledger.refused(denied)  # first: whoever hangs up before the answer is on record as well
        await refuse(channel, denied)


async def refuse(channel: Channel, denied: Denied) -> None:
    """Answer a refusal in words that a program can read and a person understands."""
    body = json.dumps({"code": f"egress.{denied.cause}", "status": int(denied.status)}).encode("ascii")
    lines = [
        f"HTTP/1.1 {int(denied.status)} {PHRASES[int(denied.status)]}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(("Retry-After: 1",) if denied.cause is Cause.RATE else ()),
    ]
    await channel.send("\r\n".join([*lines, "", ""]).encode("ascii") + body)


def _absolute(head: Head) -> Asked:
    """What a request to a proxy is for (RFC 9112 section 3.2.2): the whole address, and the same in ``Host``.

    Raises:
        Denied: ``malformed``.
    """
    scheme, separator, rest = head.target.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in {"http", "https"}:
        raise Denied(Cause.MALFORMED)
    named, slash, behind = rest.partition("/")
    if not slash and "?" in named:
        raise Denied(Cause.MALFORMED)
    return _asked(head, scheme, authority(named, 443 if scheme == "https" else 80), f"/{behind}")


def _within(head: Head, scheme: str, where: tuple[str, int]) -> Asked:
    """What a request within a tunnel is for: a path, and the tunnel's own host. Raises Denied (``malformed``)."""
    return _asked(head, scheme, where, head.target)


def _asked(head: Head, scheme: str, where: tuple[str, int], target: str) -> Asked:
    hosts = head.all("host")
    if len(hosts) != 1 or authority(hosts[0], 443 if scheme == "https" else 80) != where:
        raise Denied(Cause.MALFORMED)
    return Asked(scheme, *where, head.method, *split(target))


async def _tunnel(step: Step, channel: Channel, jail_authority: JailAuthority, head: Head) -> None:
    """CONNECT: what is within is TLS that ends here, or plain HTTP, and is judged request by request; or it is for a
    host that may be spoken to unseen."""
    where = authority(head.target, None)
    hosts = head.all("host")
    if len(hosts) > 1 or (hosts and authority(hosts[0], where[1]) != where):
        raise Denied(Cause.MALFORMED)
    blind = step.rules.tunnel(*where, step.call.egress_hosts)
    if channel.buffer:
        raise Denied(Cause.MALFORMED)  # it went on before it knew whom it speaks with
    await channel.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    if blind is not None:
        await carry(step, channel, blind)
        return
    if not await channel.more():
        return
    if channel.buffer[0] != _TLS_HANDSHAKE:
        await _requests(step, channel, "http", where)
        return
    inner = TlsChannel(channel, jail_authority.context(where[0]))
    try:
        await inner.greet()
    except Denied as denied:
        raise Refused(Denied(denied.cause, where[0])) from denied
    await _requests(step, inner, "https", where)


class Refused(Exception):
    """A refusal that cannot be answered in the connection as it is by now."""

    def __init__(self, denied: Denied) -> None:
        super().__init__(str(denied))
        self.denied = denied


async def _requests(step: Step, channel: Channel, scheme: str, where: tuple[str, int]) -> None:
    try:
        while (raw := await channel.head()) is not None:
            head = parse(raw)
            if head.method == "CONNECT":
                raise Denied(Cause.MALFORMED, where[0])
            await forward(step, channel, head, _within(head, scheme, where))
            if "close" in head.connection:
                break
    except Denied as denied:
        await step.ledger.refused(denied)
        await refuse(channel, denied)
    await channel.finish()
