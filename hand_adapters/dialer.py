"""How the gateway reaches other machines: a name is resolved once, judged, and that very address is dialled.

Judging the address that is dialled, and not the name, is what stops a name that answers differently the second time
(DNS rebinding), a literal in an odd spelling, and an address wrapped in another family.
"""

import asyncio
import contextvars
import functools
import ipaddress
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection

# Nobody's hand lives here, whatever the operator allows: link-local (cloud metadata, RFC 3927), and the metadata
# addresses that clouds put into private ranges.
_NEVER: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32", "192.0.0.192/32")
)
_NAT64: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_SHARED: Final = ipaddress.ip_network("100.64.0.0/10")

LOOKUPS_MAX: Final = 4
"""Names that are looked up for one peer at once."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(OSError):
    """An address that the gateway does not dial. An ``OSError``, so that a connector reports it as not connected."""


class Attempt:
    """What became of one request: whether it may have left this machine."""

    __slots__ = ("connected",)

    def __init__(self) -> None:
        self.connected = False


CURRENT: Final[contextvars.ContextVar[Attempt]] = contextvars.ContextVar("handrail_attempt")
"""The attempt of the running task; :class:`Dialer` marks it once a connection is in hand."""


def permitted(host: str, *, private_network: bool) -> bool:
    """Whether the address literal ``host`` may be dialled.

    Args:
        host: an IPv4 or IPv6 literal, as a resolver gives it (a zone id is refused).
        private_network: also permit private, loopback and carrier-shared (RFC 6598) ranges.
    """
    try:
        address = _innermost(ipaddress.ip_address(host))
    except ValueError:
        return False
    if address.is_multicast or address.is_unspecified or any(address in network for network in _NEVER):
        return False
    if address.is_reserved and not address.is_loopback:
        return False
    site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    if address.is_private or address.is_loopback or site_local or address in _SHARED:
        return private_network
    return address.is_global


def _innermost(address: Address) -> Address:
    """The IPv4 address that an IPv6 one wraps (mapped, 6to4, Teredo, NAT64), where it wraps one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.scope_id is not None:
        raise ValueError("zone id")
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


class _Lookups:
    """An event loop that looks names up in threads of one peer's own: names that are slow to answer for take no thread
    that anybody else waits for. The system's look-ups cannot be ended, so a thread is busy until the system gives up.
    """

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(LOOKUPS_MAX, "lookup")

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        return await self._run(socket.getaddrinfo, args, kwargs)

    async def getnameinfo(self, *args: Any) -> Any:
        return await self._run(socket.getnameinfo, args, {})

    async def _run(self, look: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, functools.partial(look, *args, **kwargs))


def is_literal(host: str) -> bool:
    """Whether a host is an address and no name; an odd spelling of one (``127.1``) counts as one, which is refused."""
    return ":" in host or host.replace(".", "").isdecimal()


class _Resolver(AbstractResolver):
    """The system's resolver, less every address that may not be dialled."""

    def __init__(self, *, private_network: bool) -> None:
        self._lookups = _Lookups()
        self._system = aiohttp.ThreadedResolver(cast("asyncio.AbstractEventLoop", self._lookups))
        self._private_network = private_network

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._system.resolve(host, port, family)
        kept = [result for result in found if permitted(result["host"], private_network=self._private_network)]
        if not kept:
            raise AddressRefused(f"every address of the name is refused ({len(found)})")
        return kept

    def end(self) -> None:
        """Let the threads go; what they look up has nobody who waits for it."""
        self._lookups.threads.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        self.end()


class Dialer(aiohttp.TCPConnector):
    """A connection pool to one peer. Every socket it opens, for a name or a literal, is judged first."""

    def __init__(self, *, private_network: bool, limit: int = 256) -> None:
        self._resolver_of_ours = _Resolver(private_network=private_network)

        def open_socket(info: tuple[Any, ...]) -> socket.socket:
            family, kind, protocol, _, address = info
            if not permitted(address[0], private_network=private_network):
                raise AddressRefused("address refused")
            return socket.socket(family, kind, protocol)

        super().__init__(
            resolver=self._resolver_of_ours,
            socket_factory=open_socket,
            limit=limit,
            ttl_dns_cache=30,
            keepalive_timeout=15.0,
        )

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close every connection, and end looking up."""
        self._resolver_of_ours.end()
        await super().close(abort_ssl=abort_ssl)

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        """Take or open a connection; from here on the peer may see the request."""
        connection = await super().connect(*args, **kwargs)
        attempt = CURRENT.get(None)
        if attempt is not None:
            attempt.connected = True
        return connection


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep the library from sending a request a second time when a reused connection breaks (invariant 5)."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
        raise Disconnected from exc


class Disconnected(Exception):
    """The connection broke after the request may have left."""


def session(dialer: Dialer) -> aiohttp.ClientSession:
    """A session over ``dialer`` that keeps no cookies, obeys no proxy variables, retries and decompresses nothing."""
    return aiohttp.ClientSession(
        connector=dialer,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        raise_for_status=False,
        timeout=aiohttp.ClientTimeout(total=None),
        middlewares=(_once,),
        headers={"User-Agent": "handrail", "Accept-Encoding": "identity"},
    )


async def connected(host: str, port: int, *, private_network: bool) -> socket.socket:
    """A socket to a name or an address literal, by the first of its addresses that answers; each is judged, and that
    very address is dialled.

    Raises:
        OSError: none is permitted (:class:`AddressRefused`), or none answers.
    """
    resolver = _Resolver(private_network=private_network)
    loop = asyncio.get_running_loop()
    failure: OSError = AddressRefused("no address")
    try:
        addresses = await resolver.resolve(host, port, socket.AF_UNSPEC)
    finally:
        resolver.end()
    for found in addresses:
        family = socket.AF_INET6 if ":" in found["host"] else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setblocking(False)
            await loop.sock_connect(opened, (found["host"], found["port"]))
        except OSError as exc:
            opened.close()
            failure = exc
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    raise failure


async def dial(host: str, port: int, *, private_network: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection as :func:`connected` makes it.

    Raises:
        OSError: none is permitted (:class:`AddressRefused`), or none answers.
    """
    return await asyncio.open_connection(sock=await connected(host, port, private_network=private_network))
