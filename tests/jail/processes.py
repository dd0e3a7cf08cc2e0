"""Processes of the host, found by what stands on their command line."""

import os
from pathlib import Path

from hand_adapters.jail.kernel import parent


def marked(marker: str) -> list[int]:
    """Host pids of processes with ``marker`` among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if marker.encode() in words:
                found.append(int(entry.name))
    return found


def descendants() -> set[int]:
    """Host pids of everything that this process has started, and that these have, down to the processes in jails."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parents[int(entry.name)] = parent(int(entry.name))
    found, newer = set[int](), {os.getpid()}
    while newer:
        newer = {pid for pid, above in parents.items() if above in newer}
        found |= newer
    return found
