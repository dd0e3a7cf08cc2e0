"""Files of keys, as they may be read: regular, of bounded size, and closed to everybody else."""

import os
import stat
from pathlib import Path

from keys.errors import KeyUnavailable, SealBroken


def read_private(file: Path, max_bytes: int, what: str) -> bytes:
    """The content of a file; neither a symbolic link is followed nor a pipe waited for.

    Args:
        what: what the file should be, for people.

    Raises:
        SealBroken: it is another kind of file, or longer than ``max_bytes``.
        KeyUnavailable: it cannot be read, or the group or others can read it.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
                raise SealBroken(f"{file}: not a {what}")
            if status.st_mode & 0o077:
                raise KeyUnavailable(f"{file}: mode {stat.S_IMODE(status.st_mode):04o} is open to others; chmod 600")
            return opened.read(max_bytes)
    except OSError as exc:
        raise KeyUnavailable(f"{file}: {exc.strerror}") from None
