"""The program that applies Landlock's rules about files, ``landlock_exec.c``: how it is built, found and believed.

It is built where it runs, and never shipped: nobody could review it. Its content is read once, and what jails execute
are those bytes, so a file that is exchanged later changes nothing.
"""

import hashlib
import os
import platform
import re
import shlex
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
_MARK: Final = re.compile(rb"source [0-9a-f]{64}\0")
"""What every build says of itself: the SHA-256 of its source."""
MACHINES: Final = {"x86_64": 62, "aarch64": 183}
"""``platform.machine()`` -> e_machine (elf(5))."""
FLAGS: Final = (
    *("-std=gnu11", "-Os", "-Wall", "-Wextra", "-Werror"),
    *("-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"),
    # The same source and compiler make the same bytes, wherever they are.
    *("-fno-pic", "-fno-ident", "-no-pie", "-static", "-nostdlib", "-s"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,norelro", "-Wl,-z,noseparate-code"),
)


class CompilerError(JailError):
    """There is no such compiler, it failed, or it made something else."""


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
    found, content = _opened(path)
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise JailError(f"{path} belongs to uid {found.st_uid} with mode {found.st_mode & 0o7777:04o}")
    if flaw := _flaw(content):
        raise JailError(f"{path} {flaw}")
    return LandlockExec(path, content)


def was_built(path: Path) -> bool:
    """Whether ``path`` is what :func:`build` of any version made, whoever it belongs to."""
    try:
        _, content = _opened(path)
    except JailError:
        return False
    return len(content) <= MAX_BYTES and content.startswith(b"\x7fELF") and _MARK.search(content) is not None


def remedy(configured: Path | None) -> str:
    """What to do about one that cannot be believed."""
    if configured is None:
        return f"Build it anew ({BUILD}), or take it away."
    there = shlex.quote(str(configured))
    return f"Run {BUILD} --output {there}, or take [jail] landlock_exec out of the configuration."


def _opened(path: Path) -> tuple[os.stat_result, bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise JailError(f"{path}: {exc.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise JailError(f"{path} is no regular file")
        return found, os.read(descriptor, MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def _flaw(content: bytes) -> str:
    """What is wrong with it; empty where nothing is."""
    machine = MACHINES.get(platform.machine(), 0).to_bytes(2, "little")
    if len(content) > MAX_BYTES or content[:5] != b"\x7fELF\x02" or content[18:20] != machine:
        return f"is no program for {platform.machine()}"
    if f"source {source_sha256()}\0".encode() not in content:
        return f"was built from another version of {SOURCE.name}"
    return ""


def source_sha256() -> str:
    """Hex digest of the source, which is in what was built from it."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()


def build(target: Path = BUILT, compiler: str = "cc") -> LandlockExec:
    """Compile the program and put it at ``target``, for all to read and the owner alone to write. What is there is
    replaced, once there is a program to replace it.

    Raises:
        CompilerError: there is no such compiler, it fails, or it makes something else.
        JailError: the place cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".landlock-exec-", dir=target.parent) as place:
            made = Path(place, target.name)
            _compile(compiler, made)
            made.chmod(0o755)
            made.replace(target)
    except OSError as exc:
        raise JailError(f"{target}: {exc.strerror}") from None
    return read(target)


def _compile(compiler: str, made: Path) -> None:
    command = [compiler, *FLAGS, f'-DSOURCE_SHA256="{source_sha256()}"', "-o", str(made), str(SOURCE)]
    try:
        ended = subprocess.run(command, check=False, capture_output=True, text=True, errors="backslashreplace")
    except OSError as exc:
        raise CompilerError(f"{compiler}: {exc.strerror}") from None
    if ended.returncode != 0:
        said = ended.stderr.strip()[-2000:] or f"exit status {ended.returncode}"
        raise CompilerError(f"{compiler} failed: {said}")
    if flaw := _flaw(made.read_bytes() if made.exists() else b""):
        raise CompilerError(f"what {compiler} made {flaw}")
