"""The program that applies Landlock's rules about files, ``landlock_exec.c``: how it is built, found and believed.

It is built where it runs, and never shipped: nobody could review it. Its content is read once, and what jails execute
are those bytes, so a file that is exchanged later changes nothing.
"""

import hashlib
import os
import platform
import stat
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hand_adapters.jail.spec import JailError

SOURCE: Final = Path(__file__).with_name("landlock_exec.c")
BUILT: Final = Path(__file__).with_name("landlock-exec")
"""Where it is looked for unless ``jail.landlock_exec`` names another place."""
MAX_BYTES: Final = 65_536
BUILD: Final = "handrail jail build"
MACHINES: Final = {"x86_64": 62, "aarch64": 183}
"""``platform.machine()`` -> e_machine (elf(5))."""
FLAGS: Final = (
    *("-std=gnu11", "-Os", "-Wall", "-Wextra", "-Werror"),
    *("-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"),
    # The same source and compiler make the same bytes, wherever they are.
    *("-fno-pic", "-fno-ident", "-no-pie", "-static", "-nostdlib", "-s"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,norelro"),
)


@dataclass(frozen=True, slots=True)
class LandlockExec:
    """The program as it was read.

    Attributes:
        content: the bytes that jails execute.
    """

    path: Path
    content: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        """Hex digest of the content, for receipts."""
        return hashlib.sha256(self.content).hexdigest()


def find(configured: Path | None) -> LandlockExec | None:
    """The program, or ``None`` where none was built.

    Raises:
        JailError: there is one that cannot be believed: somebody else's, one that others may write, of another
            machine, or built from another source; or there is none where the configuration says.
    """
    if configured is None and not os.path.lexists(BUILT):
        return None
    return read(configured or BUILT)


def read(path: Path) -> LandlockExec:
    """The program at ``path``. Raises as :func:`find`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise JailError(f"{path}: {exc.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise JailError(f"{path} is no regular file")
        if found.st_uid not in {0, os.geteuid()} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise JailError(f"{path} belongs to uid {found.st_uid} with mode {found.st_mode & 0o7777:04o}")
        content = os.read(descriptor, MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    _check(path, content)
    return LandlockExec(path, content)


def _check(path: Path, content: bytes) -> None:
    machine = MACHINES.get(platform.machine(), 0).to_bytes(2, "little")
    if len(content) > MAX_BYTES or content[:5] != b"\x7fELF\x02" or content[18:20] != machine:
        raise JailError(f"{path} is no program for {platform.machine()}")
    if f"source {source_sha256()}\0".encode() not in content:
        raise JailError(f"{path} was built from another version of {SOURCE.name}")


def source_sha256() -> str:
    """Hex digest of the source, which is in what was built from it."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()


def build(target: Path = BUILT, compiler: str = "cc") -> LandlockExec:
    """Compile the program and put it at ``target``, for all to read and the owner alone to write.

    Raises:
        JailError: there is no compiler, it fails, or the place cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".landlock-exec-", dir=target.parent) as place:
            made = Path(place, target.name)
            macro = f'-DSOURCE_SHA256="{source_sha256()}"'
            subprocess.run(
                [compiler, *FLAGS, macro, "-o", str(made), str(SOURCE)], check=True, capture_output=True, text=True
            )
            made.chmod(0o755)
            made.replace(target)
    except subprocess.CalledProcessError as exc:
        raise JailError(f"{compiler} failed: {exc.stderr.strip()[-2000:]}") from None
    except OSError as exc:
        raise JailError(f"{exc.filename}: {exc.strerror}") from None
    return read(target)
