"""Landlock by itself: what it holds where every other layer is taken away, and where it is all that holds."""

import asyncio
import dataclasses
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import HandSettings, JailSettings
from hand_adapters.egress import EgressGate
from hand_adapters.jail import INSIDE, Bind, Jail, JailSpec, kernel, landlock
from hand_adapters.process import ProcessAdapter
from hand_adapters.python import PythonAdapter
from tests import services
from tests.egress.world import settings
from tests.hands.hands_support import call
from tests.jail.alone import ALONE
from tests.jail.battery.scripts import arguments, script
from tests.jail.battery.table import PROBES, Probe

PYTHON = "/usr/bin/python3"
NAMED = [probe for probe in PROBES if "Landlock" in probe.stopped_by and "Landlock (files)" not in probe.stopped_by]
"""What every jail's own half holds. The half about files is held by ``test_landlock_exec``."""
ROOT = Path(__file__).resolve().parents[2]
UNPRIVILEGED = "kernel.check(kernel.libc.prctl(landlock.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'no_new_privs')\n"
pytestmark = pytest.mark.jail


@pytest.fixture(autouse=True)
def recent() -> None:
    services.require(landlock.abi() >= 6, "Landlock with ABI 6", "Use Linux 6.12 or newer, with landlock among lsm=.")


async def said(code: str, argument: str, identity: dict[str, Any]) -> str:
    """What a program says that has no jail around it."""
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-I", "-S", "-c", code, argument),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **identity,
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace")


def alone(probe: Probe, restriction: str) -> str:
    """The probe, restricted by Landlock and nothing else. The control of it is in ``test_battery``."""
    return ALONE + UNPRIVILEGED + restriction + "\n" + script(probe)


@pytest.mark.parametrize("probe", NAMED, ids=lambda probe: probe.name)
async def test_a_probe_that_names_landlock_is_held_by_it_alone(probe: Probe, host: dict[str, Any]) -> None:
    code = alone(probe, f"landlock.restrict_process({landlock.abi()})")
    found = await said(code, arguments(host, probe.inside), host["identity"])
    assert found.startswith("BEGUN\nHELD PermissionError"), found


def test_what_is_named_is_every_thing_that_it_holds() -> None:
    assert {probe.name for probe in NAMED} >= {"network", "listen", "abstract_socket", "signal_host"}
    for word in landlock.held(6):
        assert any(f"Landlock ({word})" in probe.stopped_by for probe in NAMED), word


@pytest.mark.parametrize(
    ("older", "open_still"),
    [
        (0, {"network", "listen", "abstract_socket", "signal_host"}),
        (3, {"network", "listen", "abstract_socket", "signal_host"}),
        (4, {"abstract_socket", "signal_host"}),
        (5, {"abstract_socket", "signal_host"}),
        (6, set()),
    ],
)
async def test_an_older_kernel_holds_what_it_says_and_no_more(
    older: int, open_still: set[str], host: dict[str, Any]
) -> None:
    for probe in NAMED:
        if probe.name == "metadata":
            continue
        found = await said(
            alone(probe, f"landlock.restrict_process({older})"), arguments(host, probe.inside), host["identity"]
        )
        assert ("ESCAPED" in found) == (probe.name in open_still), (probe.name, found)


FILES = {
    "read": "open('/etc/hostname' if os.path.exists('/etc/hostname') else '/etc/passwd').read()",
    "make": "open('/tmp/landlock-' + str(os.getpid()), 'w'); os.unlink('/tmp/landlock-' + str(os.getpid()))",
    "execute": "assert os.posix_spawn('/usr/bin/true', ['true'], {}) and os.wait()[1] == 0",
    "mount": "kernel.mount('none', '/mnt', 'tmpfs', 0)",
}


@pytest.mark.parametrize("attempt", FILES)
@pytest.mark.parametrize("older", range(1, 7))
async def test_no_file_and_no_mount_without_a_right_whatever_the_abi(attempt: str, older: int) -> None:
    """The user namespace gives every capability that a mount wants: nothing but Landlock is left to refuse it."""
    uid, gid = os.getuid(), os.getgid()
    begin = f"{ALONE}kernel.unshare({kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS}, 'namespaces')\n"
    begin += f"kernel.map_ids({uid}, {gid})\n"
    end = f"{FILES[attempt]}\nprint('DONE')"
    assert (await said(begin + end, "", {})).endswith("DONE\n")
    held = await said(f"{begin}landlock.restrict_files({older})\n{end}", "", {})
    assert "DONE" not in held
    assert "PermissionError" in held or "Operation not permitted" in held, held


async def test_what_it_is_not_given_it_cannot_have_again() -> None:
    again = "landlock.restrict_files(1, {'/': landlock.READ_FILE})\nopen('/etc/passwd').close()\n"
    less = "landlock.restrict_files(1, {'/usr': landlock.READ_FILE})\n"
    code = f"{ALONE}{again}print('READ', flush=True)\n{less}{again}"
    assert (await said(code, "", {})).endswith("PermissionError: [Errno 13] Permission denied: '/etc/passwd'\n")


async def test_bubblewrap_mounts_under_the_half_that_every_jail_has_and_under_no_right_of_files() -> None:
    jailed = "\nos.execv('/usr/bin/bwrap', ['bwrap', '--ro-bind', '/usr', '/usr', '--symlink', 'usr/lib', '/lib', "
    jailed += "'--symlink', 'usr/lib64', '/lib64', '--unshare-user', '--unshare-pid', '/usr/bin/echo', 'STARTED'])"
    started = await said(f"{ALONE}{UNPRIVILEGED}landlock.restrict_process({landlock.abi()}){jailed}", "", {})
    assert started.endswith("STARTED\n"), started
    refused = await said(f"{ALONE}landlock.restrict_files(1, {{'/': landlock.file_rights(1)}}){jailed}", "", {})
    assert "STARTED" not in refused
    assert "Operation not permitted" in refused


async def test_a_refusal_of_the_kernel_is_an_error_and_no_weaker_jail() -> None:
    code = ALONE + "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
    for call_of_it in ("restrict_process(6)", "restrict_files(6)"):
        assert "landlock_create_ruleset" in await said(f"{code}landlock.{call_of_it}\nprint('DONE')", "", {})


def test_rights_of_a_jails_mounts() -> None:
    line = "24 1 0:{} / {} {},relatime - tmpfs tmpfs rw"
    mounts = {"/": "ro", "/usr": "ro", "/proc": "rw", "/dev": "ro", "/tmp": "rw", "/dev/null": "rw", "/a\\040b": "ro"}
    text = "\n".join(line.format(number, path, how) for number, (path, how) in enumerate(mounts.items()))
    found = landlock.rights_of_mounts(text, 6)
    assert set(found) == {"/", "/usr", "/proc", "/dev", "/tmp", "/dev/null", "/a b"}
    assert {path for path, rights in found.items() if rights & landlock.EXECUTE} == {"/usr", "/a b"}
    assert {path for path, rights in found.items() if rights & landlock.WRITE_FILE} == {"/tmp", "/dev/null", "/dev"}
    assert all(not rights & (landlock.MAKE_CHAR | landlock.MAKE_BLOCK) for rights in found.values())
    assert all(rights & landlock.READ_FILE for rights in found.values())


def test_what_is_writable_below_what_is_read_only_is_not_executed() -> None:
    """A rule about a directory holds for what is mounted below it, too."""
    line = "24 1 0:{} / {} {},relatime - tmpfs tmpfs rw"
    mounts = {"/": "ro", "/work": "ro", "/work/out": "rw", "/work/bin": "ro", "/workshop": "ro"}
    text = "\n".join(line.format(number, path, how) for number, (path, how) in enumerate(mounts.items()))
    found = landlock.rights_of_mounts(text, 6)
    assert {path for path, rights in found.items() if rights & landlock.EXECUTE} == {"/work/bin", "/workshop"}
    assert {path for path, rights in found.items() if rights & landlock.WRITE_FILE} == {"/work/out"}


@pytest.mark.parametrize(
    ("written", "executed"),
    [("/srv/w", []), ("/srv/w/bin", []), ("/srv", []), ("/srv/w/other", ["/tools"]), ("/srv/w2", ["/tools"])],
)
def test_what_shares_files_with_what_is_writable_is_not_executed(written: str, executed: list[str]) -> None:
    """A rule about a directory is one about its files, by whatever mount they are reached."""
    mounts = [("8:1", written, "/work", "rw"), ("8:1", "/srv/w/bin", "/tools", "ro"), ("8:2", written, "/else", "rw")]
    text = "\n".join(f"24 1 {one} {root} {path} {how},relatime - ext4 x rw" for one, root, path, how in mounts)
    found = landlock.rights_of_mounts(text, 6)
    assert [path for path, rights in found.items() if rights & landlock.EXECUTE] == executed


# --- in jails --------------------------------------------------------------------------------------------------------

ELSEWHERE: Any = {"host": "example.com", "paths": ("/**",)}
GATED = "import socket; waiting = socket.socket(); {}"


async def test_a_jail_with_a_way_out_has_that_one_and_takes_no_connections(jail: Jail) -> None:
    """Its filter of system calls has to let TCP through; that it is one port and one direction is Landlock's."""
    for code, wanted in (
        ("waiting.connect(('127.0.0.1', 3128)); print('THERE')", "THERE"),
        ("waiting.connect(('127.0.0.1', 3129))", "PermissionError"),
        ("waiting.bind(('127.0.0.1', 0))", "PermissionError"),
    ):
        gate = EgressGate("h", settings(ELSEWHERE))
        spec = JailSpec((PYTHON, "-I", "-S", "-c", GATED.format(code)), gate=gate, deadline_seconds=60)
        ended = await jail.run(spec)
        assert wanted in (ended.stdout + ended.stderr).decode(), (code, ended)


async def test_without_landlock_that_jail_could_do_both(home: Path) -> None:
    """The positive control: the same jail on a kernel that has none."""
    bare = Jail(JailSettings(), home)
    services.require(not bare.missing(), "a working jail", " ".join(bare.missing()) or "-")
    assert bare._examined is not None
    assert bare._examined[0] is not None
    bare._examined = (dataclasses.replace(bare._examined[0], landlock=0, landlock_exec=None), [])
    for code, wanted in (
        ("waiting.connect(('127.0.0.1', 3129))", "ConnectionRefusedError"),
        ("waiting.bind(('127.0.0.1', 0)); print('BOUND')", "BOUND"),
    ):
        gate = EgressGate("h", settings(ELSEWHERE))
        spec = JailSpec((PYTHON, "-I", "-S", "-c", GATED.format(code)), gate=gate, deadline_seconds=60)
        ended = await bare.run(spec)
        assert wanted in (ended.stdout + ended.stderr).decode(), (code, ended)
    await bare.close()


DROPPED = """
import os, pathlib, subprocess

def dropped() -> str:
    place = pathlib.Path("/tmp/dropped")
    place.write_bytes(pathlib.Path("/usr/bin/true").read_bytes())
    place.chmod(0o755)
    try:
        return f"it ended with {subprocess.run([place]).returncode}"
    except OSError as exc:
        return type(exc).__name__

def usual() -> int:
    pathlib.Path("/tmp/made").write_text("x")
    pathlib.Path("/dev/null").write_text("x")
    return subprocess.run(["/usr/bin/true"]).returncode
"""


@pytest.mark.parametrize("profile", ["default", "strict"])
async def test_a_python_hand_executes_nothing_that_it_could_write(jail: Jail, home: Path, profile: str) -> None:
    source = home.parent / "source" / "tools.py"
    source.parent.mkdir()
    source.write_text(DROPPED)
    told: dict[str, Any] = {"adapter": "python", "python": {"source": source}, "actions": {"dropped": {}, "usual": {}}}
    hand = PythonAdapter("h", HandSettings(**told, jail_profile=profile), jail)
    digest = (await hand.manifest()).digest
    assert (await hand.run(call("h", "dropped", {}, digest))).structured == "PermissionError"
    assert (await hand.run(call("h", "usual", {}, digest))).structured == 0
    await hand.close()


@pytest.mark.parametrize(("profile", "said"), [("default", "PermissionError"), ("build", "it ended with 0")])
async def test_a_program_may_where_its_hand_says_so(jail: Jail, profile: str, said: str) -> None:
    code = DROPPED.replace("{", "{{").replace("}", "}}") + "\nprint(dropped())"
    word = {"argv": (PYTHON, "-I", "-S", "-c", code), "args_schema": {"type": "object"}}
    hand = ProcessAdapter("h", HandSettings(adapter="process", jail_profile=profile, actions={"it": word}), jail)
    result = await hand.run(call("h", "it", {}, (await hand.manifest()).digest))
    assert said in str(result)
    await hand.close()


async def test_the_worker_of_webassembly_opens_no_file_once_it_serves(jail: Jail) -> None:
    """What somebody could do who broke out of the runtime: the same process, after it has run a module."""
    setup = b'{"bytes": 8, "memory_max_bytes": 65536, "allow": []}\n\0asm\1\0\0\0'
    here = Path(landlock.__file__).parents[1]
    break_out = "\nimport os\nos.listdir('/')\nprint('OPENED', flush=True)\nos.execv('/usr/bin/true', ['true'])"
    for first, wanted in (
        ("import runpy; runpy.run_path('/wasm/worker.py', run_name='__main__')", b""),
        ("", b"OPENED"),
    ):
        ended = await jail.run(
            JailSpec(
                ("python", "-I", "-c", first + break_out),
                binds=(Bind(here / "wasm", "/wasm"), INSIDE),
                env={"LANG": "C.UTF-8"},
                deadline_seconds=60,
            ),
            setup,
        )
        assert (b"OPENED" in ended.stdout) == bool(wanted), ended
        if not wanted:
            assert b'"exports"' in ended.stdout
            assert b"PermissionError" in ended.stderr


def test_what_a_jail_is_shown_of_us_needs_the_standard_library_alone() -> None:
    """``kernel`` and ``landlock`` run under whatever interpreter a Python hand names."""
    code = ALONE + "print(sorted(name for name in sys.modules if name.split('.')[0] not in sys.stdlib_module_names))"
    shown = subprocess.check_output([PYTHON, "-I", "-S", "-c", code], text=True)
    ours = [
        "__main__",
        "hand_adapters",
        "hand_adapters.jail",
        "hand_adapters.jail.kernel",
        "hand_adapters.jail.landlock",
    ]
    assert shown == f"{ours}\n"


async def test_nor_what_it_could_write_below_what_it_could_not(jail: Jail, home: Path) -> None:
    source = home.parent / "source" / "tools.py"
    source.parent.mkdir()
    source.write_text(DROPPED.replace("/tmp/dropped", "/data/out/dropped"))
    (home.parent / "work" / "out").mkdir(parents=True)
    (home.parent / "out").mkdir(mode=0o777)
    (home.parent / "out").chmod(0o777)
    binds = [
        {"source": home.parent / "work", "target": "/data"},
        {"source": home.parent / "out", "target": "/data/out", "writable": True},
    ]
    told: dict[str, Any] = {"adapter": "python", "python": {"source": source}, "actions": {"dropped": {}, "usual": {}}}
    hand = PythonAdapter("h", HandSettings(**told, binds=binds), jail)
    digest = (await hand.manifest()).digest
    assert (await hand.run(call("h", "dropped", {}, digest))).structured == "PermissionError"
    assert (await hand.run(call("h", "usual", {}, digest))).structured == 0
