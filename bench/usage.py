"""Memory and processor time of a process and all its descendants, read from /proc."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a whole process tree."""

    cpu_seconds: float
    pss_bytes: int
    """Proportional set size: shared pages are counted once, so forked workers are not counted twice."""
    resident_bytes: tuple[int, ...]
    """Resident set size of each process, the root first."""


def tree(root: int) -> list[int]:
    """``root`` and every process below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, ()))
    return found


def measure(root: int) -> Usage:
    """Sum over :func:`tree`; a process that ends meanwhile is left out."""
    cpu, memory, resident = 0, 0, []
    for pid in tree(root):
        fields = _stat(pid)
        if not fields:
            continue
        cpu += int(fields[11]) + int(fields[12])
        memory += _pss(pid)
        resident.append(int(fields[21]) * PAGE_BYTES)
    return Usage(cpu / TICKS_PER_SECOND, memory, tuple(resident))


def seconds(pids: Iterable[int]) -> float:
    """Processor time of all threads of some processes, to the nanosecond (Linux, ``schedstat``)."""
    threads = (thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((thread / "schedstat").read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9


def _stat(pid: int) -> list[str]:
    """Fields of proc_pid_stat(5) from the state on; the name before them may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return 0
