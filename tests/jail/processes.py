"""Processes of the host, found by what stands on their command line."""

from pathlib import Path


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
