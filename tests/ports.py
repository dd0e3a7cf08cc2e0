"""A port for a program that has to be told one. It is free now: somebody else may take it before the program does."""

import socket


def free_port() -> int:
    """A TCP port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
