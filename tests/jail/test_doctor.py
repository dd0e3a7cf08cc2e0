"""What the doctor says, and what the programs of a virtual environment need."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import JailSettings
from hand_adapters.jail import Bind, Jail, JailError, cgroups, doctor, landlock
from hand_adapters.jail.layers import remedy
from hand_adapters.jail.profiles import PROFILES
from hand_adapters.jail.runtime import program
from tests import services


def by_name(settings: JailSettings) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.diagnose(settings)}


@pytest.mark.jail
def test_a_good_machine_gets_a_clean_bill() -> None:
    services.require(shutil.which("bwrap"), "bubblewrap", "Install it: apt-get install bubblewrap.")
    findings = by_name(JailSettings())
    assert findings.keys() == {
        "python",
        "kernel",
        "bubblewrap",
        "user namespaces",
        "seccomp",
        "landlock",
        "cgroups",
        "uid",
        "trial jail",
        "way out",
    }
    assert [finding for finding in findings.values() if not finding.ok] == []


def test_a_missing_bwrap_comes_with_its_remedy(tmp_path: Path) -> None:
    findings = by_name(JailSettings(bwrap=tmp_path / "bwrap"))
    assert not findings["bubblewrap"].ok
    assert "apt-get install bubblewrap" in findings["bubblewrap"].remedy
    assert not findings["trial jail"].ok


def test_an_old_bwrap_is_not_enough(tmp_path: Path) -> None:
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
    old.chmod(0o755)
    found = by_name(JailSettings(bwrap=old))
    assert not found["bubblewrap"].ok
    assert not found["trial jail"].ok


@pytest.mark.parametrize(
    ("switch", "value", "word"),
    [
        ("kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
        ("user/max_user_namespaces", "0", "max_user_namespaces"),
    ],
)
def test_switches_that_forbid_user_namespaces_are_named(
    switch: str, value: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: str) -> str | None:
        return value if path.endswith(switch) else None

    monkeypatch.setattr(doctor, "read_switch", read)
    monkeypatch.setattr("hand_adapters.jail.layers.read_switch", read)
    finding = by_name(JailSettings(bwrap=Path("/nonexistent/bwrap")))["user namespaces"]
    assert not finding.ok
    assert word in finding.remedy
    assert word in remedy("anything")


@pytest.mark.jail
def test_a_switch_that_stops_no_jail_here_is_nothing_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    services.require(shutil.which("bwrap"), "bubblewrap", "Install it: apt-get install bubblewrap.")
    monkeypatch.setattr(doctor, "read_switch", lambda path: "1" if "apparmor" in path else None)
    findings = by_name(JailSettings())
    assert findings["trial jail"].ok
    for name in ("user namespaces", "seccomp"):
        assert (findings[name].ok, findings[name].remedy) == (True, ""), findings[name]
    assert "apparmor_restrict_unprivileged_userns is 1, but jails start" in findings["user namespaces"].detail


@pytest.mark.jail
def test_a_machine_that_permits_no_user_namespaces_is_told_so_by_itself() -> None:
    """A real one: the kernel keeps the switch for each user namespace, and in this one it is off."""
    services.require(shutil.which("bwrap"), "bubblewrap", "Install it: apt-get install bubblewrap.")
    code = """
import json, os
from hand_adapters.jail import doctor, kernel
from gateway.settings import JailSettings
uid, gid = os.getuid(), os.getgid()
kernel.unshare(kernel.CLONE_NEWUSER, "user namespace")
kernel.map_ids(uid, gid)
kernel.write_file("/proc/sys/user/max_user_namespaces", "0")
print(json.dumps({one.name: [one.ok, one.detail, one.remedy] for one in doctor.diagnose(JailSettings())}))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    findings = json.loads(said.stdout)
    for name in ("user namespaces", "trial jail", "way out"):
        assert not findings[name][0], findings[name]
    assert findings["user namespaces"][2] == "sysctl -w user.max_user_namespaces=15000"
    assert "User namespaces are switched off: sysctl -w user.max_user_namespaces" in findings["trial jail"][1]


@pytest.mark.parametrize("machine", ["x86_64", "mips"])
def test_every_layer_that_lacks_comes_with_a_remedy(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(cgroups, "find", lambda: None)
    monkeypatch.setattr(doctor, "read_switch", lambda path: "0")
    monkeypatch.setattr(doctor, "_accounts", lambda: [f"taken:x:{JailSettings().uid}:"])
    for finding in doctor.diagnose(JailSettings(bwrap=Path("/nonexistent/bwrap"), memory_budget_bytes=2**26)):
        assert finding.ok or finding.remedy, finding


@pytest.mark.parametrize(
    ("version", "words", "complete"),
    [
        (0, "this kernel has none", False),
        (1, "ABI 1: it holds files of python and wasm hands", False),
        (3, "ABI 3: it holds files", False),
        (4, "ABI 4: it holds tcp, files", False),
        (6, "ABI 6: it holds tcp, abstract sockets, signals, files", True),
        (9, "ABI 9: it holds tcp, abstract sockets, signals, files", True),
    ],
)
def test_what_landlock_holds_here_is_said(
    version: int, words: str, complete: bool, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: version)
    finding = doctor.diagnose_landlock(JailSettings(landlock_exec=built))
    assert (finding.ok, finding.detail) == (True, words), "jails start without it"
    assert complete == (not finding.remedy)


@pytest.mark.jail
def test_receipts_tell_a_kernel_that_holds_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    digests = set()
    for version in (0, 4, 6):
        monkeypatch.setattr(landlock, "abi", lambda version=version: version)
        digests.add(Jail(JailSettings(), tmp_path).profile_sha256("default"))
    assert len(digests) == 3


def test_no_cgroup_is_said_with_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "find", lambda: None)
    assert "at most 8 default jails" in by_name(JailSettings())["cgroups"].detail
    small = by_name(JailSettings(memory_budget_bytes=2**26))["cgroups"]
    assert not small.ok


def test_cgroup_limits_of_both_versions() -> None:
    places = {name: Path("/g") for name in ("pids", "memory", "cpu")}
    second = cgroups.Controllers(2, places)
    assert second.parents("b") == ["/g/b"]
    assert second.limits(PROFILES["default"]) == [
        [("pids.max", "66"), ("memory.max", str(2**30)), ("cpu.max", "100000 100000")]
    ]
    first = cgroups.Controllers(1, {name: Path(f"/{name}") for name in places})
    assert first.parents("b") == ["/cpu/b", "/memory/b", "/pids/b"]
    assert first.limits(PROFILES["strict"]) == [
        [("cpu.cfs_quota_us", "50000")],
        [("memory.limit_in_bytes", str(256 * 2**20))],
        [("pids.max", "6")],
    ]


def test_groups_of_dead_gateways_are_swept_and_of_living_ones_kept(tmp_path: Path) -> None:
    living, dead = f"handrail-{os.getpid()}-{'0' * 12}", f"handrail-{2**22 + 1}-{'0' * 12}"
    for name in (living, dead):
        (tmp_path / name / "7").mkdir(parents=True)
    (tmp_path / "handrail-else").mkdir()
    cgroups.Controllers(2, {"pids": tmp_path, "memory": tmp_path}).sweep()
    assert {path.name for path in tmp_path.iterdir()} == {living, "handrail-else"}


def test_python_brings_its_environment_and_interpreter() -> None:
    path, binds = program("python", ())
    targets = {bind.target for bind in binds}
    assert path == sys.executable
    needed = [Path(sys.prefix), Path(sys.base_prefix)]
    for prefix in needed:
        system = any(prefix.is_relative_to(directory) for directory in ("/usr", "/bin", "/lib"))
        assert system or any(prefix.is_relative_to(target) for target in targets), prefix
    assert not any(bind.writable for bind in binds)


def test_a_lone_program_brings_itself_and_not_its_directory(tmp_path: Path) -> None:
    tool = tmp_path / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    (tmp_path / "secret").write_text("x")
    assert program(str(tool), ()) == (str(tool), (Bind(tool, str(tool)),))


def test_a_program_inside_a_bind_is_the_jails_own() -> None:
    assert program("/work/run", (Bind(Path("/srv"), "/work"),)) == ("/work/run", ())


def test_a_directory_or_a_plain_file_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    for path in (tmp_path, tmp_path / "plain", tmp_path / "none"):
        with pytest.raises(JailError):
            program(str(path), ())


@pytest.mark.parametrize(
    ("release", "ok"), [("5.14.0-1", True), ("6.1", True), ("5.13.99", False), ("4.19", False), ("odd", False)]
)
def test_an_old_kernel_comes_with_its_remedy(monkeypatch: pytest.MonkeyPatch, release: str, ok: bool) -> None:
    monkeypatch.setattr(doctor.platform, "release", lambda: release)
    finding = doctor._kernel()
    assert (finding.ok, bool(finding.remedy)) == (ok, not ok)
    assert release in finding.detail
