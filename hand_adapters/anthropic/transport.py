"""How the SDK's client reaches an endpoint: over our dialer, with what the gateway adds to each request and nothing
that the SDK would add of itself.

The SDK reads keys, headers and proxies from the environment of its process. None of that may leave: of a request's
headers, those go out that the Messages API is about, and its credential is the one that the gateway injects.
"""

from contextvars import ContextVar
from typing import Final

import aiohttp
import httpx2
from yarl import URL

from gateway.calls import HandCall
from hand_adapters import http_answer

CALL: Final[ContextVar[HandCall]] = ContextVar("handrail_model_call")
"""The call that the running task makes."""
PASSED: Final = frozenset({"accept", "anthropic-beta", "anthropic-version", "content-type"})
"""Headers that a request keeps."""
_DECODED: Final = frozenset({"connection", "content-encoding", "content-length", "transfer-encoding"})
"""Headers of an answer that speak of how it travelled."""


class DialedTransport(httpx2.AsyncBaseTransport):
    """One request over a session of ours. An answer is read as far as the call allows, and no redirect is followed."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it for the call of :data:`CALL`.

        Raises:
            HandError: as ``http_answer.read``, and as ``HandCall.inject``.
            aiohttp.ClientError: no answer.
        """
        call = CALL.get()
        url = URL(str(request.url), encoded=True)
        added = await call.inject(url.scheme, url.raw_host or "", url.port or 0, request.method, url.raw_path)
        passed = PASSED - {name.lower() for name in added.headers}
        headers = {name: text for name, text in request.headers.items() if name.lower() in passed}
        async with self._http.request(
            request.method, url, data=request.content, headers={**headers, **added.headers}, allow_redirects=False
        ) as response:
            http_answer.told(response.status)
            body = await http_answer.read(response, call.result_max_bytes)
            kept = [(name, text) for name, text in response.headers.items() if name.lower() not in _DECODED]
            return httpx2.Response(response.status, headers=kept, content=body, request=request)

    async def aclose(self) -> None:
        """The session is closed by whoever opened it."""
