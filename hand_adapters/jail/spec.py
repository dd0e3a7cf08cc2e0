"""What a caller says of a jailed process, and what it hears back. No I/O."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.errors import HandrailError
from gateway.manifest import DEFAULT_PROFILE
from gateway.model import EMPTY
from gateway.reasons import Reason

OUTPUT_MAX_BYTES = 1_048_576
"""Default cap of each output stream of :meth:`Jail.run`."""


class JailError(HandrailError):
    """A process could not be jailed as asked. The reason is ``hand.unavailable``; ``detail`` names the layer."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.HAND_UNAVAILABLE, detail)


@dataclass(frozen=True, slots=True)
class Bind:
    """A host directory or file that a jail sees.

    Attributes:
        source: absolute host path. It is resolved once, when the jail starts, and refused where a part of it becomes
            a symbolic link afterwards, where it is the gateway's home or holds it, and where it lies in the home but
            not below one of its work areas.
        target: absolute path inside the jail.
        writable: whether the jail may write. The files must belong to the jail's uid: see ``Jail.adopt``.
    """

    source: Path
    target: str
    writable: bool = False


class Gate(Protocol):
    """The one way out of one jail (``hand_adapters.egress``). The jail's network namespace has a loopback interface
    and nothing else; this listens on it from outside. One gate serves one jail, once."""

    @property
    def env(self) -> Mapping[str, str]:
        """What the program's environment says of it, beside the spec's own."""

    @property
    def binds(self) -> Sequence[Bind]:
        """What the jail sees beside the spec's own."""

    @property
    def port(self) -> int:
        """Where on the loopback interface it listens."""

    @property
    def name(self) -> str:
        """The abstract name (unix(7)) that it listens on as well."""

    def open(self, listeners: Sequence[socket.socket]) -> None:
        """Serve these from now on, and own them: of TCP on 127.0.0.1, and of unix sockets (abstract, ``name``), both
        within the jail's network namespace."""

    def close(self) -> None:
        """The jail is gone, or never began: close what is open. Safe to call twice."""


@dataclass(frozen=True, slots=True)
class JailSpec:
    """One process to jail.

    Attributes:
        argv: program and arguments. A bare name is looked for beside the gateway's own interpreter (so that
            ``("python", "-m", "mcp_server_git")`` and ``("mcp-server-git",)`` mean its virtual environment), then in
            ``/usr/local/bin``, ``/usr/bin`` and ``/bin``. A program inside a virtual environment brings it, and the
            interpreter it is made from, read-only and at the same paths, wherever on the host they lie.
        profile: a key of :data:`PROFILES`.
        env: the *whole* environment of the program; nothing is inherited or added but ``PWD``.
        cwd: working directory inside the jail; default ``/tmp``.
        deadline_seconds: the whole tree is killed after it; ``None`` lives until :meth:`JailedProcess.kill`.
        as_pid_1: whether the program itself is the first process of its pid namespace: its end ends everything that
            it started. Say ``False`` for a program that needs an init to reap its orphans (bwrap's then does).
        gate: what it may reach beyond itself; ``None`` is nothing.
    """

    argv: tuple[str, ...]
    profile: str = DEFAULT_PROFILE
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    cwd: str | None = None
    deadline_seconds: float | None = None
    as_pid_1: bool = True
    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """What is kept of what a one-shot command writes.

    Attributes:
        max_bytes: of each output stream; a program that writes more is killed.
        error_tail_bytes: keep so many of the last bytes of standard error instead.
        drain_bytes: let it write so many more to standard output, which are read, counted and thrown away.
    """

    max_bytes: int
    error_tail_bytes: int | None = None
    drain_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Completed:
    """How a one-shot command ended.

    Attributes:
        returncode: exit status, or the negative number of the signal that ended the program.
        timed_out: whether the deadline killed it.
        truncated: whether it wrote more than the cap; it was killed then.
        left_out_bytes: of standard output, what it wrote beyond the cap and was let go on.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    truncated: bool = False
    left_out_bytes: int = 0
