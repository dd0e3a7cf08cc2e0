"""What ``handrail doctor`` says of the jail: every layer, whether it is there, and how to get it."""

import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gateway.manifest import DEFAULT_PROFILE
from gateway.settings import JailSettings
from hand_adapters.jail import cgroups, landlock, landlock_exec, layers
from hand_adapters.jail.layers import GET_BWRAP, examine, find_bwrap, ids, read_switch
from hand_adapters.jail.profiles import PROFILES
from hand_adapters.jail.seccomp import ARCHITECTURES, LISTS
from hand_adapters.jail.seccomp import program as seccomp_program
from hand_adapters.jail.spec import Bind, JailError

KERNEL_MIN: Final = (5, 14)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        ok: whether jails can do with what was found. A missing cgroup is ``ok``: the memory budget stands in for it.
        remedy: what to do; empty where there is nothing to do.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def diagnose(settings: JailSettings) -> list[Finding]:
    """Look at every layer and try one jail for real. Blocks for some 100 ms; changes nothing."""
    trial = _trial(settings)
    return [
        _python(),
        _proved(_kernel(), trial),
        _bwrap(settings),
        _proved(_user_namespaces(), trial),
        _proved(_seccomp(), trial),
        diagnose_landlock(settings),
        _cgroups(settings),
        _uid(settings),
        trial,
        _way_out(settings),
    ]


def _proved(finding: Finding, trial: Finding) -> Finding:
    """What a kernel's switch forbids, an AppArmor profile or being root may permit: the trial has the last word."""
    if finding.ok or not trial.ok:
        return finding
    return replace(finding, ok=True, detail=f"{finding.detail}, but jails start all the same", remedy="")


class _TrialGate:
    """A gate that serves nobody: whether its listeners can be had is the question."""

    env: Mapping[str, str] = MappingProxyType({})
    binds: Sequence[Bind] = ()
    port = 3128
    name = "handrail-trial"

    def open(self, listeners: Sequence[socket.socket]) -> None:
        """Nobody is served."""
        for listener in listeners:
            listener.close()

    def close(self) -> None:
        """Nothing is open."""


def _way_out(settings: JailSettings) -> Finding:
    """What hands that name ``egress`` need beside: a network namespace made by the launcher, and a socket out of it."""
    found, _ = examine(settings)
    if found is None:
        return Finding("way out", ok=False, detail="no jail", remedy="See the findings above.")
    failure = layers.try_one(found, _TrialGate())
    if failure is None:
        return Finding("way out", ok=True, detail="a jail handed its loopback listeners over")
    return Finding("way out", ok=False, detail=failure, remedy=layers.remedy(failure))


def _python() -> Finding:
    detail = f"Python {platform.python_version()} at {sys.executable}"
    return Finding("python", sys.version_info >= (3, 11), detail, "" if sys.version_info >= (3, 11) else "Use 3.11.")


def _kernel() -> Finding:
    release = platform.release()
    found = re.match(r"(\d+)\.(\d+)", release)
    recent = found is not None and (int(found[1]), int(found[2])) >= KERNEL_MIN
    wanted = ".".join(map(str, KERNEL_MIN))
    remedy = "" if recent else f"Use Linux {wanted} or newer (docs/sandbox.md)."
    return Finding("kernel", recent, f"{platform.system()} {release} on {platform.machine()}", remedy)


def _bwrap(settings: JailSettings) -> Finding:
    path = find_bwrap(settings)
    if path is None:
        return Finding("bubblewrap", ok=False, detail=f"not found ({settings.bwrap or 'on PATH'})", remedy=GET_BWRAP)
    try:
        asked = subprocess.run([path, "--version"], capture_output=True, text=True, env={}, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return Finding("bubblewrap", ok=False, detail=f"{path}: {exc}", remedy=GET_BWRAP)
    words = asked.stdout.split()
    version = tuple(int(part) for part in words[-1].split(".") if part.isdigit()) if words else ()
    recent = version >= (0, 8)
    return Finding("bubblewrap", recent, f"{asked.stdout.strip()} at {path}", "" if recent else GET_BWRAP)


def _user_namespaces() -> Finding:
    switches = {
        "/proc/sys/kernel/unprivileged_userns_clone": ("0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
            "1",
            "give bwrap and the gateway's Python an AppArmor profile with 'userns,' (docs/sandbox.md)",
        ),
        "/proc/sys/user/max_user_namespaces": ("0", "sysctl -w user.max_user_namespaces=15000"),
    }
    for path, (bad, remedy) in switches.items():
        if read_switch(path) == bad:
            return Finding("user namespaces", ok=False, detail=f"{path} is {bad}", remedy=remedy)
    return Finding("user namespaces", ok=True, detail="no switch forbids them")


def _seccomp() -> Finding:
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        remedy = f"Run the gateway on {' or '.join(ARCHITECTURES)}."
        return Finding("seccomp", ok=False, detail=f"no system-call table for {machine}", remedy=remedy)
    available = read_switch("/proc/sys/kernel/seccomp/actions_avail") or ""
    ok = {"kill_process", "errno", "allow"} <= set(available.split())
    sizes = ", ".join(f"{name} {len(seccomp_program(name)) // 8} instructions" for name in LISTS)
    return Finding("seccomp", ok, sizes, "" if ok else "The kernel needs CONFIG_SECCOMP_FILTER and Linux 4.14.")


def diagnose_landlock(settings: JailSettings) -> Finding:
    """What Landlock holds here; it comes with a remedy where that is not everything."""
    version = landlock.abi()
    try:
        confining = landlock_exec.find(settings.landlock_exec) if version >= landlock.FILES_ABI else None
    except JailError as exc:
        remedy = landlock_exec.remedy(settings.landlock_exec)
        return Finding("landlock", ok=False, detail=exc.detail, remedy=remedy)
    there = layers.held(version, confining)
    if version and confining is None:
        there = (*there, "files of python and wasm hands")
    detail = f"ABI {version}: it holds {', '.join(there)}" if version else "this kernel has none"
    advice = layers.landlock_advice(version, confining)
    if not advice:
        return Finding("landlock", ok=True, detail=detail)
    if settings.landlock_required:
        return Finding("landlock", ok=False, detail=detail, remedy=advice)
    return Finding("landlock", ok=True, detail=detail, remedy=f"Jails start; namespaces hold the same. {advice}")


def _cgroups(settings: JailSettings) -> Finding:
    found = cgroups.find()
    if found is not None:
        return Finding("cgroups", ok=True, detail=f"version {found.version}: {', '.join(sorted(found.directories))}")
    fits = settings.memory_budget_bytes // PROFILES[DEFAULT_PROFILE].bare_cost_bytes
    return Finding(
        "cgroups",
        ok=fits > 0,
        detail=f"none that this process may use: rlimits alone, and at most {fits} default jails at once",
        remedy=(
            "Under systemd set Delegate=yes and DelegateSubgroup=gateway in the unit; in a container mount the cgroup "
            "file system writable; or raise jail.memory_budget_bytes."
        ),
    )


def _uid(settings: JailSettings) -> Finding:
    uid, gid = ids(settings)
    if os.getuid() != 0:
        return Finding("uid", ok=True, detail=f"the gateway's own, {uid}:{gid}")
    taken = [line for line in _accounts() if line.split(":")[2:3] == [str(uid)]]
    if taken:
        name = taken[0].split(":")[0]
        return Finding("uid", ok=False, detail=f"{uid} is the account {name}", remedy="Set jail.uid to a free number.")
    return Finding("uid", ok=True, detail=f"{uid}:{gid}, which no account has")


def _accounts() -> list[str]:
    try:
        return Path("/etc/passwd").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _trial(settings: JailSettings) -> Finding:
    found, problems = examine(settings)
    if found is None:
        return Finding("trial jail", ok=False, detail=" ".join(problems), remedy="See the findings above.")
    extra = "" if found.disable_userns else "; bwrap cannot set max_user_namespaces here, seccomp alone forbids them"
    return Finding("trial jail", ok=True, detail=f"a program ran and ended{extra}")
