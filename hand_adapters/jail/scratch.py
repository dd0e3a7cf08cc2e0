"""A scratch directory: a tmpfs for one jail, with a size. The gateway reaches it by a descriptor, nobody by a path.

What a jailed program leaves there is its word: names may be links, pipes or devices. So files are read after the
program's whole tree has ended, by openat2 below the directory, without following anything.
"""

import os
import stat
import struct
from types import TracebackType
from typing import Final, Self

from hand_adapters.jail import kernel
from hand_adapters.jail.spec import JailError

_BENEATH, _NO_XDEV = 0x08, 0x01
_RESOLVE: Final = _BENEATH | _NO_XDEV | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_CHUNK: Final = 1 << 20


class Scratch:
    """One scratch directory. Closing it gives its memory back once no jail uses it any more.

    Attributes:
        target: where the jail sees it.
        descriptor: of the directory.
    """

    def __init__(self, descriptor: int, target: str) -> None:
        self.descriptor = descriptor
        self.target = target
        self._closed = False

    def write(self, name: str, content: bytes) -> None:
        """Make a file that belongs to the jail's uid. Call it before a program has the directory.

        Raises:
            JailError: it has no room, or there is such a file.
        """
        owner = os.fstat(self.descriptor)
        try:
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.descriptor)
            try:
                if os.geteuid() == 0:
                    os.fchown(file, owner.st_uid, owner.st_gid)
                left = memoryview(content)
                while left:
                    left = left[os.write(file, left[:_CHUNK]) :]
            finally:
                os.close(file)
        except OSError as exc:
            raise JailError(f"scratch directory: {exc.strerror}") from None

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """The content of a regular file; ``None`` where there is none of that name, or something else is there.

        Raises:
            ValueError: it has more than ``max_bytes``.
        """
        how = struct.pack("QQQ", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _RESOLVE)
        number = kernel.libc.syscall(kernel.SYS_OPENAT2, self.descriptor, os.fsencode(name), how, len(how))
        if number < 0:
            return None
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            os.close(number)
            return None
        with os.fdopen(number, "rb") as file:
            if found.st_size > max_bytes:
                raise ValueError(f"{name} has {found.st_size} bytes")
            return file.read(max_bytes)

    def close(self) -> None:
        """Let go of it. Safe to call twice."""
        if not self._closed:
            self._closed = True
            os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
