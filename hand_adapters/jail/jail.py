"""The jail as the gateway sees it: start a program in it, talk over pipes, kill the whole tree."""

import asyncio
from pathlib import Path

from gateway.settings import JailSettings
from hand_adapters.jail.spec import OUTPUT_MAX_BYTES, Completed, JailError, JailSpec


class JailedProcess:
    """A running program in a jail.

    Attributes:
        stdin: write to the program; ``await drain()`` after. Closing it ends the program's input.
        stdout: read from the program; back-pressured, at most 1 MiB a line (``readline``).
        pid: host pid of the jail's supervisor process; ``0`` once it has ended.
    """

    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    pid: int

    @property
    def returncode(self) -> int | None:
        """``None`` while it runs; then the exit status, or minus the signal that ended it."""
        raise JailError("not built yet")

    @property
    def timed_out(self) -> bool:
        """Whether its deadline killed it."""
        raise JailError("not built yet")

    def stderr_tail(self) -> bytes:
        """The last 16 KiB that the program wrote to its standard error (read all along, so it never blocks)."""
        raise JailError("not built yet")

    async def wait(self) -> int:
        """Wait until the whole tree is gone; returns :attr:`returncode`.

        Raises:
            JailError: where the program never began (the jail could not be built, or there is no such program).
        """
        raise JailError("not built yet")

    async def kill(self) -> None:
        """End the whole tree, daemons too, and wait until it is gone. Safe to call twice."""
        raise JailError("not built yet")


class Jail:
    """The machine's jail: one small launcher process that starts and supervises every jailed process."""

    tier = "jail"

    def __init__(self, settings: JailSettings, home: Path) -> None:
        self._settings = settings
        self._home = home

    def missing(self) -> list[str]:
        """What this machine lacks for a jail, each as a sentence with its remedy; empty where jails can start.

        Tries a jail for real once (some 50 ms) and remembers the answer.
        """
        raise JailError("not built yet")

    async def start(self, spec: JailSpec) -> JailedProcess:
        """Start a program.

        Raises:
            JailError: where a layer is missing, the profile is unknown, a bind is refused, the program is not there,
                or the memory budget has no room.
        """
        raise JailError("not built yet")

    async def run(self, spec: JailSpec, stdin: bytes = b"", *, output_max_bytes: int = OUTPUT_MAX_BYTES) -> Completed:
        """Run a program to its end, with each output stream capped at ``output_max_bytes``.

        Raises:
            JailError: as :meth:`start`, and where the program never began.
        """
        raise JailError("not built yet")

    def adopt(self, path: Path) -> None:
        """Give a directory tree under the gateway's home to the jail's uid, so that a writable bind works.

        A no-op where the gateway is not root (the jail then has the gateway's uid). Follows no symbolic link.

        Raises:
            JailError: where ``path`` is outside the home or holds a file with other hard links.
        """
        raise JailError("not built yet")

    def profile_sha256(self, profile: str) -> str:
        """Hex SHA-256 over everything the profile fixes (limits and seccomp program), for receipts."""
        raise JailError("not built yet")

    async def close(self) -> None:
        """Kill every jail and end the launcher. No process, mount or cgroup stays."""
        raise JailError("not built yet")
