"""Who a request is from, where proxies stand in front: what they say is believed from declared ones alone.

A request of an undeclared peer is its own, whatever its headers say. Of a declared one, the addresses that proxies
added are read from the right, where the nearest wrote, and the first that is no declared proxy is the client; whatever
stands left of it may be the client's invention. Headers of a family that is not configured are not looked at.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.certificates import Certificate
from gateway.errors import HandrailError, Malformed, Refused
from gateway.reasons import Reason
from gateway.settings import ServerSettings
from gateway.web.authentication import is_public
from gateway.web.context import CERTIFICATE, request_id_of
from gateway.web.errors import problem, report, shaped

HOPS_MAX: Final = 32
"""Addresses that are looked at; with more declared ones in a row, the last of these counts as the client."""
LISTENER_REMEDY: Final = (
    "Give it a certificate in [server.tls], or list the proxies that end TLS in front in [server] trusted_proxies; see "
    "docs/tls.md."
)
_CLIENT_CERT: Final = b"client-cert"
_READ: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"forwarded", _CLIENT_CERT})
_ITEM: Final = re.compile(rb"[ ]*:([A-Za-z0-9+/]+={0,2}):[ ]*")
"""A structured field's byte sequence (RFC 8941 section 3.3.5) without parameters."""
_PAIR: Final = re.compile(r"""\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s";,]+)\s*""")
"""A pair of a ``Forwarded`` element (RFC 7239 section 4)."""

Address = IPv4Address | IPv6Address


class ProxyMiddleware:
    """Puts the client, the scheme and the client's certificate into the scope as the declared proxies say them."""

    def __init__(self, app: ASGIApp, server: ServerSettings) -> None:
        self.app = app
        self._proxies = tuple(ip_network(network) for network in server.trusted_proxies)
        self._forwarded = server.proxy_headers == "forwarded"
        self._certificates = server.proxy_client_certificates
        self._clear = server.tls is None and not loopback(server.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "http" and self._proxies:
            try:
                self._read(scope)
            except HandrailError as error:
                report(scope, error)
                await shaped(scope, error, problem(error, request_id_of(scope)))(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _read(self, scope: Scope) -> None:
        client = scope.get("client")
        peer = None if not client else address(client[0])
        if peer is None or not self._declared(peer):
            local = not client or (peer is not None and peer.is_loopback)
            if self._clear and not local and not is_public(scope["path"]):
                raise Refused(Reason.REQUEST_INSECURE, "without TLS, and from no declared proxy")
            return
        # Whatever certificate the connection has is the proxy's own.
        scope.pop(CERTIFICATE, None)
        said: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            if name in _READ:
                said.setdefault(name, []).append(value)
        if self._certificates and _CLIENT_CERT in said:
            scope[CERTIFICATE] = certificate(said[_CLIENT_CERT])
        if self._forwarded:
            hops, scheme = forwarded(said.get(b"forwarded", ()))
        else:
            hops = list(_listed(said.get(b"x-forwarded-for", ())))
            scheme = _scheme(value.decode("latin-1").strip() for value in said.get(b"x-forwarded-proto", ()))
        scope["client"] = (str(self._client(peer, hops)), 0)
        if scheme is not None:
            scope["scheme"] = scheme

    def _client(self, peer: Address, hops: Sequence[str | None]) -> Address:
        """The rightmost that is no declared proxy. What is no address ends the way: it is the proxy's that wrote it."""
        last = peer
        for hop in list(reversed(hops))[:HOPS_MAX]:
            found = None if hop is None else address(hop)
            if found is None:
                return last
            if not self._declared(found):
                return found
            last = found
        return last

    def _declared(self, found: Address) -> bool:
        return any(found in network for network in self._proxies if network.version == found.version)


def address(text: str) -> Address | None:
    """An IP address, with or without a port; an IPv4 address in IPv6's spelling is the IPv4 address."""
    host = text.strip()
    if host.startswith("["):
        host, end, rest = host[1:].partition("]")
        if not end or (rest and re.fullmatch(r":[0-9]{1,5}", rest) is None):
            return None
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
        if re.fullmatch(r"[0-9]{1,5}", port) is None:
            return None
    if "%" in host:
        return None
    try:
        found = ip_address(host)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def loopback(host: str) -> bool:
    """Whether a listener on ``host`` is reached from this machine alone."""
    found = address(host)
    return host == "localhost" if found is None else found.is_loopback


def listener_problem(server: ServerSettings) -> str | None:
    """Why the gateway must not listen so; ``None`` where it may."""
    if loopback(server.host) or server.tls is not None or server.trusted_proxies:
        return None
    return f"[server] host {server.host} is beyond loopback, and there is neither TLS nor a proxy that ends it"


def certificate(values: Sequence[bytes]) -> Certificate:
    """The client's certificate that a proxy says (RFC 9440 section 2.2).

    Raises:
        Malformed: ``request.malformed``; also for two: one of them may be a client's own words.
    """
    found = _ITEM.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        raise Malformed("not one certificate", parameter="Client-Cert", expected="one, as RFC 9440 writes it")
    try:
        der = base64.b64decode(found[1], validate=True)
    except binascii.Error:
        raise Malformed("not base64", parameter="Client-Cert", expected="one, as RFC 9440 writes it") from None
    return Certificate.read(der)


def forwarded(values: Iterable[bytes]) -> tuple[list[str | None], str | None]:
    """The hops of ``Forwarded`` headers, in order, and the scheme of the last; ``None`` for what cannot be read."""
    hops: list[str | None] = []
    scheme = None
    for element in _parted(",".join(value.decode("latin-1") for value in values), ","):
        pairs: dict[str, str] | None = {}
        for pair in _parted(element, ";"):
            found = _PAIR.fullmatch(pair)
            if found is None or pairs is None or found[1].lower() in pairs:
                pairs = None
                continue
            pairs[found[1].lower()] = re.sub(r"\\(.)", r"\1", found[2][1:-1]) if found[2][0] == '"' else found[2]
        hops.append(None if pairs is None else pairs.get("for"))
        scheme = None if pairs is None else _scheme([pairs.get("proto", "")])
    return hops, scheme


def _parted(text: str, at: str) -> Iterator[str]:
    """Parts of ``text`` at a separator outside of quotes."""
    part, quoted, escaped = "", False, False
    for character in text:
        if character == at and not quoted:
            if part.strip():
                yield part
            part = ""
            continue
        if character == '"' and not escaped:
            quoted = not quoted
        escaped = character == "\\" and quoted and not escaped
        part += character
    if part.strip():
        yield part


def _listed(values: Iterable[bytes]) -> Iterator[str | None]:
    for value in values:
        yield from value.decode("latin-1").split(",")


def _scheme(values: Iterable[str]) -> str | None:
    """The one scheme that was said; two say nothing."""
    found = list(values)
    return found[0].lower() if len(found) == 1 and found[0].lower() in {"http", "https"} else None
