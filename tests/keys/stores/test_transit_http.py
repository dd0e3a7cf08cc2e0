"""The connection to a key service: who it trusts, how long it waits, and what it does after a server that hung."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keys.errors import KeyUnavailable
from keys.stores.breaker import PAUSE_SECONDS, Breaker
from keys.stores.transit.http import Http
from tests.authority import Authority
from tests.openbao import OpenBao

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
PATIENT_SECONDS = 30.0
IMPATIENT_SECONDS = 0.2


class Served:
    """A server of one script for each connection; knows how many there were."""

    def __init__(self) -> None:
        self.connections = 0
        self.over = threading.Event()


@contextmanager
def serving(talk: Callable[[socket.socket, Served], None]) -> Iterator[tuple[str, Served]]:
    """A server that accepts and then does as ``talk`` does."""
    served, listener = Served(), socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            served.connections += 1
            threading.Thread(target=converse, args=(connection,), daemon=True).start()

    def converse(connection: socket.socket) -> None:
        with connection:
            try:
                talk(connection, served)
            except OSError:
                return

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", served
    finally:
        served.over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def hang(connection: socket.socket, served: Served) -> None:
    connection.recv(65_536)
    served.over.wait()


def drip(connection: socket.socket, served: Served) -> None:
    """A byte at a time, each well within what one may take."""
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not served.over.wait(0.01):
        connection.sendall(b"x")


@pytest.mark.parametrize("talk", [hang, drip])
def test_a_server_that_does_not_come_to_an_end_is_left_and_not_asked_again_at_once(
    talk: Callable[[socket.socket, Served], None],
) -> None:
    now = [100.0]
    with serving(talk) as (url, served):
        http = Http(url, None, IMPATIENT_SECONDS, Breaker(lambda: now[0]))
        with pytest.raises(KeyUnavailable, match="in time"):
            http.exchange("GET", "/", {})
        now[0] += PAUSE_SECONDS / 2
        for _ in range(10):
            with pytest.raises(KeyUnavailable, match=r"in time.*not asked again"):
                http.exchange("GET", "/", {})
        assert served.connections == 1
        now[0] += PAUSE_SECONDS
        with pytest.raises(KeyUnavailable, match="in time"):
            http.exchange("GET", "/", {})
        assert served.connections == 2


def test_a_kept_connection_that_the_server_closed_is_replaced_and_counts_as_no_outage() -> None:
    def one_answer(connection: socket.socket, served: Served) -> None:
        connection.recv(65_536)
        connection.sendall(GOOD)

    with serving(one_answer) as (url, served):
        http = Http(url, None, PATIENT_SECONDS)
        for _ in range(3):
            assert http.exchange("GET", "/", {}).status == 200
        assert served.connections == 3


def test_a_server_that_closes_each_connection_is_not_asked_for_ever() -> None:
    with serving(lambda connection, served: None) as (url, served):
        with pytest.raises(KeyUnavailable):
            Http(url, None, PATIENT_SECONDS).exchange("GET", "/", {})
        assert served.connections == 1


def test_an_interim_answer_is_not_the_answer() -> None:
    def two(connection: socket.socket, served: Served) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" + GOOD)

    with serving(two) as (url, _):
        assert Http(url, None, PATIENT_SECONDS).exchange("GET", "/", {}).body == b"{}"


def test_nobody_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(KeyUnavailable, match="refused"):
        Http(f"http://127.0.0.1:{port}", None, PATIENT_SECONDS).exchange("GET", "/", {})


def test_a_proxy_of_the_environment_is_not_used(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(hang) as (proxy, served):
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        assert Http(openbao.url, openbao.ca_file, PATIENT_SECONDS).exchange("GET", "/v1/sys/health", {}).status == 200
        assert served.connections == 0


@pytest.mark.parametrize("authority", [None, "another"])
def test_a_server_that_no_known_authority_vouches_for_is_told_nothing(
    openbao: OpenBao, tmp_path: Path, authority: str | None
) -> None:
    """What a man in the middle has: a certificate for the name, by an authority of his own."""
    ca_file = None if authority is None else Authority(tmp_path / authority).certificate
    with pytest.raises(KeyUnavailable, match="not trusted"):
        Http(openbao.url, ca_file, PATIENT_SECONDS).exchange("GET", "/v1/sys/health", {})


def test_a_certificate_for_another_name_is_refused(openbao: OpenBao) -> None:
    url = openbao.url.replace("127.0.0.1", "localhost")
    with pytest.raises(KeyUnavailable, match="not trusted"):
        Http(url, openbao.ca_file, PATIENT_SECONDS).exchange("GET", "/v1/sys/health", {})


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_of_authorities_that_holds_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(KeyUnavailable, match=r"ca\.pem"):
        Http("https://127.0.0.1:1", file, PATIENT_SECONDS)
