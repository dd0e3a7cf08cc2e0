"""Secrets as files of one directory, as Kubernetes mounts them: ``NAME -> ..data/NAME``, ``..data`` swapped as a whole.

A link is followed only inside of the directory, one name at a time from an open directory to the next, so that nobody
who may write there can have the gateway read another file of the machine and send it away; not by swapping it while it
is read, either.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from gateway.model import DEFAULT_TENANT
from gateway.ports import SecretValue
from gateway.secrets.threads import StoreThreads
from gateway.secrets.values import MAX_CHARACTERS, key_of, missing, taken, unavailable

_LINKS_MAX: Final = 8
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


class FileSecrets:
    """A ``SecretStore`` over a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._threads = StoreThreads()

    async def read(self, tenant: str, name: str) -> SecretValue:
        """See ``SecretStore``. The version is the file's time of change, in nanoseconds."""
        return await self._threads.run(read, self._directory, key_of(tenant, name, DEFAULT_TENANT))

    async def close(self) -> None:
        """Nothing is open; the threads end."""
        self._threads.end()


def read(directory: Path, name: str) -> SecretValue:
    """The file ``name``, however often it is linked inside of ``directory``. Blocking.

    Raises:
        Refused: ``secret.missing``: there is none, or it is no file that only its owner and group can read.
        Unavailable: ``secret.unavailable``: it cannot be read.
    """
    place = f"{directory}/{name}"
    try:
        descriptor = _open_beneath(directory, name)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise missing(f"{place}: not a file")
            if status.st_mode & _OTHERS:
                mode = f"{stat.S_IMODE(status.st_mode):04o}"
                raise missing(f"{place}: mode {mode} is open to others; 0400 or 0440 is right")
            content = os.read(descriptor, MAX_CHARACTERS + 3)
        finally:
            os.close(descriptor)
    except OSError as exc:
        if exc.errno in _ABSENT:
            raise missing(f"{place}: there is no such file") from None
        raise unavailable(f"{place}: {exc.strerror}") from None
    return taken(content.decode("latin-1"), str(status.st_mtime_ns), place)


def _open_beneath(directory: Path, name: str) -> int:
    """A descriptor of what ``name`` leads to. Raises ``OSError``, and ``secret.missing`` where it leads outside."""
    parts, links = [name], 0
    here = os.open(directory, _OPEN | os.O_DIRECTORY)
    try:
        while True:
            part = parts.pop(0)
            try:
                found = os.open(part, _OPEN | os.O_NOFOLLOW, dir_fd=here)
            except OSError as exc:
                if exc.errno != errno.ELOOP:
                    raise
                link = os.readlink(part, dir_fd=here)
                links += 1
                inner = [one for one in link.split("/") if one not in {"", "."}]
                if link.startswith("/") or ".." in inner or not inner or links > _LINKS_MAX:
                    raise missing(f"{directory}/{name}: a link that leads out of the directory, or nowhere") from None
                parts = [*inner, *parts]
                continue
            os.close(here)
            here = found
            if not parts:
                here = -1
                return found
    finally:
        if here >= 0:
            os.close(here)
