"""How a jail's listeners come to the gateway: made in the jail's network namespace, handed out of it by a socket."""

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
            data, descriptors, _flags, _address = socket.recv_fds(self._ours, 16, LISTENERS)
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
