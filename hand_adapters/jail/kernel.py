"""The calls of the kernel that the launcher needs and Python's library lacks, by ctypes; standard library only."""

# pathlib alone would add milliseconds to every start of the launcher:
# ruff: noqa: PTH102, PTH123, PTH208

import array
import ctypes
import errno
import fcntl
import json
import os
import socket
import struct
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
# Numbers that are the same on every architecture.
SYS_MOVE_MOUNT, SYS_FSOPEN, SYS_FSCONFIG, SYS_FSMOUNT, SYS_CLOSE_RANGE, SYS_OPENAT2 = 429, 430, 431, 432, 436, 437
FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOVE_MOUNT_F_EMPTY_PATH = 1, 1, 2, 4, 4
FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 1, 6
CLOSE_RANGE_CLOEXEC = 4
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 0x02, 0x04
MESSAGE_MAX_BYTES = 192 * 1024
SETUP_FAILED = 125
"""Exit status of a process that could not become a jail."""

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> int:
    """The result of a call of libc. Raises OSError, with ``what`` in its text, where it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int, what: str) -> None:
    """Move this process into fresh namespaces (CLONE_* flags)."""
    check(libc.unshare(flags), f"unshare {what}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Put a file system or a bind on ``target`` (MS_* flags)."""
    kind_bytes = None if kind is None else kind.encode()
    data_bytes = None if data is None else data.encode()
    flag_word = ctypes.c_ulong(flags)
    check(libc.mount(os.fsencode(source), os.fsencode(target), kind_bytes, flag_word, data_bytes), f"mount {target}")


def detach(target: str) -> None:
    """Take what is mounted on ``target``, with all below it, out of this mount namespace, where something is.

    Every mount there is makes each of bubblewrap's slower, which reads the list of them again for each of its own.
    """
    if libc.umount2(os.fsencode(target), MNT_DETACH) < 0 and ctypes.get_errno() != errno.EINVAL:
        check(-1, f"umount {target}")


def detached_tmpfs(size_bytes: int, inodes: int, uid: int, gid: int) -> int:
    """Descriptor of a fresh tmpfs of that size, mounted nowhere (fsopen(2)). It ends with its last user."""
    context = check(libc.syscall(SYS_FSOPEN, b"tmpfs", FSOPEN_CLOEXEC), "fsopen")
    try:
        options = {"size": size_bytes, "nr_inodes": inodes, "mode": "0700", "uid": uid, "gid": gid}
        for name, value in options.items():
            key, text = name.encode(), str(value).encode()
            check(libc.syscall(SYS_FSCONFIG, context, FSCONFIG_SET_STRING, key, text, 0), f"fsconfig {name}")
        check(libc.syscall(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig create")
        flags = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
        return check(libc.syscall(SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, flags), "fsmount")
    finally:
        os.close(context)


def attach(descriptor: int, target: str) -> None:
    """Mount what :func:`detached_tmpfs` made on the directory ``target`` (move_mount(2))."""
    moved = libc.syscall(SYS_MOVE_MOUNT, descriptor, b"", -100, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH)
    check(moved, f"move_mount {target}")


def open_without_symlinks(path: str) -> int:
    """O_PATH descriptor of ``path``; no component of it may be a symbolic link (openat2, so without a race)."""
    how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)
    return check(libc.syscall(SYS_OPENAT2, -100, os.fsencode(path), how, ctypes.c_size_t(len(how))), f"open {path}")


def write_file(path: str, text: str) -> None:
    """Write to a file of /proc or of a cgroup in one call."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def map_ids(uid: int, gid: int) -> None:
    """In a fresh user namespace, map just one uid and gid, each to itself."""
    write_file("/proc/self/setgroups", "deny")
    write_file("/proc/self/uid_map", f"{uid} {uid} 1")
    write_file("/proc/self/gid_map", f"{gid} {gid} 1")


def bind(source: str, target: str, *, is_directory: bool) -> None:
    """Make ``target`` and bind ``source`` on it, with what is mounted below it."""
    if is_directory:
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    mount(source, target, None, MS_BIND | MS_REC)


def raise_loopback() -> None:
    """Bring up the loopback interface of this process's network namespace (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as handle:
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def receive(connection: socket.socket, most: int) -> tuple[dict[str, Any] | None, list[int]]:
    """One message and its descriptors; ``None`` at the end of the connection."""
    size = array.array("i").itemsize
    data, ancillary, _flags, _address = connection.recvmsg(
        MESSAGE_MAX_BYTES, socket.CMSG_SPACE(most * size), socket.MSG_CMSG_CLOEXEC
    )
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(payload[: len(payload) - len(payload) % size])
    return (json.loads(data) if data else None), list(descriptors)


def memory_file(content: bytes) -> int:
    """Descriptor of an anonymous file with ``content``, to be read from its start."""
    descriptor = os.memfd_create("handrail")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def children() -> list[int]:
    """Pids of this process's children."""
    try:
        with open("/proc/thread-self/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        own = os.getpid()
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and parent(int(name)) == own]


def parent(pid: int) -> int:
    """The parent of a process, or 0 where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def is_child(pid: int) -> bool:
    """Whether this process is the parent of ``pid``, living or not yet reaped."""
    return parent(pid) == os.getpid()
