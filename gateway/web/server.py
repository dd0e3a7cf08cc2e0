"""uvicorn, set up for hostile clients. ``handrail serve`` and the tests both start from :func:`uvicorn_config`."""

import asyncio
import resource
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import orjson
import structlog
import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.certificates import Certificate
from gateway.errors import Malformed
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.tls import ListeningContext, ServerTls, TlsContext
from gateway.web.context import CERTIFICATE
from gateway.web.errors import document
from gateway.web.limits import HEADERS_MAX_BYTES

_log = structlog.get_logger("handrail.web.server")

CONNECTIONS_MAX: Final = 4096
KEEP_ALIVE_SECONDS: Final = 15
HEAD_TIMEOUT_SECONDS: Final = 10.0
"""How long a connection may take to send a request's head, its very first included."""
_SHUTDOWN_SECONDS: Final = 5
"""How long a stop waits for answers under way; event streams end with it."""
_DESCRIPTORS_KEPT: Final = 256
"""File descriptors left for the database, hands and their pipes."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a TLS connection, by the certificate that they showed in its handshake."""

    certificate: Certificate
    _chosen: TlsContext
    _listening: ListeningContext

    @classmethod
    def of(cls, transport: asyncio.BaseTransport) -> Self | None:
        """The peer; ``None`` for one that showed no certificate, or none that can be read."""
        connection = transport.get_extra_info("ssl_object")
        listening = transport.get_extra_info("sslcontext")
        if connection is None or not isinstance(listening, ListeningContext):
            return None
        der = connection.getpeercert(binary_form=True)
        chosen = connection.context
        if der is None or not isinstance(chosen, TlsContext):
            return None
        try:
            return cls(Certificate.read(der), chosen, listening)
        except Malformed as exc:
            _log.warning("client certificate not read", detail=exc.detail)
            return None

    @property
    def believed(self) -> bool:
        """Whether the authorities are still those that vouched for it."""
        return self._chosen.authorities == self._listening.newest.authorities


class GuardedHttpProtocol(HttpToolsProtocol):
    """uvicorn's parser with what it leaves open closed: it holds a head of any size for any time.

    A head is limited in bytes and in seconds; what arrives after an answer was given is limited like a body.
    """

    _surplus_max_bytes: int = 1_048_576

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._in_head = False
        self._surplus_bytes = 0
        self._tls: Peer | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Arm the timer: a client that connects owes a request."""
        super().connection_made(transport)
        self._tls = Peer.of(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the timer with the connection."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what an unfinished head goes on to take; the parser itself would wait for its end for ever.

        The piece in which a head begins is not counted (it may hold a whole earlier request), so the limit here is
        exact but for one read of the socket; ``LimitsMiddleware`` holds complete heads to it exactly.
        """
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if self._head_bytes > HEADERS_MAX_BYTES:
            self._answer_head_too_large()
        elif self._head_timer is None:
            self._arm()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()
        if self._tls is not None and self._tls.believed:
            cast("dict[str, Any]", self.scope)[CERTIFICATE] = self._tls.certificate

    def on_headers_complete(self) -> None:
        """The head is whole: its limits end here."""
        self._in_head = False
        self._surplus_bytes = 0
        self._disarm()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A body that keeps coming after it was answered is nobody's."""
        if self.cycle.response_complete:
            self._surplus_bytes += len(body)
            if self._surplus_bytes > self._surplus_max_bytes:
                self.transport.close()
                return
        super().on_body(body)

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._head_timed_out)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _answer_head_too_large(self) -> None:
        """No ASGI request exists yet, so the problem document is written by hand."""
        facts = {"headers_max_bytes": HEADERS_MAX_BYTES}
        body = orjson.dumps(document(Reason.REQUEST_HEADERS_TOO_LARGE, "", facts))
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
            b"x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        self.transport.close()


def connections_limit() -> int:
    """Connections to take at once: what the file descriptor limit leaves, at most :data:`CONNECTIONS_MAX`."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    available = CONNECTIONS_MAX if soft == resource.RLIM_INFINITY else soft - _DESCRIPTORS_KEPT
    return max(64, min(CONNECTIONS_MAX, available))


class GuardedLoop(uvloop.Loop):
    """A loop that gives a TLS handshake no longer than a request's head; by default it may take a minute."""

    async def create_server(self, *args: Any, **options: Any) -> Any:
        """See ``asyncio.AbstractEventLoop``."""
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HEAD_TIMEOUT_SECONDS)
        return await super().create_server(*args, **options)


def uvicorn_config(
    app: ASGIApp, settings: Settings, *, tls: ServerTls | None = None, connections_max: int | None = None
) -> uvicorn.Config:
    """The server's configuration. What proxies say is read by ``gateway.web.proxies``, not by uvicorn."""
    return uvicorn.Config(
        app,
        host=settings.server.host,
        port=settings.server.port,
        http=GuardedHttpProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls.context,
        loop=f"{__name__}:{GuardedLoop.__name__}",
        limit_concurrency=connections_max or connections_limit(),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=HEADERS_MAX_BYTES,
    )
