"""What the launcher knows of each process that it has started: a jail, or one that waits to become one."""

import json
import os
import socket


class Spare:
    """A process that waits for an order, in cgroups of its own."""

    def __init__(self, pid: int, orders: socket.socket, groups: list[str]) -> None:
        self.pid = pid
        self.orders = orders
        self.groups = groups


class Running:
    """One jail.

    Attributes:
        began: whether its program itself ran.
        failed: what of ``landlock-exec`` failed before it could.
    """

    def __init__(
        self, key: int, pid: int, status: int, groups: list[str], deadline: float | None, *, confines: bool
    ) -> None:
        self.key = key
        self.pid = pid
        self.status = status
        self.groups = groups
        self.deadline = deadline
        self.timed_out = False
        self.returncode: int | None = None
        self.inner: int | None = None
        self.began = False
        self.failed: str | None = None
        self._confined = not confines

    def read_status(self) -> None:
        """Read what bubblewrap and ``landlock-exec`` reported: the pid of the child, and how the program ended.

        Bubblewrap gives an exit code only where it could execute what it was told to. That is ``landlock-exec`` where
        ``confines`` was said, and the program began only where that one says so, whatever it ended with.
        """
        os.set_blocking(self.status, False)
        try:
            text = os.read(self.status, 4096)
        except BlockingIOError:
            text = b""
        os.close(self.status)
        code: int | None = None
        for line in text.splitlines():
            report = json.loads(line)
            self.inner = report.get("child-pid", self.inner)
            code = report.get("exit-code", code)
            self._confined = report.get("confined", self._confined)
            self.failed = report.get("failed", self.failed)
        if code is not None and self.failed is not None:
            self.failed = f"{self.failed}: {os.strerror(code)}"
        elif code is not None and self._confined:
            self.began = True
            self.returncode = 128 - code if code > 128 else code
