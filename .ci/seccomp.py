"""Write deploy/seccomp.json: what a container needs so that bubblewrap can build jails inside it, and no more.

The base is what jails themselves may call, so that the container never refuses what a jail allows; added are the
gateway's own needs and the calls that make namespaces. Everything else is refused; calls newer than this list answer
ENOSYS, so that programs fall back.
"""

import json
from pathlib import Path
from typing import Any

from hand_adapters.jail.syscalls import FILES, MEMORY, PROCESS, SERVER

TARGET = Path(__file__).resolve().parent.parent / "deploy" / "seccomp.json"

NAMESPACES = (
    "clone", "clone3", "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "sethostname", "capset",
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid",
    "fsopen", "fsconfig", "fsmount", "move_mount",
)  # fmt: skip
"""bubblewrap and the launcher: namespaces, mounts and scratch directories, and giving up what it got in them."""

GATEWAY = (
    "ioctl", "prctl", "seccomp", "tgkill", "execveat", "name_to_handle_at", "mlockall", "munlockall",
    "process_mrelease", "sync", "syncfs", "sync_file_range", "setxattr", "lsetxattr", "fsetxattr", "removexattr",
    "lremovexattr", "fremovexattr", "vmsplice", "mbind", "get_mempolicy", "set_mempolicy", "sched_setattr",
    "sched_setparam", "sched_setscheduler", "ioprio_get", "ioprio_set", "pwritev", "inotify_init1",
)  # fmt: skip
"""The gateway, its launcher and the filter that the launcher installs."""

NEVER = (
    "ptrace", "process_vm_readv", "process_vm_writev", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup",
    "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key", "kexec_load", "kexec_file_load",
    "init_module", "finit_module", "delete_module", "open_by_handle_at", "reboot", "swapon", "swapoff", "settimeofday",
    "clock_settime", "adjtimex", "clock_adjtime", "acct", "quotactl", "iopl", "ioperm", "lookup_dcookie", "vhangup",
    "pidfd_getfd", "move_pages", "migrate_pages", "syslog", "nfsservctl",
)  # fmt: skip
"""Refused with EPERM whatever else changes here; a test holds it."""


def profile() -> dict[str, Any]:
    """The profile in the format of the container runtimes."""
    allowed = (set(FILES) | set(MEMORY) | set(PROCESS) | set(SERVER) | set(NAMESPACES) | set(GATEWAY)) - set(NEVER)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        "syscalls": [
            {"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"},
            {"names": sorted(NEVER), "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        ],
    }


def text() -> str:
    """The file's content."""
    return json.dumps(profile(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
