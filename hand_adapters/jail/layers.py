"""What this machine has for a jail, found by trying a jail for real, and what to do where something lacks."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.manifest import DEFAULT_PROFILE
from gateway.settings import JailSettings
from hand_adapters.jail import cgroups, landlock, landlock_exec
from hand_adapters.jail.arguments import first_arguments, last_arguments, mounts, rlimits
from hand_adapters.jail.landlock_exec import BUILD, LandlockExec
from hand_adapters.jail.link import setup_message, trial
from hand_adapters.jail.profiles import PROFILES
from hand_adapters.jail.seccomp import ARCHITECTURES, GATED
from hand_adapters.jail.spec import Gate, JailError, JailSpec

GET_BWRAP: Final = "install bubblewrap 0.8 or newer (Debian and Ubuntu: apt-get install bubblewrap)"


@dataclass(frozen=True, slots=True)
class Layers:
    """What jails on this machine are made of.

    Attributes:
        stage: a directory that the launcher covers in its own mount namespace to stage binds in.
        uid, gid: what jailed programs run as.
        disable_userns: whether bwrap can also forbid user namespaces by sysctl; seccomp forbids them in any case.
        controllers: where cgroups can be made; ``None`` brings the memory budget into force.
        landlock: the kernel's ABI, or 0; what it does not hold is left to the other layers.
        landlock_exec: what applies its rules about files; ``None`` leaves those to the other layers.
    """

    bwrap: str
    stage: str
    uid: int
    gid: int
    disable_userns: bool
    controllers: cgroups.Controllers | None
    landlock: int
    landlock_exec: LandlockExec | None

    @property
    def held(self) -> tuple[str, ...]:
        """What Landlock holds in every jail, in words of the documentation."""
        return held(self.landlock, self.landlock_exec)

    def setup(self, group: str | None = None) -> dict[str, Any]:
        """The launcher's first message; ``group`` names its cgroups."""
        groups = self.controllers.parents(group) if self.controllers and group else []
        return setup_message(
            self.bwrap,
            self.stage,
            self.uid,
            self.gid,
            landlock=self.landlock,
            landlock_exec=None if self.landlock_exec is None else self.landlock_exec.content,
            groups=groups,
        )


def find_bwrap(settings: JailSettings) -> str | None:
    """Absolute path of bubblewrap, or ``None``."""
    if settings.bwrap is None:
        return shutil.which("bwrap")
    return str(settings.bwrap) if os.access(settings.bwrap, os.X_OK) and not settings.bwrap.is_dir() else None


def find_stage(bwrap: str) -> str | None:
    """A directory that exists, can be covered, and does not hold bwrap."""
    for choice in ("/mnt", "/srv", "/media", "/tmp"):  # noqa: S108 - a mount point, nothing is written into it
        if Path(choice).is_dir() and not Path(choice).is_symlink() and not Path(bwrap).is_relative_to(choice):
            return choice
    return None


def ids(settings: JailSettings) -> tuple[int, int]:
    """The uid and gid of jailed programs: the settings' where the gateway is root, else the gateway's own."""
    return (settings.uid, settings.gid) if os.getuid() == 0 else (os.getuid(), os.getgid())


def examine(settings: JailSettings) -> tuple[Layers | None, list[str]]:
    """The layers, or the sentences that say what lacks and how to get it."""
    problems = []
    bwrap = find_bwrap(settings)
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        problems.append(f"Jails run on Linux on {' or '.join(ARCHITECTURES)}, and this is {platform.platform()}.")
    if bwrap is None:
        where = settings.bwrap or "on PATH"
        problems.append(f"bubblewrap was not found ({where}): {GET_BWRAP}.")
    if problems or bwrap is None:
        return None, problems
    stage = find_stage(bwrap)
    if stage is None:
        return None, ["No directory to stage binds in: make an empty /mnt."]
    version = landlock.abi()
    try:
        confining = landlock_exec.find(settings.landlock_exec) if version >= landlock.FILES_ABI else None
    except JailError as exc:
        return None, [f"{exc.detail}. {landlock_exec.remedy(settings.landlock_exec)}"]
    if settings.landlock_required and (advice := landlock_advice(version, confining)):
        there = ", ".join(held(version, confining)) or "nothing"
        return None, [f"jail.landlock_required is set, and Landlock holds {there}. {advice}"]
    uid, gid = ids(settings)
    controllers = cgroups.find()
    failure: str | None = None
    for disable_userns in (True, False):
        layers = Layers(bwrap, stage, uid, gid, disable_userns, controllers, version, confining)
        failure = try_one(layers)
        if failure is None:
            return layers, []
    return None, [f"A trial jail failed ({failure}). {remedy(failure or '')}"]


def try_one(layers: Layers, gate: Gate | None = None) -> str | None:
    """Run ``true`` in a jail made of ``layers``, with a way out where there is a ``gate``; what went wrong, or
    ``None``."""
    profile = PROFILES[DEFAULT_PROFILE]
    program = shutil.which("true", path="/usr/bin:/bin")
    if program is None:
        return "there is no 'true' to try"
    spec = JailSpec((program,), deadline_seconds=10, gate=gate)
    order = {
        "op": "start",
        "id": 1,
        "argv": [program],
        "binds": [],
        "arguments": first_arguments(spec, profile, disable_userns=layers.disable_userns),
        "last_arguments": last_arguments(),
        "mounts": mounts(),
        "executes_written": profile.executes_written,
        "rlimits": rlimits(profile, bare=layers.controllers is None),
        "limits": [],
        "seccomp": profile.seccomp if gate is None else GATED,
        "deadline_seconds": 10,
        **({"gate": {"port": gate.port, "name": gate.name}} if gate is not None else {}),
    }
    try:
        return trial(layers.setup(), order)
    except JailError as exc:
        return exc.detail


def remedy(failure: str) -> str:
    """What an operator can do about a failed trial."""
    switches = [
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            (
                "allow user namespaces to bwrap and to the gateway's Python with an AppArmor profile ('userns,'), or "
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
            ),
        ),
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ]
    for path, bad, advice in switches:
        if read_switch(path) == bad:
            return f"User namespaces are switched off: {advice}."
    if "Operation not permitted" in failure or "Permission denied" in failure:
        return (
            "In a container, its seccomp and AppArmor profiles must permit user namespaces and mounts, and its /proc "
            "must not be masked (see docs/sandbox.md)."
        )
    return "See docs/sandbox.md."


def held(version: int, confining: LandlockExec | None) -> tuple[str, ...]:
    """What Landlock holds in every jail on a kernel of that ABI, in words of the documentation."""
    return (*landlock.held(version), *(("files",) if confining is not None else ()))


def landlock_advice(version: int, confining: LandlockExec | None) -> str:
    """How Landlock would hold more; empty where it holds all that a jail has use for."""
    if version < landlock.ABI:
        return "Use Linux 6.12 or newer with CONFIG_SECURITY_LANDLOCK and 'landlock' among its security modules (lsm=)."
    return "" if confining is not None else f"Run once, with a C compiler: {BUILD}"


def read_switch(path: str) -> str | None:
    """The text of a sysctl, or ``None`` where this kernel has none of that name."""
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
