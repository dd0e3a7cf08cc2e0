"""Finds where this process may make cgroups: version 1, version 2, or nowhere."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hand_adapters.jail.profiles import Profile

NAME: Final = re.compile(r"handrail-(\d+)-[0-9a-f]{12}")
"""Group of one launcher: the gateway's pid, and a nonce."""
_CPU_PERIOD_MICROSECONDS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Controllers:
    """Directories in which groups can be made. ``version`` 1 has one per controller, 2 has one for all.

    Attributes:
        directories: controller -> directory; always ``pids`` and ``memory``, ``cpu`` where it is there.
    """

    version: int
    directories: dict[str, Path]

    def parents(self, base: str) -> list[str]:
        """The directories that hold one group per jail, in a fixed order."""
        names = ["pids"] if self.version == 2 else sorted(self.directories)
        return [str(self.directories[name] / base) for name in names]

    def limits(self, profile: Profile) -> list[list[tuple[str, str]]]:
        """[(file, value)] for each of :meth:`parents`."""
        # bwrap's own two processes count too.
        tasks, memory = str(profile.processes + 2), str(profile.memory_bytes)
        quota = str(int(profile.cpu_cores * _CPU_PERIOD_MICROSECONDS))
        if self.version == 1:
            wanted = {
                "pids": [("pids.max", tasks)],
                "memory": [("memory.limit_in_bytes", memory)],
                "cpu": [("cpu.cfs_quota_us", quota)],
            }
            return [wanted[name] for name in sorted(self.directories)]
        values = [("pids.max", tasks), ("memory.max", memory)]
        if _swap_is_counted(self):
            values.append(("memory.swap.max", "0"))
        if "cpu" in self.directories:
            values.append(("cpu.max", f"{quota} {_CPU_PERIOD_MICROSECONDS}"))
        return [values]

    def _roots(self) -> set[Path]:
        return set(self.directories.values())

    def remove(self, base: str) -> None:
        """Remove a launcher's groups; one that still holds a process stays."""
        for root in self._roots():
            for path in (*_subdirectories(root / base), root / base):
                with suppress(OSError):
                    path.rmdir()

    def sweep(self) -> None:
        """Remove what gateways left that no longer live."""
        for root in self._roots():
            for path in _subdirectories(root):
                named = NAME.fullmatch(path.name)
                if named and not Path(f"/proc/{named[1]}").exists():
                    self.remove(path.name)


def _swap_is_counted(controllers: Controllers) -> bool:
    return (controllers.directories["memory"] / "memory.swap.max").exists()


def _subdirectories(path: Path) -> list[Path]:
    try:
        return [child for child in path.iterdir() if child.is_dir()]
    except OSError:
        return []


def find() -> Controllers | None:
    """Where groups with at least ``pids`` and ``memory`` can be made by this process, or ``None``."""
    try:
        memberships = list(_memberships())
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return _version_1(memberships, mounts) or _version_2(memberships, mounts)


def _memberships() -> Iterator[tuple[str, str]]:
    """(controllers joined by commas, path); the controllers are empty for version 2."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        yield controllers, path


def _mount_points(mounts: str, kind: str) -> Iterator[tuple[str, str, set[str]]]:
    """(mount point, root of the mount, options of its file system) for each mount of ``kind``."""
    for line in mounts.splitlines():
        front, _, back = line.partition(" - ")
        words, tail = front.split(), back.split()
        if tail[0] == kind:
            yield words[4], words[3], set(tail[2].split(","))


def _version_1(memberships: list[tuple[str, str]], mounts: str) -> Controllers | None:
    found: dict[str, Path] = {}
    for point, root, options in _mount_points(mounts, "cgroup"):
        for name in {"pids", "memory", "cpu"} & options:
            for controllers, path in memberships:
                if name in controllers.split(","):
                    inside = path.removeprefix(root) if root != "/" else path
                    found[name] = Path(point + "/" + inside.lstrip("/"))
    usable = {name: path for name, path in sorted(found.items()) if _can_make_groups(path)}
    return Controllers(1, usable) if {"pids", "memory"} <= usable.keys() else None


def _version_2(memberships: list[tuple[str, str]], mounts: str) -> Controllers | None:
    own = next((path for controllers, path in memberships if not controllers), None)
    for point, _root, _options in _mount_points(mounts, "cgroup2"):
        if own is None:
            break
        inside = Path(point + "/" + own.lstrip("/"))
        # A group with processes in it cannot hand controllers to its children, so the parent is the usual place
        # (systemd: Delegate=yes with DelegateSubgroup=).
        for place in (inside, inside.parent):
            if place.is_relative_to(point) and _hands_down(place) and _can_make_groups(place):
                names = (place / "cgroup.subtree_control").read_text(encoding="ascii").split()
                return Controllers(2, {name: place for name in ("pids", "memory", "cpu") if name in names})
    return None


def _hands_down(place: Path) -> bool:
    control = place / "cgroup.subtree_control"
    try:
        available = (place / "cgroup.controllers").read_text(encoding="ascii").split()
        wanted = [name for name in ("pids", "memory", "cpu") if name in available]
        if not {"pids", "memory"} <= set(control.read_text(encoding="ascii").split()):
            control.write_text(" ".join(f"+{name}" for name in wanted), encoding="ascii")
        return {"pids", "memory"} <= set(control.read_text(encoding="ascii").split())
    except OSError:
        return False


def _can_make_groups(place: Path) -> bool:
    trial = place / f"handrail-{os.getpid()}-{os.urandom(6).hex()}"
    try:
        trial.mkdir()
        # Making the directory is not enough: a process must be able to enter it.
        writable = os.access(trial / "cgroup.procs", os.W_OK)
        trial.rmdir()
    except OSError:
        return False
    return writable
