"""A server that never comes to an end: it begins an answer, and sends a byte of it now and then."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Final

BYTES_MAX: Final = 2_000
"""After these it stops, so that whoever has no deadline of its own fails and does not hang."""
_PAUSE_SECONDS: Final = 0.02
_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: 4000\r\n\r\n"


@contextlib.contextmanager
def dripping() -> Iterator[str]:
    """Its URL."""
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(_HEAD)
            for _ in range(BYTES_MAX):
                if over.wait(_PAUSE_SECONDS):
                    return
                connection.sendall(b" ")

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                answering.append(threading.Thread(target=answer, args=(connection,)))
                answering[-1].start()

    answering: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=serve, args=(listener,))
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in answering:
                thread.join()
