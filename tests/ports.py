"""A port for a program that has to be told one, or that has to have the same one again after a restart."""

import random
import socket
from typing import Final

_RANGE: Final = range(20_000, 32_000)
"""Below what kernels choose from for port 0 and for a connection's own end (by default from 32,768 on with Linux, from
49,152 on elsewhere), so that only another one of these can take a port while nobody listens on it."""
_CHOICE: Final = random.SystemRandom()


def free_port() -> int:
    """A TCP port of loopback on which nobody listens."""
    for port in _CHOICE.sample(_RANGE, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("of a hundred ports, none is free")
