"""HTTP/1.1 to one server, as a key store needs it: a deadline for the whole exchange, a bound on the answer, no
redirects and no proxy. Blocking and thread-safe; connections are kept.
"""

import contextlib
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httptools

from keys.errors import KeyUnavailable
from keys.stores.breaker import Breaker

ANSWER_MAX_BYTES: Final = 65_536
"""With its head."""
_IDLE_MAX: Final = 4
_CHUNK_BYTES: Final = 16_384


class _Closed(OSError):
    """The server closed the connection before it said anything."""


_STALE: Final = (_Closed, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What a kept connection ends with that the server had closed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes = field(repr=False)


class Http:
    """A client of one server.

    Args:
        url: ``https://host[:port][/prefix]``, or ``http://`` for a loopback address.
        ca_file: PEM of the authorities that may vouch for the server; the system's where it is ``None``.
        timeout_seconds: for one exchange, from the first packet to the last byte. The system's resolver, which keeps
            its own time, comes before that.

    Raises:
        KeyUnavailable: ``ca_file`` cannot be used.
    """

    def __init__(self, url: str, ca_file: Path | None, timeout_seconds: float, breaker: Breaker | None = None) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._host, self._port = str(parts.hostname), parts.port or (443 if self._tls else 80)
        self._authority, self._prefix = parts.netloc, parts.path.rstrip("/")
        self._timeout = timeout_seconds
        self._breaker = Breaker() if breaker is None else breaker
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        weakref.finalize(self, _close_all, self._idle)
        self._context = _context(ca_file) if self._tls else None
        self.where = f"{parts.scheme}://{parts.netloc}"

    def exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """One request and its answer. A kept connection that the server had closed is replaced once; nothing else is
        tried again.

        Raises:
            KeyUnavailable: no whole answer came in time, or it is too long, or no HTTP, or a redirect.
        """
        self._breaker.check()
        deadline = time.monotonic() + self._timeout
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"Host: {self._authority}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        request = "\r\n".join([*lines, "", ""]).encode("ascii") + body
        try:
            answer = self._answer(request, deadline)
        except (OSError, ValueError, httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            raise self._breaker.open(f"{self.where}: {_said(exc)}") from None
        if 300 <= answer.status < 400:
            raise KeyUnavailable(f"{self.where}: it redirects ({answer.status}); name the server itself")
        return answer

    def close(self) -> None:
        """Let go of the connections that are kept."""
        with self._lock:
            _close_all(self._idle)

    def _answer(self, request: bytes, deadline: float) -> Answer:
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            with contextlib.suppress(*_STALE):
                return self._ask(kept, request, deadline)
        return self._ask(self._connect(deadline), request, deadline)

    def _ask(self, connection: socket.socket, request: bytes, deadline: float) -> Answer:
        reading = _Reading()
        with _closed_on_failure(connection):
            connection.settimeout(_left(deadline))
            connection.sendall(request)
            while not reading.complete:
                connection.settimeout(_left(deadline))
                reading.feed(connection.recv(_CHUNK_BYTES))
        self._keep(connection, reusable=reading.reusable)
        return Answer(reading.status, bytes(reading.body))

    def _connect(self, deadline: float) -> socket.socket:
        last: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM):
            connection = socket.socket(family, kind, protocol)
            try:
                with _closed_on_failure(connection):
                    connection.settimeout(_left(deadline))
                    connection.connect(address)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    if self._context is None:
                        return connection
                    return self._context.wrap_socket(connection, server_hostname=self._host)
            except ssl.SSLError:
                raise
            except OSError as exc:
                last = exc
        raise last or OSError("it has no address")

    def _keep(self, connection: socket.socket, *, reusable: bool) -> None:
        with self._lock:
            if reusable and len(self._idle) < _IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()


class _Reading:
    """An answer while it comes in; the callbacks are those of ``httptools.HttpResponseParser``."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._bytes = 0
        self.body = bytearray()
        self.status = 0
        self.complete = False
        self.reusable = False

    def feed(self, data: bytes) -> None:
        if not data:
            raise ConnectionError("the answer ends in the middle") if self._bytes else _Closed("no answer")
        self._bytes += len(data)
        if self._bytes > ANSWER_MAX_BYTES:
            raise ValueError(f"an answer of over {ANSWER_MAX_BYTES} bytes")
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("two answers to one request")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.complete = self.status >= 200  # what comes before is not the answer (RFC 9110, section 15.2)
        self.reusable = self._parser.should_keep_alive()


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as exc:
        raise KeyUnavailable(f"{ca_file}: no certificates can be read from it: {_said(exc)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextlib.contextmanager
def _closed_on_failure(connection: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _close_all(connections: list[socket.socket]) -> None:
    while connections:
        connections.pop().close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _said(exc: Exception) -> str:
    """What went wrong, for people; never what was sent or received."""
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {exc.verify_message}"
    if isinstance(exc, socket.gaierror):
        return "its name is not known"
    if isinstance(exc, httptools.HttpParserError | httptools.HttpParserUpgrade):
        return "its answer is no HTTP"
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc) or type(exc).__name__
