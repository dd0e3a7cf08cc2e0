"""What stands between the suite and what it examines, on both legs: it adds the credential that the suite cannot send.

Everything else goes through as it came, ``Host`` and ``Origin`` with it: scenarios lie in these.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"})
"""Of one connection alone (RFC 9110 section 7.6.1)."""


def _through(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name.lower() not in _HOP]


@asynccontextmanager
async def forwarding(target: str, added: Mapping[str, str]) -> AsyncIterator[str]:
    """A forwarder on loopback to ``target`` (``http://host:port/path``); yields its own URL with the same path.

    Args:
        added: headers that every request gets beside its own.
    """
    base = target.split("/", 3)
    origin, path = "/".join(base[:3]), f"/{base[3]}"
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as upstream:

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = [*_through(request.headers), *added.items()]
            async with upstream.request(
                request.method,
                origin + request.raw_path,
                headers=headers,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                data=await request.read() or None,
                allow_redirects=False,
            ) as answer:
                response = web.StreamResponse(status=answer.status, headers=_through(answer.headers))
                with contextlib.suppress(aiohttp.ClientConnectionResetError):  # the suite has left
                    await response.prepare(request)
                    async for chunk in answer.content.iter_any():
                        await response.write(chunk)
                    await response.write_eof()
                return response

        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{rest:.*}", forward)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            (_, port), *_ = runner.addresses
            yield f"http://127.0.0.1:{port}{path}"
        finally:
            await runner.cleanup()
