"""How jails start, and that nothing of them outlives its deadline, a kill, or the gateway."""

import asyncio
import dataclasses
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.reasons import Reason
from gateway.settings import JailSettings
from hand_adapters.jail import PROFILES, Bind, Jail, JailError, JailSpec
from hand_adapters.jail import jail as jail_module
from tests.jail.processes import marked
from tests.until import until

pytestmark = pytest.mark.jail

SLEEP = "/usr/bin/sleep"
SH = "/bin/sh"
DAEMON = """
(setsid sh -c 'echo up; exec sleep {marker}' &)
exec sleep 300
"""


async def died(pidfd: int) -> None:
    """Wait until the process behind a pidfd has ended; time out rather than hang."""

    def wait() -> None:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(20_000), "the process lives on"
        os.close(pidfd)

    await asyncio.to_thread(wait)


def sleeper(marker: str) -> int:
    """A pidfd of the jailed ``sleep`` itself."""
    pids = [pid for pid in marked(marker) if Path(f"/proc/{pid}/comm").read_text().strip() == "sleep"]
    assert len(pids) == 1
    return os.pidfd_open(pids[0])


def sleeping(marker: str) -> list[int]:
    """The processes with the marker that are past their exec."""
    return [pid for pid in marked(marker) if Path(f"/proc/{pid}/comm").read_text().strip() == "sleep"]


async def begun(jail: Jail, marker: str, **more: object) -> object:
    """A jail that sleeps, once it surely does."""
    spec = JailSpec((SH, "-c", f"echo up; exec sleep {marker}"), **more)  # type: ignore[arg-type]
    process = await jail.start(spec)
    assert await process.stdout.readline() == b"up\n"
    await until(lambda: sleeping(marker))  # between the line and the exec
    return process


@pytest.mark.parametrize("as_pid_1", [True, False])
async def test_a_deadline_kills_daemons_that_double_forked(jail: Jail, as_pid_1: bool) -> None:
    marker = f"7001.{os.getpid()}{int(as_pid_1)}"
    spec = JailSpec((SH, "-c", DAEMON.format(marker=marker)), deadline_seconds=2, as_pid_1=as_pid_1)
    ended = await jail.run(spec)
    assert ended.stdout == b"up\n"
    assert ended.timed_out
    assert marked(marker) == []


async def test_the_end_of_the_program_ends_what_it_left_behind(jail: Jail) -> None:
    marker = f"7002.{os.getpid()}"
    code = f"(setsid sh -c 'echo up; exec sleep {marker}' &)\nread answer"
    process = await jail.start(JailSpec((SH, "-c", code)))
    assert await process.stdout.readline() == b"up\n"
    process.stdin.write(b"go\n")
    assert await process.wait() == 0
    assert marked(marker) == []
    await process.kill()


@pytest.mark.parametrize("as_pid_1", [True, False])
async def test_kill_ends_the_whole_tree_even_where_signals_are_ignored(jail: Jail, as_pid_1: bool) -> None:
    marker = f"7003.{os.getpid()}{int(as_pid_1)}"
    code = f"trap '' TERM INT HUP\n(setsid sleep {marker} &)\necho up\nwhile :; do sleep 300; done"
    process = await jail.start(JailSpec((SH, "-c", code), as_pid_1=as_pid_1))
    assert await process.stdout.readline() == b"up\n"
    await process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not process.timed_out
    assert marked(marker) == []
    await process.kill()


async def test_death_of_the_gateway_kills_its_jails(jail: Jail, home: Path) -> None:
    marker = f"7004.{os.getpid()}"
    code = f"""
import asyncio
from pathlib import Path
from gateway.settings import JailSettings
from hand_adapters.jail import Jail, JailSpec
async def main():
    jail = Jail(JailSettings(), Path({str(home)!r}))
    process = await jail.start(JailSpec(("/bin/sh", "-c", "echo up; exec sleep {marker}")))
    layers = jail._examined[0]
    print((await process.stdout.readline()).decode(), flush=True)
    print(*(layers.controllers.parents(jail._group) if layers.controllers else []), flush=True)
    await process.wait()
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    gateway = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert gateway.stdout is not None
    assert await asyncio.to_thread(gateway.stdout.readline) == b"up\n"
    await asyncio.to_thread(gateway.stdout.readline)  # the blank line after it
    groups = (await asyncio.to_thread(gateway.stdout.readline)).decode().split()
    assert all(Path(group).is_dir() for group in groups)
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    launcher = os.pidfd_open(int(children[0]))
    await until(lambda: sleeping(marker))
    pidfd = sleeper(marker)
    gateway.kill()
    await died(pidfd)
    await died(launcher)
    gateway.wait()
    gateway.stdout.close()
    assert [group for group in groups if Path(group).exists()] == []
    assert jail.missing() == []


async def test_killing_the_launcher_kills_its_jails_and_the_next_start_works(jail: Jail) -> None:
    marker = f"7005.{os.getpid()}"
    process = await begun(jail, marker)
    pidfd = sleeper(marker)
    assert jail._link is not None
    os.kill(jail._link.pid, signal.SIGKILL)
    await died(pidfd)
    assert await process.wait() == -signal.SIGKILL  # type: ignore[attr-defined]
    await process.kill()  # type: ignore[attr-defined]
    assert (await jail.run(JailSpec(("/usr/bin/true",)))).returncode == 0


async def test_a_hung_launcher_cannot_keep_a_jail_alive(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hand_adapters.jail.process.KILL_SECONDS", 0.2)
    marker = f"7006.{os.getpid()}"
    process = await begun(jail, marker)
    assert jail._link is not None
    children = Path(f"/proc/{jail._link.pid}/task/{jail._link.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGSTOP)
    await process.kill()  # type: ignore[attr-defined]
    assert marked(marker) == []


async def test_the_launcher_knows_nothing(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "planted-secret")
    inheritable = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    await jail.run(JailSpec(("/usr/bin/true",)))
    assert jail._link is not None
    assert Path(f"/proc/{jail._link.pid}/environ").read_bytes() == b""
    if os.getuid() == 0:  # an unprivileged process may not look into a user namespace it does not own
        open_files = {str(entry.readlink()) for entry in Path(f"/proc/{jail._link.pid}/fd").iterdir()}
        assert open_files <= {"/dev/null", *(name for name in open_files if name.startswith(("pipe:", "socket:")))}
    os.close(inheritable)


async def test_environment_of_the_first_process_is_what_the_spec_says(jail: Jail) -> None:
    program = ("/usr/bin/cat", "/proc/1/environ")
    as_init = await jail.run(JailSpec(program, env={"GIVEN": "yes"}, as_pid_1=False))
    assert as_init.stdout == b""
    assert b"handrail" not in (await jail.run(JailSpec(("/usr/bin/cat", "/proc/1/cmdline"), as_pid_1=False))).stdout
    alone = await jail.run(JailSpec(program, env={"GIVEN": "yes"}))
    assert set(alone.stdout.rstrip(b"\0").split(b"\0")) == {b"GIVEN=yes", b"PWD=/tmp"}


async def test_every_namespace_is_its_own(jail: Jail) -> None:
    """Neither the host's nor that of a jail beside it, whichever program made it."""
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
    seen = [tuple(f"{kind} {Path('/proc/self/ns', kind).readlink()}".encode() for kind in kinds)]
    code = "; ".join(f"echo {kind} $(readlink /proc/self/ns/{kind})" for kind in kinds)
    processes = [await jail.start(JailSpec((SH, "-c", f"{code}; read end"))) for _ in range(2)]
    seen += [tuple([(await process.stdout.readline()).rstrip() for _ in kinds]) for process in processes]
    for process in processes:
        await process.kill()
    for kind, *found in zip(kinds, *seen, strict=True):
        assert len(set(found)) == 3, (kind, found)


async def test_no_descriptor_but_the_three(jail: Jail) -> None:
    opened = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(opened, True)
    ended = await jail.run(JailSpec(("/usr/bin/ls", "/proc/self/fd")))
    os.close(opened)
    assert ended.stdout.split() == [b"0", b"1", b"2", b"3"], "3 is the directory that ls reads"


async def test_programs_run_unprivileged(jail: Jail) -> None:
    uid = JailSettings().uid if os.getuid() == 0 else os.getuid()
    ended = await jail.run(JailSpec(("/usr/bin/cat", "/proc/self/status")))
    status = dict(line.split(":", 1) for line in ended.stdout.decode().splitlines())
    assert status["Uid"].split() == [str(uid)] * 4
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"


async def test_a_flood_of_output_is_capped(jail: Jail) -> None:
    ended = await jail.run(JailSpec(("/usr/bin/yes",), deadline_seconds=60), output_max_bytes=65_536)
    assert ended.truncated
    assert not ended.timed_out
    assert ended.stdout == (b"y\n" * 32_768)


async def test_a_flood_of_errors_neither_blocks_nor_grows(jail: Jail) -> None:
    code = "i=0; while [ $i -lt 20000 ]; do echo 0123456789 >&2; i=$((i+1)); done; echo last >&2; echo done"
    process = await jail.start(JailSpec((SH, "-c", code), deadline_seconds=60))
    assert await process.stdout.readline() == b"done\n"
    assert await process.wait() == 0
    await process._stderr.ended
    assert len(process.stderr_tail()) == 16_384
    assert process.stderr_tail().endswith(b"last\n")
    await process.kill()


async def test_bytes_go_through_unchanged(jail: Jail) -> None:
    sent = bytes(range(256)) * 2000
    assert (await jail.run(JailSpec(("/usr/bin/cat",)), stdin=sent)).stdout == sent


async def test_exit_status_and_signals_are_told_apart(jail: Jail) -> None:
    assert (await jail.run(JailSpec((SH, "-c", "exit 7")))).returncode == 7
    assert (await jail.run(JailSpec((SH, "-c", "kill -SEGV $$"), as_pid_1=False))).returncode == -signal.SIGSEGV


async def test_twenty_jails_leave_nothing_behind(jail: Jail, home: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    many = Jail(JailSettings(memory_budget_bytes=2**50), home)
    marker = f"7007.{os.getpid()}"
    processes = await asyncio.gather(*(many.start(JailSpec((SLEEP, marker))) for _ in range(20)))
    assert many._link is not None
    assert many._examined is not None
    launcher, layers = many._link.pid, many._examined[0]
    assert layers is not None
    await asyncio.gather(*(process.kill() for process in processes[:10]))
    assert all(process.returncode == -signal.SIGKILL for process in processes[:10])
    await many.close()
    assert all(process.returncode is not None for process in processes)
    for process in processes:
        process.release()
    assert marked(marker) == []
    assert not Path(f"/proc/{launcher}").exists()
    assert Path("/proc/self/mountinfo").read_text() == mounts
    if layers.controllers is not None:
        assert [path for path in layers.controllers.parents(many._group) if Path(path).exists()] == []
    assert jail.missing() == []


async def test_without_bwrap_nothing_starts_and_the_words_say_how_to_get_it(home: Path) -> None:
    bare = Jail(JailSettings(bwrap=home / "bwrap"), home)
    assert "install bubblewrap" in bare.missing()[0]
    with pytest.raises(JailError) as refused:
        await bare.start(JailSpec(("/usr/bin/true",)))
    assert refused.value.reason is Reason.HAND_UNAVAILABLE
    await bare.close()


async def test_a_bwrap_that_cannot_jail_is_no_jail(home: Path) -> None:
    false = Jail(JailSettings(bwrap=Path("/usr/bin/false")), home)
    assert "A trial jail failed" in false.missing()[0]
    with pytest.raises(JailError):
        await false.run(JailSpec(("/usr/bin/true",)))


@pytest.mark.parametrize(
    "spec",
    [
        JailSpec(("/usr/bin/true",), profile="lax"),
        JailSpec(("no-such-program",)),
        JailSpec(("./true",)),
        JailSpec(()),
        JailSpec(("/usr/bin/true",), env={"A=B": "c"}),
        JailSpec(("/usr/bin/echo", "a\0b")),
        JailSpec(("/usr/bin/echo", "x" * 200_000)),
        JailSpec(("/usr/bin/true",), deadline_seconds=0),
        JailSpec(("/usr/bin/true",), cwd="relative"),
        JailSpec(("/usr/bin/true",), binds=(Bind(Path("/nonexistent"), "/x"),)),
        JailSpec(("/usr/bin/true",), binds=(Bind(Path("/"), "/x"),)),
        JailSpec(("/usr/bin/true",), binds=(Bind(Path("/proc"), "/x"),)),
        JailSpec(("/usr/bin/true",), binds=(Bind(Path("/usr"), "/"),)),
        JailSpec(("/usr/bin/true",), binds=(Bind(Path("/usr"), "/proc/x"),)),
        JailSpec(("/usr/bin/true",), binds=(Bind(Path("/usr"), "/a/../proc"),)),
    ],
    ids=lambda spec: repr(spec)[9:60],
)
async def test_a_spec_that_makes_no_sense_is_refused(jail: Jail, spec: JailSpec) -> None:
    with pytest.raises(JailError):
        await jail.run(spec)


async def test_the_home_of_the_gateway_is_never_shown(jail: Jail, home: Path) -> None:
    for source in (home, home.parent):
        with pytest.raises(JailError, match="home"):
            await jail.run(JailSpec(("/usr/bin/true",), binds=(Bind(source, "/seen"),)))


async def test_a_bind_source_swapped_for_a_link_is_refused(
    jail: Jail, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "work" / "secret").mkdir(parents=True)
    (home / "swapped").symlink_to(home / "work" / "secret")
    monkeypatch.setattr(jail_module, "resolve_binds", lambda *_: [(str(home / "swapped"), "/seen", False)])
    with pytest.raises(JailError, match="symbolic links"):
        await jail.run(JailSpec(("/usr/bin/ls", "/seen")))


async def test_a_program_that_is_not_there_never_began(jail: Jail, scratch: Path) -> None:
    spec = JailSpec(("/scratch/none",), binds=(Bind(scratch, "/scratch"),))
    process = await jail.start(spec)
    with pytest.raises(JailError, match="No such file"):
        await process.wait()
    await process.kill()


async def test_read_only_binds_cannot_be_written_and_writable_ones_can(jail: Jail, scratch: Path) -> None:
    writable = JailSpec(("/usr/bin/touch", "/scratch/made"), binds=(Bind(scratch, "/scratch", writable=True),))
    assert (await jail.run(writable)).returncode == 0
    assert (scratch / "made").exists()
    read_only = JailSpec(("/usr/bin/touch", "/scratch/other"), binds=(Bind(scratch, "/scratch"),))
    assert b"Read-only file system" in (await jail.run(read_only)).stderr


async def test_git_commits_in_an_adopted_directory(jail: Jail, scratch: Path) -> None:
    subprocess.run(["git", "init", "-q", str(scratch)], check=True)
    (scratch / "file").write_text("text")
    jail.adopt(scratch)
    code = "cd /repo && git add file && git -c user.name=n -c user.email=e@x commit -qm first && git log --oneline"
    ended = await jail.run(JailSpec((SH, "-c", code), binds=(Bind(scratch, "/repo", writable=True),)))
    assert ended.returncode == 0, ended
    assert b"first" in ended.stdout


async def test_adoption_stays_in_a_work_area_and_off_shared_files(jail: Jail, home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (home / "work").mkdir()
    (home / "work" / "link").symlink_to(tmp_path / "elsewhere")
    for path in (home, tmp_path / "elsewhere", home / "work" / "link", home / ".." / "elsewhere"):
        with pytest.raises(JailError):
            jail.adopt(path)
    if os.getuid() == 0:
        tree = home / "work" / "tree"
        tree.mkdir()
        (tmp_path / "elsewhere" / "owned").write_text("root's")
        (tree / "second-name").hardlink_to(tmp_path / "elsewhere" / "owned")
        with pytest.raises(JailError, match="hard links"):
            jail.adopt(tree)
        assert (tmp_path / "elsewhere" / "owned").stat().st_uid == 0


async def test_without_cgroups_only_what_fits_the_budget_starts(jail: Jail, home: Path) -> None:
    bare = Jail(JailSettings(memory_budget_bytes=2 * PROFILES["default"].bare_cost_bytes + 1), home)
    bare.missing()
    assert bare._examined is not None
    assert bare._examined[0] is not None
    bare._examined = (dataclasses.replace(bare._examined[0], controllers=None), [])
    first, second = [await bare.start(JailSpec((SLEEP, "300"))) for _ in range(2)]
    with pytest.raises(JailError, match="memory_budget_bytes"):
        await bare.start(JailSpec((SLEEP, "300")))
    await first.kill()
    third = await bare.start(JailSpec((SLEEP, "300")))
    await second.kill()
    await third.kill()
    await bare.close()
    assert jail.missing() == []


async def test_a_jail_is_held_by_cgroups_where_there_are_some_and_else_by_its_address_space(jail: Jail) -> None:
    process = await jail.start(JailSpec((SH, "-c", "echo up; read end"), profile="strict"))
    assert await process.stdout.readline() == b"up\n"
    assert jail._examined is not None
    layers = jail._examined[0]
    assert layers is not None
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    address_space = next(line for line in limits.splitlines() if line.startswith("Max address space"))
    if layers.controllers is None:
        assert address_space.split()[3] == str(PROFILES["strict"].bare_address_space_bytes)
    else:
        assert address_space.split()[3] == "unlimited"
        of_the_launcher = layers.controllers.parents(jail._group)
        for parent, wanted in zip(of_the_launcher, layers.controllers.limits(PROFILES["strict"]), strict=True):
            members = {group: (group / "cgroup.procs").read_text().split() for group in Path(parent).glob("*/")}
            [own] = [group for group, pids in members.items() if str(process.pid) in pids]
            assert len(members[own]) >= 2, "the program is in it too"
            for file, value in wanted:
                assert (own / file).read_text().strip() == value, (own, file)
    await process.kill()


async def test_without_cgroups_memory_is_held_by_the_address_space(jail: Jail, home: Path) -> None:
    bare = Jail(JailSettings(), home)
    assert bare.missing() == jail.missing() == []
    assert bare._examined is not None
    assert bare._examined[0] is not None
    bare._examined = (dataclasses.replace(bare._examined[0], controllers=None), [])
    code = "import mmap\narea = mmap.mmap(-1, {0} * 2**20)\narea[-1] = 1\nprint('HAD')"
    for mebibytes, wanted in ((16, True), (300, False)):
        argv = ("/usr/bin/python3", "-I", "-S", "-c", code.format(mebibytes))
        ended = await bare.run(JailSpec(argv, deadline_seconds=60))
        assert (ended.stdout == b"HAD\n") == wanted, ended
    await bare.close()


async def test_a_busy_loop_ends_with_the_deadline(jail: Jail) -> None:
    ended = await jail.run(JailSpec((SH, "-c", "while :; do :; done"), deadline_seconds=0.5))
    assert ended.timed_out


async def test_cancelling_a_run_kills_it(jail: Jail) -> None:
    marker = f"7008.{os.getpid()}"
    running = asyncio.ensure_future(jail.run(JailSpec((SLEEP, marker))))
    await until(lambda: marked(marker))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert marked(marker) == []
