"""What the launcher and bwrap are told for one jail: options, limits, checks of binds. Reads the host's layout only."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hand_adapters.jail.ownership import WORK_AREAS, withheld
from hand_adapters.jail.profiles import Profile
from hand_adapters.jail.runtime import SYSTEM_DIRECTORIES
from hand_adapters.jail.spec import Bind, JailError, JailSpec

_KERNEL_TREES: Final = ("/proc", "/sys", "/dev")


def first_arguments(spec: JailSpec, profile: Profile, *, disable_userns: bool) -> list[str]:
    """The options of bwrap before the binds: namespaces, the system's read-only directories, environment."""
    # The network and the ipc namespace are those that the launcher has made for this one jail (become.wait_for_order).
    arguments = ["--unshare-user", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--hostname", "jail", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    if disable_userns:
        arguments.append("--disable-userns")
    if spec.as_pid_1:
        arguments.append("--as-pid-1")
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    arguments += ["--size", str(profile.shm_bytes), "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108
    arguments += ["--size", str(profile.tmp_bytes), "--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108
    arguments += _system_arguments()
    for name, value in spec.env.items():
        arguments += ["--setenv", name, value]
    return [*arguments, "--chdir", spec.cwd or "/tmp"]  # noqa: S108


@functools.cache
def _system_arguments() -> tuple[str, ...]:
    """The host's system directories, read-only; how a host lays them out does not change while it runs."""
    arguments: list[str] = []
    for directory in SYSTEM_DIRECTORIES:
        path = Path(directory)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), directory]
        elif path.is_dir():
            arguments += ["--ro-bind", directory, directory]
    return tuple(arguments)


@functools.cache
def mounts() -> tuple[tuple[str, bool, str], ...]:
    """(path, writable, the host's path of its files) of what every jail has mounted beside its binds, for Landlock's
    rules."""
    system = [path for path in SYSTEM_DIRECTORIES if Path(path).is_dir() and not Path(path).is_symlink()]
    writable = ("/dev/shm", "/tmp")  # noqa: S108
    return (
        *((path, False, "") for path in ("/", "/proc", "/dev", "/etc")),
        *((path, False, os.path.realpath(path)) for path in system),
        *((path, True, "") for path in writable),
    )


def last_arguments() -> list[str]:
    """The options of bwrap after the binds: its root and /dev are tmpfs without a size, so nothing may write there."""
    return ["--remount-ro", "/dev", "--remount-ro", "/"]


def rlimits(profile: Profile, *, bare: bool) -> dict[str, int]:
    """Name of the resource -> soft and hard limit. ``bare``: without a cgroup."""
    limits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": profile.bare_processes + 1 if bare else profile.processes + 1,
        "RLIMIT_NOFILE": profile.open_files,
        "RLIMIT_FSIZE": profile.file_bytes,
        "RLIMIT_DATA": profile.memory_bytes,
        "RLIMIT_MEMLOCK": 65_536,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_SIGPENDING": 1024,
        "RLIMIT_STACK": 8 * 2**20,
        "RLIMIT_NICE": 0,
        "RLIMIT_RTPRIO": 0,
    }
    if bare:
        limits["RLIMIT_AS"] = profile.bare_address_space_bytes
    if profile.cpu_seconds is not None:
        limits["RLIMIT_CPU"] = profile.cpu_seconds
    return limits


def check(spec: JailSpec) -> None:
    """Refuse what bwrap could misread. Raises JailError."""
    words = [*spec.argv, *spec.env, *spec.env.values(), spec.cwd or "/"]
    words += [word for bind in spec.binds for word in (str(bind.source), bind.target)]
    if not spec.argv:
        raise JailError("no program")
    if any("\0" in word for word in words):
        raise JailError("a NUL in arguments, environment or paths")
    if any(not name or "=" in name for name in spec.env):
        raise JailError("an environment name is empty or holds '='")
    if spec.cwd is not None and not spec.cwd.startswith("/"):
        raise JailError(f"cwd {spec.cwd} is not absolute")
    if spec.deadline_seconds is not None and not 0 < spec.deadline_seconds <= 86_400:
        raise JailError("deadline_seconds is between 0 and a day")


def _without_system_link(target: str) -> str:
    """The same place where ``/bin``, ``/lib`` and the like are links, as they are in the jail then, too."""
    root, first, rest = (*target.split("/", 2), "")[:3]
    top = Path("/", first)
    if root or str(top) not in SYSTEM_DIRECTORIES or not top.is_symlink():
        return target
    return os.path.normpath(f"/{top.readlink()}/{rest}")


def resolve_binds(binds: Sequence[Bind], home: Path) -> list[tuple[str, str, bool]]:
    """(source without symbolic links, target, writable) for the launcher, shallow targets first.

    Raises:
        JailError: for a source that is not there, that shows a kernel tree or anything of the gateway's home outside
            its work areas, or a bad target.
    """
    resolved = []
    home = home.resolve()
    for bind in binds:
        target = _without_system_link(os.path.normpath(bind.target))
        if not bind.target.startswith("/") or target in {"/", "//"} or ".." in Path(bind.target).parts:
            raise JailError(f"bind target {bind.target} is not an absolute path below /")
        if any(Path(target).is_relative_to(tree) for tree in _KERNEL_TREES):
            raise JailError(f"bind target {target} would hide the jail's own {target.split('/')[1]}")
        try:
            source = bind.source.resolve(strict=True)
            hidden = withheld(source, home)
        except (OSError, RuntimeError):
            raise JailError(f"bind source {bind.source} or something beside it cannot be read") from None
        if hidden:
            raise JailError(
                f"bind source {bind.source} would show the gateway's home {home}; a hand may be given a directory in "
                f"{' or '.join(str(home / area) for area in WORK_AREAS)}, or one outside the home"
            )
        if any(source.is_relative_to(tree) for tree in _KERNEL_TREES) or source == Path("/"):
            raise JailError(f"bind source {bind.source} is not a directory or file of data")
        resolved.append((str(source), target, bind.writable))
    return sorted(resolved, key=lambda item: item[1].count("/"))


def check_executed(program: str, binds: Sequence[tuple[str, str, bool]]) -> None:
    """Refuse binds by which a jail could write what it executes. Landlock would end the start, without a word of why.

    Args:
        program: its path in the jail.
        binds: as :func:`resolve_binds` returns them.

    Raises:
        JailError: for a writable bind that shares files with the program's, or with a system directory.
    """
    shown_at, lies_at = _where(program, binds)
    for source, target, writable in binds:
        if not writable:
            continue
        for directory in filter(os.path.isdir, SYSTEM_DIRECTORIES):
            system = os.path.realpath(directory)
            if _overlap(source, system) or Path(target).is_relative_to(system):
                raise JailError(
                    f"the writable bind of {source} at {target} is in {directory}, from which every jail executes; "
                    "bind it read-only or elsewhere, or say jail_profile = 'build'"
                )
        if _overlap(source, os.path.realpath(lies_at)) or (shown_at and Path(target).is_relative_to(shown_at)):
            raise JailError(
                f"{program} is not executed: the bind of {source} at {target} is writable and shares a directory with "
                "it; give the program a place of its own, or say jail_profile = 'build'"
            )


def _where(program: str, binds: Sequence[tuple[str, str, bool]]) -> tuple[str, str]:
    """The target of the bind that shows a program, if one does, and its path on the host."""
    for source, target, _ in sorted(binds, key=lambda bind: len(bind[1]), reverse=True):
        if Path(program).is_relative_to(target):
            return target, str(Path(source, Path(program).relative_to(target)))
    return "", program


def _overlap(one: str, other: str) -> bool:
    return Path(one).is_relative_to(other) or Path(other).is_relative_to(one)
