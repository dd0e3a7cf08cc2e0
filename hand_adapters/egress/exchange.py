"""One request of a jail, sent on by the gateway in its own words, and the answer given back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

import aiohttp
from yarl import URL

from gateway.calls import Injections
from gateway.canonical import canonical
from gateway.errors import HandrailError
from gateway.reach import EgressRule
from hand_adapters.dialer import Disconnected
from hand_adapters.egress.causes import Cause, Denied
from hand_adapters.egress.channel import PIECE, Channel
from hand_adapters.egress.head import Head, spelling
from hand_adapters.egress.step import Step

_HOP: Final = frozenset(
    {
        "connection", "content-length", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
    }
)  # fmt: skip
"""What speaks of one connection and not of the request (RFC 9110 section 7.6.1)."""
_OURS: Final = frozenset(
    {
        "accept-encoding", "client-ip", "expect", "forwarded", "host", "true-client-ip", "via", "x-client-ip", "x-host",
        "x-original-host", "x-real-ip",
    }
)  # fmt: skip
"""What says of a request where it comes from and goes to, beside whatever begins with :data:`_FORWARDED`: the gateway's
to say."""
_FORWARDED: Final = "x-forwarded-"
_PARTS: Final = frozenset({"if-range", "range"})
"""By which a jail could have an echo of a secret in two halves, neither of which would be found."""
_IDENTITY: Final = frozenset({"authorization", "cookie", "cookie2", "dpop"})
"""Who the jail says that it is: that word is the gateway's. A jail that could log in as somebody else at a host that it
may reach could carry out data there."""
_ELSEWHERE: Final = frozenset({"alt-svc"})
"""Of an answer: what would have a client go past the proxy."""
_CREDENTIALS: Final = frozenset({"set-cookie", "set-cookie2", "authentication-info", "proxy-authentication-info"})
"""Of an answer to a request with a secret: what could stand for the secret afterwards."""
_BODILESS: Final = frozenset({204, 304})
PHRASES: Final[Mapping[int, str]] = {int(status): status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that a jail makes, as far as its rule is concerned.

    Attributes:
        how: ``plain`` (http to an http host), ``originated`` (the jail spoke http, the host is spoken to in TLS) or
            ``terminated`` (the jail spoke TLS with the proxy).
    """

    scheme: str
    host: str
    port: int
    method: str
    path: str
    query: str

    def how(self, rule: EgressRule) -> str:
        """See the class."""
        if rule.scheme == "http":
            return "plain"
        return "terminated" if self.scheme == "https" else "originated"

    def personal(self) -> bytes:
        """What the entry commits to."""
        whole = f"{self.scheme}://{self.host}:{self.port}{self.path}{'?' if self.query else ''}{self.query}"
        return canonical({"method": self.method, "target": whole})


async def forward(step: Step, channel: Channel, head: Head, asked: Asked) -> None:
    """Judge a request, put it on record, send it, and answer the jail.

    Raises:
        Denied: nothing was answered yet.
        ConnectionError: the answer broke off in its middle, or the jail has gone: close the connection.
    """
    rule = step.rules.request(asked.scheme, asked.host, asked.port, asked.method, asked.path, step.call.egress_hosts)
    step.budget.request()
    body = await _body(step, channel, head)
    added = await _added(step, rule, asked)
    url, headers = _with(step, rule, asked, head, added)
    facts: dict[str, str | int] = {
        "scheme": rule.scheme,
        "host": rule.host,
        "port": rule.port,
        "method": asked.method,
        "path": step.rules.pattern(rule, asked.path),
        "how": asked.how(rule),
    }
    await step.ledger.connected(facts, asked.personal())
    answering = False
    try:
        async with step.session(rule).request(
            asked.method,
            url,
            data=body or None,
            headers=headers,
            allow_redirects=False,
            ssl=step.tls(rule),
            skip_auto_headers=("Content-Type",),
        ) as response:
            secret = rule.credential or bool(added.headers or added.query)
            if step.searches:
                answer = await _searched(step, response, secret=secret)
                answering = True
                await channel.send(answer)
            else:
                received = _headers(response, secret=secret)
                answering = True
                await _stream(step, channel, response, received)
    except (aiohttp.ClientError, OSError, Disconnected, ValueError) as exc:
        step.ledger.failed += 1
        if answering:
            raise ConnectionError from exc
        raise Denied(Cause.UNREACHABLE, asked.host) from exc
    except Denied as denied:
        step.ledger.failed += 1
        if answering:
            await step.ledger.refused(denied)
            raise ConnectionError from denied
        raise


async def _body(step: Step, channel: Channel, head: Head) -> bytes:
    """The whole body, before anything leaves: the proxy frames it anew. Counted as it comes."""
    if head.length == 0:
        return b""
    if head.length is not None:
        step.budget.send(head.length)
    if head.all("expect"):
        await channel.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    async for piece in channel.body(head):
        if head.length is None:
            step.budget.send(len(piece))
        body += piece
    return bytes(body)


async def _added(step: Step, rule: EgressRule, asked: Asked) -> Injections:
    try:
        return await step.call.inject(rule.scheme, rule.host, rule.port, asked.method, asked.path)
    except HandrailError:
        raise Denied(Cause.SECRET, rule.host) from None


def _with(
    step: Step, rule: EgressRule, asked: Asked, head: Head, added: Injections
) -> tuple[URL, list[tuple[str, str]]]:
    """The URL and the headers that go out. What the gateway adds is in no place that the jail filled."""
    ours = {name.lower() for name in added.headers}
    dropped = _HOP | _OURS | _IDENTITY | head.connection | ours | (_PARTS if step.searches else frozenset())
    dropped = frozenset(map(spelling, dropped))
    headers = [
        (name, value)
        for name, value in head.headers
        if spelling(name) not in dropped and not spelling(name).startswith(_FORWARDED)
    ] + [*added.headers.items()]
    query = asked.query
    if added.query:
        given = {
            name for separator in "&;" for name, _ in parse_qsl(query, keep_blank_values=True, separator=separator)
        }
        # Frameworks take names in either case, with marks for others, and ``name[]``, for the name.
        if {spelling(name.partition("[")[0].lower()) for name in given} & {
            spelling(name.lower()) for name in added.query
        }:
            raise Denied(Cause.PARAMETER, rule.host)
        query = f"{query}{'&' if query else ''}{urlencode(added.query, quote_via=quote)}"
    url = URL(f"{rule.origin}{asked.path}{'?' if query else ''}{query}", encoded=True)
    if rule.credential and "authorization" not in ours:
        proof = step.call.prove(asked.method, str(url))
        headers += [("Authorization", f"DPoP {step.call.credential}"), ("DPoP", proof)]
    return url, headers


# --- the answer ------------------------------------------------------------------------------------------------------


def _headers(response: aiohttp.ClientResponse, *, secret: bool) -> list[tuple[str, str]]:
    """The headers of an answer that the jail is given. Raises Denied where it goes over to another protocol."""
    if response.status < HTTPStatus.OK:
        raise Denied(Cause.UNREACHABLE)
    named = {word.strip().lower() for value in response.headers.getall("Connection", ()) for word in value.split(",")}
    dropped = _HOP | _ELSEWHERE | named | (_CREDENTIALS if secret else frozenset())
    return [(name, value) for name, value in response.headers.items() if name.lower() not in dropped]


def message(status: int, headers: Iterable[tuple[str, str]], more: Mapping[str, str]) -> bytes:
    """The head of an answer."""
    phrase = PHRASES.get(status, "")
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in (*headers, *more.items()))]
    if any(character in line for line in lines for character in "\r\n\0"):
        raise Denied(Cause.UNREACHABLE)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


async def _stream(
    step: Step, channel: Channel, response: aiohttp.ClientResponse, headers: list[tuple[str, str]]
) -> None:
    """Pass an answer on as it comes: no secret can be in it."""
    if response.method == "HEAD" or response.status in _BODILESS:
        await channel.send(message(response.status, headers, {}))
        return
    await channel.send(message(response.status, headers, {"Transfer-Encoding": "chunked"}))
    async for piece in response.content.iter_chunked(PIECE):
        step.budget.receive(len(piece))
        await channel.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    await channel.send(b"0\r\n\r\n")


async def _searched(step: Step, response: aiohttp.ClientResponse, *, secret: bool) -> bytes:
    """A whole answer without the secrets that the step was given. Raises Denied where it cannot be searched."""
    headers = _headers(response, secret=secret)
    if any(value.strip().lower() not in {"", "identity"} for value in response.headers.getall("Content-Encoding", ())):
        raise Denied(Cause.UNSEARCHABLE)
    body = bytearray()
    async for piece in response.content.iter_chunked(PIECE):
        step.budget.receive(len(piece))
        body += piece
        if len(body) > step.limits.searched_bytes:
            raise Denied(Cause.UNSEARCHABLE)
    search = step.call.search
    try:
        lines = "\n".join(f"{name}: {value}" for name, value in headers)
        if await search(lines) != lines:
            kept = [pair for pair in headers if await search(": ".join(pair)) == ": ".join(pair)]
            headers = [] if kept == headers else kept  # where it is in no single one, it is spread over several
        text = body.decode("latin-1")
        found = await search(text)
    except HandrailError:
        raise Denied(Cause.LOG) from None
    body_out = bytes(body) if found == text else found.encode("latin-1", "replace")
    if response.method == "HEAD" or response.status in _BODILESS:
        return message(response.status, headers, {})
    return message(response.status, headers, {"Content-Length": str(len(body_out))}) + body_out
