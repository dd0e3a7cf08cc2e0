"""The closed set of jail profiles: limits, and which system calls."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from gateway.manifest import DEFAULT_PROFILE

MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Profile:
    """What a jail may use.

    Attributes:
        seccomp: which system-call list applies (``default`` or ``strict``).
        processes: tasks (processes and threads) at once.
        memory_bytes: of the jail's cgroup, tmpfs pages included, and RLIMIT_DATA of each process.
        bare_processes: ``processes`` where there is no cgroup.
        bare_address_space_bytes: RLIMIT_AS of each process where there is no cgroup; ``bare_processes`` times this
            is charged to ``jail.memory_budget_bytes``.
        tmp_bytes: size of ``/tmp``.
        shm_bytes: size of ``/dev/shm``.
        open_files: RLIMIT_NOFILE.
        file_bytes: RLIMIT_FSIZE, the largest file.
        cpu_seconds: RLIMIT_CPU of each process; ``None`` for servers that stay warm.
        cpu_cores: of the cgroup's CPU quota.
        executes_written: whether it may execute what it can write (Landlock, where the machine has it).
    """

    seccomp: str
    processes: int
    memory_bytes: int
    bare_processes: int
    bare_address_space_bytes: int
    tmp_bytes: int
    shm_bytes: int
    open_files: int
    file_bytes: int
    cpu_seconds: int | None
    cpu_cores: float
    executes_written: bool = False

    @property
    def bare_cost_bytes(self) -> int:
        """What one jail takes from the memory budget where there is no cgroup."""
        return self.bare_processes * self.bare_address_space_bytes + self.tmp_bytes + self.shm_bytes


_DEFAULT: Final = Profile(
    seccomp="default",
    processes=64,
    memory_bytes=1024 * MIB,
    bare_processes=20,
    bare_address_space_bytes=232 * MIB,
    tmp_bytes=64 * MIB,
    shm_bytes=16 * MIB,
    open_files=256,
    file_bytes=256 * MIB,
    cpu_seconds=None,
    cpu_cores=1.0,
)
PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        DEFAULT_PROFILE: _DEFAULT,
        "build": replace(_DEFAULT, executes_written=True),
        "strict": Profile(
            seccomp="strict",
            processes=4,
            memory_bytes=256 * MIB,
            bare_processes=4,
            bare_address_space_bytes=192 * MIB,
            tmp_bytes=16 * MIB,
            shm_bytes=1 * MIB,
            open_files=64,
            file_bytes=16 * MIB,
            cpu_seconds=30,
            cpu_cores=0.5,
        ),
    }
)
"""``default``: Python and Node programs and servers. ``build``: the same for what executes what it has made.
``strict``: one-shot programs that start no network code."""
