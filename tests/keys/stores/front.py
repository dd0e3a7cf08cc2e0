"""What stands between a gateway and a real server and does as it likes with what passes: a relay on plain loopback."""

import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.openbao import OpenBao


@dataclass
class Passing:
    """A request, and the server's answer to it once there is one."""

    method: str
    path: str
    body: dict[str, Any]
    status: int = 0
    answer: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """Sent in the answer's place, byte for byte."""


@dataclass
class Front:
    """The relay.

    Attributes:
        before: what is done to a request before it is passed on.
        after: what is done to the answer.
        seen: every request, as ``METHOD /path``.
        tokens: every token that was sent.
    """

    url: str
    before: Callable[[Passing], None] = lambda _: None
    after: Callable[[Passing], None] = lambda _: None
    seen: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)


@contextmanager
def front(bao: OpenBao) -> Iterator[Front]:
    """A relay to ``bao`` that changes nothing yet."""
    context = ssl.create_default_context(cafile=str(bao.ca_file))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body go in two pieces: the second would wait for 40 ms

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            passing = Passing(self.command, self.path, json.loads(content) if content else {})
            relay.seen.append(f"{self.command} {self.path}")
            relay.tokens.append(str(self.headers.get("X-Vault-Token")))
            relay.before(passing)
            connection = http.client.HTTPSConnection(str(urlsplit(bao.url).netloc), context=context, timeout=30)
            with contextlib.closing(connection):
                sent = json.dumps(passing.body) if content else None
                connection.request(
                    passing.method, passing.path, sent, {"X-Vault-Token": str(self.headers.get("X-Vault-Token"))}
                )
                got = connection.getresponse()
                body = got.read()
            passing.status, passing.answer = got.status, json.loads(body) if body else {}
            relay.after(passing)
            with contextlib.suppress(OSError):  # whoever asked may have gone
                self._answer(passing)

        def _answer(self, passing: Passing) -> None:
            if passing.raw is not None:
                self.wfile.write(passing.raw)
                self.close_connection = True
                return
            body = json.dumps(passing.answer).encode() if passing.answer else b""
            self.send_response(passing.status)
            for name, value in passing.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do_PUT = handle_any  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    relay = Front(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield relay
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
