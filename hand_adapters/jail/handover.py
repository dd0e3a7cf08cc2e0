"""How a jail's listeners come to the gateway: made in the jail's network namespace, handed out of it by a socket."""

import array
import asyncio
import contextlib
import os
import socket
from types import TracebackType
from typing import Any, Final, Self

from hand_adapters.jail.process import JailedProcess
from hand_adapters.jail.spec import Gate, JailError

LISTENERS: Final = 2
"""Of TCP, and of unix sockets."""


class Handover:
    """A socket pair of one start. Nobody outside of that jail's network namespace can reach what it hands over."""

    def __init__(self, gate: Gate) -> None:
        self.where: dict[str, Any] = {"port": gate.port, "name": gate.name}
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)

    @property
    def theirs(self) -> int:
        """The descriptor that goes to the launcher."""
        return self._theirs.fileno()

    async def listeners(self, process: JailedProcess) -> list[socket.socket]:
        """What the starting jail hands over.

        Raises:
            JailError: it ended before it did.
        """
        self._theirs.close()
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._ours, readable.set)
        try:
            await readable.wait()
            data, descriptors = _received(self._ours)
        finally:
            loop.remove_reader(self._ours)
        if not data or len(descriptors) != LISTENERS:
            for descriptor in descriptors:
                os.close(descriptor)
            await process.wait()  # says what went wrong, where the jail itself did
            raise JailError("the jail's way out could not be opened")
        found = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        for listener in found:
            listener.setblocking(False)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ours.close()
        with contextlib.suppress(OSError):
            self._theirs.close()


def _received(ours: socket.socket) -> tuple[bytes, list[int]]:
    """A message and its descriptors, none of which a program of the gateway inherits (``socket.recv_fds`` of
    Python 3.11 ignores its flags)."""
    space = socket.CMSG_SPACE(4 * LISTENERS)
    data, ancillary, _flags, _address = ours.recvmsg(16, space, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for _level, kind, raw in ancillary:
        if kind == socket.SCM_RIGHTS:
            descriptors.frombytes(raw[: len(raw) - len(raw) % descriptors.itemsize])
    return data, list(descriptors)
