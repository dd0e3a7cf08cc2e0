"""uvicorn, set up for hostile clients. ``handrail serve`` and the tests both start from :func:`uvicorn_config`."""

import asyncio
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Self, cast

import structlog
import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.certificates import Certificate
from gateway.errors import HandrailError, Malformed, Refused
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.telemetry import Metrics
from gateway.tls import ListeningContext, ServerTls, TlsContext
from gateway.web.context import CERTIFICATE
from gateway.web.doors import Beyond, Doors, HungUp, Place
from gateway.web.errors import problem
from gateway.web.limits import HEADERS_MAX_BYTES

_log = structlog.get_logger("handrail.web.server")

KEEP_ALIVE_SECONDS: Final = 15
HEAD_TIMEOUT_SECONDS: Final = 10.0
"""How long a connection may take to send a request's head, its very first included."""
UNREAD_SECONDS: Final = 30.0
"""How long a client may leave unread what it was answered; see :data:`UNREAD_PROGRESS_BYTES`."""
UNREAD_PROGRESS_BYTES: Final = 16_384
"""What it has to take of it in that time, where it does not take all."""
_SHUTDOWN_SECONDS: Final = 5
"""How long a stop waits for answers that draining did not end."""


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

    A head is limited in bytes and in seconds; what arrives after an answer was given is limited like a body; an answer
    that its client does not read is given up; and there are only so many connections, in all and of one address.
    """

    _surplus_max_bytes: int = 1_048_576

    def __init__(self, *args: Any, doors: Doors, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._doors = doors
        self._place: Place | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._unread_bytes = 0
        self._head_bytes = 0
        self._in_head = False
        self._surplus_bytes = 0
        self._tls: Peer | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, and arm the timer: a client that connects owes a request."""
        super().connection_made(transport)
        self._place = place = self._doors.enter(self.client[0] if self.client else None, transport.abort)
        if place.refusal is not None:
            self.app = Beyond(self.app, self._doors, place, place.refusal)
        self._tls = Peer.of(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the place and the timers with the connection."""
        self._disarm()
        self._disarm_unread()
        if self._place is not None:
            self._doors.leave(self._place)
            self._place = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what an unfinished head goes on to take; the parser itself would wait for its end for ever.

        The piece in which a head begins is not counted (it may hold a whole earlier request), so the limit here is
        exact but for one read of the socket; ``LimitsMiddleware`` holds complete heads to it exactly.
        """
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._head_bytes > HEADERS_MAX_BYTES:
            facts = {"headers_max_bytes": HEADERS_MAX_BYTES}
            self._write_problem(Refused(Reason.REQUEST_HEADERS_TOO_LARGE, **facts))
        elif self._head_timer is None and (self._in_head or self._idle()):
            # Also after line ends between requests, and for the rest of a body that nobody waits for: uvicorn stops
            # its own timer at whatever comes.
            self._arm()

    def _idle(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete and self.timeout_keep_alive_task is None

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

    def on_response_complete(self) -> None:
        """What is left of an answer has to be read."""
        super().on_response_complete()
        if self._unread_timer is None and self.transport.get_write_buffer_size():
            self._arm_unread()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        if self._unread_timer is None:
            self._arm_unread()

    def _arm_unread(self) -> None:
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self._look_at_unread)

    def _disarm_unread(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def resume_writing(self) -> None:
        """It has taken what there was, but for a little; of an answer that is whole, that too has to be taken."""
        super().resume_writing()
        if self.cycle is None or not self.cycle.response_complete:
            self._disarm_unread()

    def _look_at_unread(self) -> None:
        self._unread_timer = None
        left = self.transport.get_write_buffer_size()
        if not left:
            return
        if left > self._unread_bytes - UNREAD_PROGRESS_BYTES:
            self._doors.hung_up(HungUp.UNREAD)
            self.transport.abort()
        else:
            self._arm_unread()

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._head_timed_out)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._doors.hung_up(HungUp.HEAD)
            self.transport.close()

    def _write_problem(self, error: HandrailError) -> None:
        """No ASGI request exists yet, so the problem document is written by hand."""
        answer = problem(error, "", headers={"x-content-type-options": "nosniff", "cache-control": "no-store"})
        answer.headers["connection"] = "close"
        status = HTTPStatus(answer.status_code)
        headers = (b"%s: %s" % pair for pair in answer.raw_headers)
        lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode()), *headers]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(answer.body))
        self.transport.close()


class GuardedLoop(uvloop.Loop):
    """A loop that gives a TLS handshake no longer than a request's head; by default it may take a minute."""

    async def create_server(self, *args: Any, **options: Any) -> Any:
        """See ``asyncio.AbstractEventLoop``."""
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HEAD_TIMEOUT_SECONDS)
            options.setdefault("ssl_shutdown_timeout", HEAD_TIMEOUT_SECONDS)
        return await super().create_server(*args, **options)


def uvicorn_config(
    app: ASGIApp, settings: Settings, *, tls: ServerTls | None = None, metrics: Metrics | None = None
) -> uvicorn.Config:
    """The server's configuration. What proxies say is read by ``gateway.web.proxies``, not by uvicorn."""
    doors = Doors(settings.limits, settings.server.trusted_proxies, metrics or Metrics())
    return uvicorn.Config(
        app,
        host=settings.server.host,
        port=settings.server.port,
        http=cast("type[asyncio.Protocol]", partial(GuardedHttpProtocol, doors=doors)),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls.context,
        loop=f"{__name__}:{GuardedLoop.__name__}",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=HEADERS_MAX_BYTES,
    )
