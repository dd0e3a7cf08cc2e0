"""How a vendor's SDK reaches its service: over our dialer, with the credential that the gateway adds to each request
and none of what the SDK would add of itself.

An SDK reads keys, headers and proxies from the environment of its process. None of that may leave: of a request's
headers, those go out that the service's API is about.
"""

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import httpx2
from yarl import URL

from gateway.settings import ManagedAgentsSettings, SettingsError
from hand_adapters.dialer import CURRENT, Attempt, Dialer, Disconnected, session

PASSED: Final = frozenset({"accept", "content-type"})
_PASSED_PREFIX: Final = "anthropic-"
"""Headers that a request keeps."""
_TRAVEL: Final = frozenset({"connection", "content-encoding", "content-length", "transfer-encoding"})
"""Headers of an answer that speak of how it travelled."""
LINE_MAX_BYTES: Final = 16_777_216
"""Of an answer without a line's end: whoever reads it keeps a line whole."""

DOCUMENT_MAX_BYTES: Final = 67_108_864
"""Of an answer that is no stream of events: whoever reads it keeps it whole."""
_EVENT_STREAM: Final = "text/event-stream"

Credential = Callable[[], Awaitable[Mapping[str, str]]]
"""The headers that say who asks, as they are now. Raises ``HandrailError``."""


class ServiceTransport(httpx2.AsyncBaseTransport):
    """One service, over a session of its own for its life; no redirect is followed, nothing is sent twice."""

    def __init__(self, where: str, *, private_network: bool, ca_file: Path | None, credential: Credential) -> None:
        """Connect to nothing yet.

        Args:
            where: the setting that this serves, for messages.
            ca_file: the only authorities whose certificates are believed; ``None`` for the system's.

        Raises:
            SettingsError: the file of authorities cannot be used.
        """
        self._private_network = private_network
        self._credential = credential
        self._http: aiohttp.ClientSession | None = None
        try:
            self._tls = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        except (OSError, ssl.SSLError) as exc:
            raise SettingsError(f"{where}.ca_file: {exc.strerror or 'no certificates in PEM'}") from None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it; the answer's body is read as it arrives.

        Raises:
            HandrailError: the credential cannot be had; nothing was sent.
            httpx2.ConnectError: nothing was sent.
            httpx2.ReadError, httpx2.ReadTimeout: it may have been.
        """
        added = await self._credential()
        if self._http is None:
            self._http = session(Dialer(private_network=self._private_network))
        headers = {name: text for name, text in request.headers.items() if _passes(name.lower())}
        seconds = _read_seconds(request)
        attempt = Attempt()
        token = CURRENT.set(attempt)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._http.request(
                    request.method,
                    URL(str(request.url), encoded=True),
                    data=await request.aread(),
                    headers={**headers, **added},
                    allow_redirects=False,
                    ssl=self._tls,
                )
        except (aiohttp.ClientError, OSError, Disconnected, ValueError) as exc:
            if not attempt.connected:
                raise httpx2.ConnectError(type(exc).__name__, request=request) from None
            if isinstance(exc, TimeoutError):
                raise httpx2.ReadTimeout("no answer", request=request) from None
            raise httpx2.ReadError(type(exc).__name__, request=request) from None
        finally:
            CURRENT.reset(token)
        kept = [(name, text) for name, text in answer.headers.items() if name.lower() not in _TRAVEL]
        return httpx2.Response(answer.status, headers=kept, stream=_Body(answer, seconds), request=request)

    async def aclose(self) -> None:
        """Close every connection."""
        if self._http is not None:
            await self._http.close()
            self._http = None


def service_transport(where: str, one: ManagedAgentsSettings, credential: Credential) -> ServiceTransport:
    """What sends requests to the service that runs agents. Raises as :class:`ServiceTransport`."""
    return ServiceTransport(where, private_network=one.private_network, ca_file=one.ca_file, credential=credential)


class _Body(httpx2.AsyncByteStream):
    """An answer's body, piece by piece; a silence that is too long ends it, or a line or a document that is."""

    def __init__(self, answer: aiohttp.ClientResponse, seconds: float | None) -> None:
        self._answer = answer
        self._seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        open_bytes = 0
        room = math.inf if self._answer.content_type == _EVENT_STREAM else DOCUMENT_MAX_BYTES
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    piece = await self._answer.content.readany()
            except TimeoutError:
                raise httpx2.ReadTimeout("silence") from None
            except (aiohttp.ClientError, OSError, Disconnected) as exc:
                raise httpx2.ReadError(type(exc).__name__) from None
            if not piece:
                return
            end = piece.rfind(b"\n")
            open_bytes = open_bytes + len(piece) if end < 0 else len(piece) - end - 1
            if open_bytes > LINE_MAX_BYTES:
                raise httpx2.ReadError("a line without an end")
            room -= len(piece)
            if room < 0:
                raise httpx2.ReadError("a document without an end")
            yield piece

    async def aclose(self) -> None:
        self._answer.close()


def _passes(name: str) -> bool:
    return name in PASSED or name.startswith(_PASSED_PREFIX)


def _read_seconds(request: httpx2.Request) -> float | None:
    timeouts: Any = request.extensions.get("timeout") or {}
    seconds = timeouts.get("read")
    return None if seconds is None else float(seconds)
