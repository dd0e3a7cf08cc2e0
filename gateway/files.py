"""How files are written: all of it or nothing, durably, and over another file only where that is meant. And how they
are read: no more than is expected, and from nothing else than a file where that matters.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o666
"""Less what the umask takes away."""


class NotRegular(OSError):
    """A pipe, a device or a directory where a regular file is expected."""

    def __init__(self, file: object) -> None:
        super().__init__(errno.EINVAL, "not a regular file", str(file))


class TooLarge(OSError):
    """More bytes than are taken."""

    def __init__(self, file: object, limit: int) -> None:
        super().__init__(errno.EFBIG, f"larger than {limit} bytes", str(file))


@contextmanager
def reading(file: Path, *, regular: bool = True, follow: bool = True) -> Iterator[BinaryIO]:
    """A stream of what is in a file.

    Args:
        regular: take nothing but a regular file, and wait for no pipe. What people name may be a pipe of their shell.
        follow: whether it may be a link.

    Raises:
        NotRegular: see ``regular``.
        OSError: it cannot be opened.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if regular else 0) | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(file, flags)
    try:
        if regular and not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegular(file)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            yield stream
    finally:
        os.close(descriptor)


def bounded(stream: BinaryIO, limit: int, name: object) -> bytes:
    """All of a stream. Raises ``TooLarge``, with ``name``, for more than ``limit`` bytes, and ``OSError``."""
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise TooLarge(name, limit)
    return content


def read_bounded(file: Path, limit: int, *, regular: bool = True, follow: bool = True) -> bytes:
    """All of a file. Raises as :func:`reading` and :func:`bounded`."""
    with reading(file, regular=regular, follow=follow) as stream:
        return bounded(stream, limit, file)


@contextmanager
def writing(file: Path, *, replace: bool, private: bool = True) -> Iterator[BinaryIO]:
    """A stream whose content becomes ``file`` at the end of the block, and is gone where the block fails.

    A link of that name is itself replaced, or in the way; what it points to is never written.

    Args:
        replace: whether an existing file gives way.
        private: only the owner may read it.

    Raises:
        FileExistsError: it is there and ``replace`` is false; it is looked for again when everything is written.
        OSError: it cannot be written.
    """
    if not replace and os.path.lexists(file):
        raise FileExistsError(errno.EEXIST, "exists already", str(file))
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, _PRIVATE if private else _PUBLIC)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
        if replace:
            temporary.replace(file)
        else:
            os.link(temporary, file)
        sync_directory(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write(file: Path, content: bytes, *, replace: bool, private: bool = True) -> None:
    """:func:`writing` for content that is there."""
    with writing(file, replace=replace, private=private) as stream:
        stream.write(content)


def sync_directory(directory: Path) -> None:
    """Make renames and links in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make ``directory`` (mode 0700), and those above it that are missing, so that a power cut does not take them away
    together with the durable files in them. Does nothing where it is there.

    Raises:
        OSError: it cannot be made.
    """
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    sync_directory(directory.parent)
