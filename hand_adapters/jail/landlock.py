"""Landlock (landlock(7)): what a process gives up for itself and for all that it starts, beside its namespaces.

Standard library only: the launcher uses it, and inside the jail what starts as an interpreter anyway (the runner of
Python hands, the worker of WebAssembly). A ruleset about files forbids its process to mount, so that it can only come
after bubblewrap. Beside one that has no rights about files it forbids each rename into another directory as well
(every ruleset denies REFER until it is handled), so where ``landlock-exec`` applies the one, it applies the other with
it; elsewhere the launcher does, before bubblewrap. What this kernel's version of the interface (its ABI) does not know
is left out, and :func:`held` says what is left.
Sources: linux/landlock.h, landlock(7).
"""

# pathlib alone would add milliseconds to every start of the launcher:
# ruff: noqa: PTH112

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from hand_adapters.jail import kernel

# Numbers that are the same on every architecture.
SYS_CREATE_RULESET, SYS_ADD_RULE, SYS_RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH, RULE_NET_PORT = 1, 2
PR_SET_NO_NEW_PRIVS = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""The rights that a rule about a file, rather than a directory, may name."""
FILES_ABI = 2
"""The first that does not forbid every rename from one directory into another (REFER)."""
ABI = 6
"""Of Linux 6.12; what later ones add is not used."""
BIND_TCP, CONNECT_TCP = 1 << 0, 1 << 1
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1 << 0, 1 << 1


def abi() -> int:
    """The version of the interface that this kernel has; 0 where it has none, or was started without it."""
    if sys.platform != "linux":
        return 0
    found: int = kernel.libc.syscall(SYS_CREATE_RULESET, None, ctypes.c_size_t(0), CREATE_RULESET_VERSION)
    return max(found, 0)


def file_rights(version: int) -> int:
    """Every right about files of an ABI: 13 to begin with, REFER in 2, TRUNCATE in 3, IOCTL_DEV in 5."""
    return (1 << 13) - 1 | (version >= 2) << 13 | (version >= 3) << 14 | (version >= 5) << 15 if version else 0


def held(version: int) -> tuple[str, ...]:
    """What the launcher's ruleset holds with that ABI, in words of the documentation."""
    return (
        *(("tcp",) if version >= 4 else ()),
        *(("abstract sockets", "signals") if version >= 6 else ()),
    )


def process_rights(version: int) -> tuple[int, int]:
    """Every right about TCP ports, and every scope, of an ABI."""
    ports = (BIND_TCP | CONNECT_TCP) if version >= 4 else 0
    return ports, (SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL) if version >= 6 else 0


def restrict_process(version: int, connect: Iterable[int] = ()) -> None:
    """From here on no TCP port but those of ``connect`` can be reached, and none listened on; no process outside can be
    signalled, and no abstract unix socket of one be connected to.

    What was bound before stays bound. Needs CAP_SYS_ADMIN in the process's user namespace, or no_new_privs.

    Raises:
        OSError: the kernel refused what ``version`` (see :func:`abi`) says that it has.
    """
    ports, scopes = process_rights(version)
    if not (ports or scopes):
        return
    ruleset = _ruleset(0, ports, scopes)
    try:
        for port in connect if ports else ():
            _add(ruleset, RULE_NET_PORT, struct.pack("=QQ", CONNECT_TCP, port), f"port {port}")
        _restrict(ruleset)
    finally:
        os.close(ruleset)


def restrict_files(version: int, rights: Mapping[str, int] = MappingProxyType({})) -> None:
    """From here on no file can be opened, made or executed but with the ``rights`` below each path, and the mounts stay
    what they are, whatever namespace this process might get into. What is open stays open.

    Sets no_new_privs, which every jailed program has anyway.

    Raises:
        OSError: the kernel refused, or a path cannot be opened.
    """
    if not version:
        return
    handled = file_rights(version)
    ruleset = _ruleset(handled, 0, 0)
    try:
        for path, wanted in rights.items():
            _allow(ruleset, path, wanted & handled)
        kernel.check(kernel.libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
        _restrict(ruleset)
    finally:
        os.close(ruleset)


class Mount(NamedTuple):
    """A place of a jail where something is mounted.

    Attributes:
        files: where its files lie, by a path outside; empty where no other mount can have them. Rules are about files,
            so whoever may write one by one mount and execute it by another may execute what they wrote.
    """

    path: str
    writable: bool
    is_directory: bool = True
    files: str = ""

    def shares(self, other: "Mount") -> bool:
        """Whether a file may be reached by both."""
        mine, others = f"{self.files.rstrip('/')}/", f"{other.files.rstrip('/')}/"
        return bool(self.files and other.files) and (mine.startswith(others) or others.startswith(mine))


def rights_of(mounts: Iterable[Mount], version: int, *, executes_written: bool = False) -> dict[str, int]:
    """Path -> rights of every mount of a jail: what is read-only may be read and executed, what is writable may be read
    and written, and executed where ``executes_written`` says so. Of several mounts at one place the last counts.

    A right reaches everything below, other mounts as well. So the root directory is only for reading, and so is what is
    read-only and has something writable mounted below it, unless that may be executed. No device can be made anywhere;
    those of ``/dev`` may be used. What is read-only and shares files with something writable is not executed either.
    """
    everything = file_rights(version)
    last = {mount.path: mount for mount in mounts}
    written = [] if executes_written else [mount for mount in last.values() if mount.writable]
    found = {}
    for path, mount in last.items():
        rights = READ_FILE | READ_DIR
        if path == "/dev":
            rights |= (WRITE_FILE | TRUNCATE | IOCTL_DEV) & everything
        elif path == "/proc":
            pass
        elif mount.writable:
            rights |= everything & ~(MAKE_CHAR | MAKE_BLOCK | (0 if executes_written else EXECUTE))
        elif not any(one.path.startswith(f"{path.rstrip('/')}/") or one.shares(mount) for one in written):
            rights |= EXECUTE
        found[path] = rights if mount.is_directory else rights & OF_A_FILE
    return found


def rights_of_mounts(mountinfo: str, version: int) -> dict[str, int]:
    """:func:`rights_of` what the text of a jail's ``/proc/self/mountinfo`` (proc(5)) lists."""
    lines = [line.split() for line in mountinfo.splitlines()]
    mounts = [
        Mount(_unescaped(words[4]), "rw" in words[5].split(","), files=f"{words[2]}:{_unescaped(words[3])}")
        for words in lines
    ]
    return rights_of(mounts, version)


def _unescaped(word: str) -> str:
    """A path of mountinfo, where blanks and the backslash are three octal digits."""
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(octal, character)
    return word


def _ruleset(files: int, ports: int, scopes: int) -> int:
    attributes = struct.pack("=QQQ", files, ports, scopes)
    # An older kernel takes a longer structure where it does not know the rest and the rest is zero.
    made = kernel.libc.syscall(SYS_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    return kernel.check(made, "landlock_create_ruleset")


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in {errno.EACCES, errno.ENOENT}:  # covered by a later mount: nobody reaches it, nothing is granted
            return
        raise
    try:
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
            rights &= OF_A_FILE
        if rights:
            _add(ruleset, RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), path)
    finally:
        os.close(descriptor)


def _add(ruleset: int, kind: int, rule: bytes, what: str) -> None:
    kernel.check(kernel.libc.syscall(SYS_ADD_RULE, ruleset, kind, rule, 0), f"landlock_add_rule {what}")


def _restrict(ruleset: int) -> None:
    kernel.check(kernel.libc.syscall(SYS_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
