"""``landlock-exec``: what it takes, what it leaves a program, how it fails, and which file is believed to be it."""

import dataclasses
import errno
import hashlib
import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import JailSettings
from hand_adapters.jail import Bind, Jail, JailError, JailSpec, doctor, kernel, landlock, landlock_exec
from hand_adapters.jail.layers import examine
from tests import services
from tests.jail.alone import ALONE

PYTHON = "/usr/bin/python3"
READ = landlock.READ_FILE | landlock.READ_DIR
ALL = landlock.file_rights(6)
SYSTEM = {str(Path(path).resolve()): READ | landlock.EXECUTE for path in ("/usr", "/lib", "/lib64")}
EVERYTHING = {"/": ALL}
pytestmark = pytest.mark.jail


@pytest.fixture(autouse=True)
def recent() -> None:
    services.require(landlock.abi() >= 6, "Landlock with ABI 6", "Use Linux 6.12 or newer, with landlock among lsm=.")


@dataclasses.dataclass(frozen=True)
class Ended:
    """How it ended, what it said of itself, and what whatever it executed wrote."""

    status: int
    said: str
    output: str

    def failed(self, what: str, error: int) -> bool:
        return (self.status, self.said, self.output) == (error, f'{{"failed": "{what}"}}\n', "")


def execute(program: Path, *words: str | bytes, pass_fds: tuple[int, ...] = (), **more: Any) -> Ended:
    """Start it with nothing around it, nor in its environment, where the tests' own library would be preloaded; the
    word ``STATUS`` becomes the descriptor by which it says how it went."""
    read, write = os.pipe()
    told = [f"{write:x}" if word == "STATUS" else word for word in words]
    try:
        ended = subprocess.run(
            [program, *told],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(write, *pass_fds),
            check=False,
            **{"env": {}, **more},
        )
    finally:
        os.close(write)
    said = os.read(read, 4096).decode()
    os.close(read)
    return Ended(ended.returncode, said, ended.stdout.decode(errors="replace"))


def rules(rights: Mapping[str, int], handled: int = ALL) -> list[str]:
    return ["STATUS", f"{handled:x}", *(word for path, right in rights.items() for word in (f"{right:x}", path)), "--"]


def python(code: str) -> list[str]:
    return [PYTHON, "-I", "-S", "-c", code]


# --- what it is told -------------------------------------------------------------------------------------------------

RULE = f"{READ:x}"
HANDLED = f"{ALL:x}"


@pytest.mark.parametrize(
    "words",
    [
        ["STATUS", "0x1", "--", "/bin/echo"],
        ["STATUS", "", "--", "/bin/echo"],
        ["STATUS", "-1", "--", "/bin/echo"],
        ["STATUS", "F", "--", "/bin/echo"],
        ["STATUS", " f", "--", "/bin/echo"],
        ["STATUS", "f\n", "--", "/bin/echo"],
        ["STATUS", "0" * 17, "--", "/bin/echo"],
        ["STATUS", HANDLED, "/bin/echo", "x"],
        ["STATUS", HANDLED, RULE, "/", "/bin/echo"],
        ["STATUS", HANDLED, RULE, "/", "--"],
        ["STATUS", HANDLED, RULE, "--", "/bin/echo"],
        ["STATUS", HANDLED, "/", RULE, "--", "/bin/echo"],
        ["STATUS", HANDLED, RULE, "usr", "--", "/bin/echo"],
        ["STATUS", HANDLED, RULE, "", "--", "/bin/echo"],
        ["STATUS", HANDLED, "---", "/bin/echo"],
        ["STATUS", HANDLED, RULE, "/", "--", "echo"],
        ["STATUS", HANDLED, RULE, "/", "--", ""],
        ["STATUS", HANDLED, RULE, "/", "--", "./echo"],
    ],
    ids=range(18),
)
def test_what_it_is_not_told_exactly_it_does_not_do(built: Path, words: list[str]) -> None:
    found = execute(built, *words)
    assert found.failed("arguments", errno.EINVAL), found


@pytest.mark.parametrize(
    "words",
    [[], ["1"], ["1", HANDLED], ["1", HANDLED, RULE], ["1", HANDLED, "--"], ["ff", HANDLED, "--", "/bin/echo"]],
    ids=range(6),
)
def test_whom_it_cannot_tell_how_it_went_it_executes_nothing_for(built: Path, words: list[str]) -> None:
    found = execute(built, *words)
    assert found.status in {errno.EINVAL, errno.EBADF}
    assert found.said == ""


@pytest.mark.parametrize(
    ("handled", "rights", "what", "error"),
    [
        (0, {}, "landlock_create_ruleset", errno.ENOMSG),
        (1 << 63, {}, "landlock_create_ruleset", errno.EINVAL),
        (READ, {"/usr": ALL}, "landlock_add_rule", errno.EINVAL),
        (ALL, {"/usr": 0}, "landlock_add_rule", errno.ENOMSG),
        (ALL, {"/usr/bin/env": ALL}, "landlock_add_rule", errno.EINVAL),
        (ALL, {"/nonexistent": READ}, "openat2", errno.ENOENT),
        (ALL, {"/proc/self/cwd": READ}, "openat2", errno.ELOOP),
        (ALL, {"/proc/self/cwd/usr": READ}, "openat2", errno.ELOOP),
        (ALL, {"/usr/" + "x" * 5000: READ}, "openat2", errno.ENAMETOOLONG),
    ],
    ids=range(9),
)
def test_what_the_kernel_refuses_ends_it(
    built: Path, handled: int, rights: dict[str, int], what: str, error: int
) -> None:
    found = execute(built, *rules(rights, handled), "/bin/echo", "RAN")
    assert found.failed(what, error), found


def test_a_link_in_the_place_of_a_path_is_not_followed(built: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    found = execute(built, *rules({str(tmp_path / "link" / "bin"): READ}), "/bin/echo", "RAN")
    assert found.failed("openat2", errno.ELOOP), found


def test_without_descriptors_there_is_no_ruleset_and_no_program(built: Path) -> None:
    limited = f"import os, resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\nos.execv({str(built)!r}, {{}})"
    words = [str(built), *rules(EVERYTHING), "/bin/echo", "RAN"]
    found = execute(Path(PYTHON), "-I", "-S", "-c", limited.format("__import__('sys').argv[1:]"), *words)
    assert found.failed("landlock_create_ruleset", errno.EMFILE), found


def test_one_layer_too_many_ends_it(built: Path) -> None:
    layers = f"{ALONE}import os\nfor _ in range(16): landlock.restrict_files(6, {{'/': landlock.file_rights(6)}})\n"
    code = f"{layers}os.execv({str(built)!r}, sys.argv[1:])"
    found = execute(Path(PYTHON), "-I", "-S", "-c", code, str(built), *rules(EVERYTHING), "/bin/echo", "RAN")
    assert found.failed("landlock_restrict_self", errno.E2BIG), found


@pytest.mark.parametrize("count", [1, 3000])
def test_it_takes_rules_as_they_come(built: Path, tmp_path: Path, count: int) -> None:
    for number in range(count):
        (tmp_path / str(number)).touch()
    given = {str(tmp_path / str(number)): landlock.READ_FILE for number in range(count)}
    found = execute(built, *rules(SYSTEM | given), "/usr/bin/cat", *given)
    assert found == Ended(0, '{"confined": true}\n', "")


# --- what it executes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a b", "--", "%s%n", "$(id)", "a\nb", "\udcff\udcfe", '{"failed": 1}', "é", "x" * 255], ids=range(9)
)
def test_a_program_is_its_path_to_the_byte(built: Path, tmp_path: Path, name: str) -> None:
    shutil.copy("/usr/bin/echo", tmp_path / name)
    found = execute(built, *rules(EVERYTHING), os.fsencode(tmp_path / name), "--", "", "-n", "$(id)")
    assert found == Ended(0, '{"confined": true}\n', "--  -n $(id)\n")


@pytest.mark.parametrize(
    ("kind", "error"),
    [("absent", errno.ENOENT), ("directory", errno.EACCES), ("plain", errno.EACCES), ("text", errno.ENOEXEC)],
)
def test_what_is_no_program_is_not_executed_and_no_shell_is_asked(
    built: Path, tmp_path: Path, kind: str, error: int
) -> None:
    for name, mode in (("plain", 0o644), ("text", 0o755)):
        (tmp_path / name).write_text("echo RAN\n")
        (tmp_path / name).chmod(mode)
    (tmp_path / "directory").mkdir()
    found = execute(built, *rules(EVERYTHING), str(tmp_path / kind))
    assert found == Ended(error, '{"confined": true}\n{"failed": "execve"}\n', "")


def test_a_program_inherits_its_environment_and_no_descriptor(built: Path) -> None:
    read, write = os.pipe()
    code = "import os; print(sorted(os.environ), os.listdir('/proc/self/fd'))"
    found = execute(built, *rules(EVERYTHING), *python(code), pass_fds=(read, write), env={"A": "1", "B": ""})
    os.close(read)
    os.close(write)
    assert found.output == "['A', 'B', 'LC_CTYPE'] ['0', '1', '2', '3']\n", "the last is that of the listing"


def test_a_program_gains_no_privilege(built: Path) -> None:
    found = execute(built, *rules(EVERYTHING), "/usr/bin/grep", "NoNewPrivs", "/proc/self/status")
    assert found.output == "NoNewPrivs:\t1\n"


# --- what it leaves a program, with nothing else around it -----------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that may be read, one that may be written, and a file elsewhere."""
    for name in ("read", "write", "write/in", "write/out"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere").write_text("secret")
    (tmp_path / "read" / "file").write_text("content")
    (tmp_path / "write" / "in" / "file").write_text("content")
    return tmp_path


OPEN_STILL = {
    "read": "open(PLACE + '/read/file').read() == 'content' or 1 / 0",
    "write": "open(PLACE + '/write/made', 'w').write('x')",
    "truncate": "os.truncate(PLACE + '/write/in/file', 0)",
    "rename": "os.rename(PLACE + '/write/in/file', PLACE + '/write/file')",
    "rename_across": "os.rename(PLACE + '/write/in/file', PLACE + '/write/out/file')",
    "link_across": "os.link(PLACE + '/write/in/file', PLACE + '/write/out/file')",
    "remove": "os.unlink(PLACE + '/write/in/file')",
    "pipe": "os.mkfifo(PLACE + '/write/pipe')",
    "execute": "os.posix_spawn('/usr/bin/true', ['true'], {}); os.wait()[1] and 1 / 0",
    "null": "open('/dev/null', 'w').write('x')",
}
HELD = {
    "read_elsewhere": "open(PLACE + '/elsewhere').read()",
    "list_elsewhere": "os.listdir(PLACE)",
    "read_above": "open(PLACE + '/write/../elsewhere').read()",
    "read_by_link": "os.symlink(PLACE + '/elsewhere', PLACE + '/write/link'); open(PLACE + '/write/link').read()",
    "write_what_is_read": "open(PLACE + '/read/made', 'w')",
    "truncate_what_is_read": "os.truncate(PLACE + '/read/file', 0)",
    "rename_out_of_what_is_read": "os.rename(PLACE + '/read/file', PLACE + '/write/file')",
    "rename_into_what_is_executed": "os.rename(PLACE + '/write/in/file', PLACE + '/read/other')",
    "link_from_what_is_executed": "os.link(PLACE + '/read/file', PLACE + '/write/file')",
    "execute_what_was_written": "shutil.copy('/usr/bin/true', PLACE + '/write/true'); "
    "os.posix_spawn(PLACE + '/write/true', ['true'], {})",
    "execute_by_descriptor": "shutil.copy('/usr/bin/true', PLACE + '/write/true'); "
    "os.execve(os.open(PLACE + '/write/true', os.O_RDONLY), ['true'], {})",
    "make_device": "os.mknod(PLACE + '/write/null', 0o020666, os.makedev(1, 3))",
}


def given(place: Path, version: int = 6, *, executes_written: bool = False) -> dict[str, int]:
    """The rights of a jail with those two directories mounted. One directory of them has the host's too."""
    mounts = [landlock.Mount(path, writable=False) for path in (*SYSTEM, str(place / "read"))]
    mounts += [landlock.Mount("/dev", writable=False), landlock.Mount(str(place / "write"), writable=True)]
    return landlock.rights_of(mounts, version, executes_written=executes_written)


def attempt(built: Path, place: Path, code: str, version: int = 6, **how: bool) -> str:
    whole = f"import os, shutil\nPLACE = {str(place)!r}\n{code}\nprint('DONE')"
    return execute(built, *rules(given(place, version, **how), landlock.file_rights(version)), *python(whole)).output


@pytest.mark.parametrize("name", OPEN_STILL)
@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
def test_a_program_keeps_what_the_mounts_say(built: Path, place: Path, name: str, version: int) -> None:
    assert attempt(built, place, OPEN_STILL[name], version).endswith("DONE\n")


@pytest.mark.parametrize("name", HELD)
def test_a_program_has_nothing_beyond_that(built: Path, place: Path, name: str) -> None:
    whole = f"import os, shutil\nPLACE = {str(place)!r}\n{HELD[name]}\nprint('DONE', flush=True)"
    if name == "execute_by_descriptor":
        whole = whole.replace("print(", "1 / 0\nprint(")
    control = subprocess.run(python(whole), capture_output=True, text=True, check=False)
    shutil.rmtree(place / "write")
    (place / "write" / "in").mkdir(parents=True)
    (place / "write" / "in" / "file").touch()
    (place / "read" / "file").touch()
    if name != "make_device" or os.getuid() == 0:
        assert control.returncode == 0, control.stderr
    said = attempt(built, place, HELD[name])
    assert "DONE" not in said
    assert "Permission denied" in said or "Invalid cross-device link" in said or "not permitted" in said, said


def test_truncation_is_held_from_the_third_version_on(built: Path, place: Path) -> None:
    code = HELD["truncate_what_is_read"]
    assert "DONE" in attempt(built, place, code, 2), "the kernel of that version knows no such right"
    assert "Permission denied" in attempt(built, place, code, 3)


def test_commands_to_devices_are_held_from_the_fifth_version_on(built: Path, place: Path) -> None:
    code = "import fcntl, pty\nours, theirs = pty.openpty()\nfcntl.ioctl(theirs, 0x5413, bytes(8))\nprint('ASKED')"
    for version, wanted in ((4, True), (5, False)):
        rights = given(place, version) | {"/dev": READ | landlock.WRITE_FILE}
        said = execute(built, *rules(rights, landlock.file_rights(version)), *python(code)).output
        assert ("ASKED" in said) == wanted, said


def test_what_executes_what_it_wrote_says_so_first(built: Path, place: Path) -> None:
    code = HELD["execute_what_was_written"]
    assert "DONE" in attempt(built, place, code, executes_written=True)
    assert "DONE" not in attempt(built, place, HELD["read_elsewhere"], executes_written=True)


def test_no_capability_mounts_over_it(built: Path) -> None:
    """In a user namespace of its own it has every capability, and nothing but Landlock is left to refuse it."""
    uid, gid = os.getuid(), os.getgid()
    begin = f"{ALONE}import os\nkernel.unshare({kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS}, 'namespaces')\n"
    begin += f"kernel.map_ids({uid}, {gid})\n"
    mounting = f"{ALONE}kernel.mount('none', '/mnt', 'tmpfs', 0)\nprint('MOUNTED')"
    control = execute(Path(PYTHON), *python(begin + mounting.removeprefix(ALONE))[1:])
    assert control.output == "MOUNTED\n"
    code = f"{begin}os.execv({str(built)!r}, sys.argv[1:])"
    held = execute(Path(PYTHON), *python(code)[1:], str(built), *rules(EVERYTHING), *python(mounting))
    assert "MOUNTED" not in held.output
    assert "Operation not permitted" in held.output
    assert held.said == '{"confined": true}\n'


# --- in jails --------------------------------------------------------------------------------------------------------

DROP = "import os, shutil, sys\nshutil.copy('/usr/bin/true', sys.argv[1])\nos.execv(sys.argv[1], ['true'])"


async def without(jail: Jail, home: Path) -> Jail:
    """The same jail on a machine where nobody built it."""
    bare = Jail(JailSettings(), home)
    assert jail.missing() == []
    assert jail._examined is not None
    assert jail._examined[0] is not None
    bare._examined = (dataclasses.replace(jail._examined[0], landlock_exec=None), [])
    return bare


@pytest.mark.parametrize("profile", ["default", "strict", "build"])
@pytest.mark.parametrize("where", ["/tmp/it", "/dev/shm/it", "/data/it", "/deep/write/it"])
async def test_what_a_program_could_write_it_executes_where_its_profile_says_so(
    jail: Jail, home: Path, scratch: Path, profile: str, where: str
) -> None:
    (home.parent / "deep" / "write").mkdir(parents=True)
    binds = (
        Bind(scratch, "/data", writable=True),
        Bind(home.parent / "deep", "/deep"),
        Bind(scratch, "/deep/write", writable=True),
    )
    spec = JailSpec((*python(DROP), where), profile=profile, binds=binds)
    ended = await jail.run(spec)
    assert (ended.returncode == 0) == (profile == "build"), ended
    assert (b"PermissionError" in ended.stderr) == (profile != "build"), ended
    bare = await without(jail, home)
    assert (await bare.run(spec)).returncode == 0, "nothing else refuses it"
    await bare.close()


async def test_what_lies_read_only_below_what_is_writable_is_executed(jail: Jail, home: Path, scratch: Path) -> None:
    tools = home.parent / "tools"
    tools.mkdir()
    shutil.copy("/usr/bin/true", tools / "it")
    (scratch / "tools").mkdir()
    jail.adopt(scratch)
    binds = (Bind(scratch, "/data", writable=True), Bind(tools, "/data/tools"), Bind(tools / "it", "/one"))
    for program in ("/data/tools/it", "/one"):
        assert (await jail.run(JailSpec((program,), binds=binds))).returncode == 0


async def test_a_target_below_a_link_of_the_system_is_where_that_leads(jail: Jail, home: Path) -> None:
    if not Path("/bin").is_symlink():
        pytest.skip("forbids mounting: /bin is a directory here")
    tool = home.parent / "tool"
    shutil.copy("/usr/bin/echo", tool)
    ended = await jail.run(JailSpec(("/usr/bin/true", "moved"), binds=(Bind(tool, "/bin/true"),)))
    assert ended.stdout == b"moved\n"


async def test_a_link_that_a_program_left_moves_no_right_elsewhere(jail: Jail, home: Path, scratch: Path) -> None:
    """The next jail has something mounted below what this one may write."""
    (home.parent / "usr").mkdir()
    (scratch / "cache").symlink_to("../usr/share")
    binds = (Bind(scratch, "/data", writable=True), Bind(home.parent / "usr", "/data/cache/doc", writable=True))
    with pytest.raises(JailError, match="openat2: Too many levels of symbolic links"):
        await jail.run(JailSpec(("/usr/bin/true",), binds=binds))


async def test_a_program_that_may_not_be_executed_never_began(jail: Jail, home: Path) -> None:
    tool = home.parent / "tool"
    tool.touch(mode=0o644)
    with pytest.raises(JailError, match="execve: Permission denied"):
        await jail.run(JailSpec(("/tool",), binds=(Bind(tool, "/tool"),)))


def shared(scratch: Path, how: str) -> tuple[str, tuple[Bind, ...]]:
    """Where what is written into ``/data`` can be executed from, and the binds by which it can."""
    (scratch / "bin").mkdir()
    return {
        "below": ("/tools/it", (Bind(scratch, "/data", writable=True), Bind(scratch / "bin", "/tools"))),
        "above": ("/tools/bin/it", (Bind(scratch / "bin", "/data", writable=True), Bind(scratch, "/tools"))),
        "same": ("/tools/it", (Bind(scratch, "/data", writable=True), Bind(scratch, "/tools"))),
    }[how]


@pytest.mark.parametrize("how", ["below", "above", "same"])
async def test_what_one_bind_lets_a_program_write_it_does_not_execute_by_another(
    jail: Jail, scratch: Path, how: str
) -> None:
    path, binds = shared(scratch, how)
    jail.adopt(scratch)
    written = "/data/bin/it" if how == "below" else "/data/it"
    code = f"import os, shutil\nshutil.copy('/usr/bin/true', {written!r})\nos.execv({path!r}, ['true'])"
    spec = JailSpec((*python(code),), binds=binds)
    ended = await jail.run(spec)
    assert (ended.returncode, b"PermissionError" in ended.stderr) == (1, True), ended
    assert (await jail.run(dataclasses.replace(spec, profile="build"))).returncode == 0, "the control"
    with pytest.raises(JailError, match=r"is not executed: the bind of .* is writable"):
        await jail.run(JailSpec((path,), binds=binds))


@pytest.mark.parametrize(
    ("source", "target"), [("/usr/local", "/data"), ("", "/usr/local/own")], ids=["of the system", "into the system"]
)
async def test_what_every_jail_executes_from_is_bound_nowhere_to_be_written(
    jail: Jail, scratch: Path, source: str, target: str
) -> None:
    bind = Bind(Path(source) if source else scratch, target, writable=True)
    with pytest.raises(JailError, match="from which every jail executes"):
        await jail.run(JailSpec(("/usr/bin/true",), binds=(bind,)))


async def test_a_program_above_what_is_writable_is_said_not_to_be_executed(
    jail: Jail, home: Path, scratch: Path
) -> None:
    own = home.parent / "own"
    (own / "below").mkdir(parents=True)
    shutil.copy("/usr/bin/true", own / "it")
    binds = (Bind(own, "/own"), Bind(scratch, "/own/below", writable=True))
    with pytest.raises(JailError, match="/own/it is not executed"):
        await jail.run(JailSpec(("/own/it",), binds=binds))
    assert (await jail.run(JailSpec(("/own/it",), profile="build", binds=binds))).returncode == 0


@pytest.mark.parametrize("as_pid_1", [True, False])
async def test_no_program_can_say_that_it_never_began(jail: Jail, as_pid_1: bool) -> None:
    """Its step would count as not executed, whatever it had done."""
    code = """
import os
for number in range(3, 64):
    try: os.write(number, b'{"failed": "execve"}\\n')
    except OSError: pass
for name in os.listdir('/proc/1/fd') if os.access('/proc/1/fd', os.R_OK) else ():
    try: os.write(os.open(f'/proc/1/fd/{name}', os.O_WRONLY), b'{"failed": "execve"}\\n')
    except OSError: pass
os._exit(13)
"""
    ended = await jail.run(JailSpec(tuple(python(code)), as_pid_1=as_pid_1))
    assert ended.returncode == errno.EACCES


async def test_a_jail_without_its_first_word_is_none(jail: Jail, home: Path) -> None:
    """Whatever runs in the place of it and ends well has confined nobody."""
    assert jail.missing() == []
    assert jail._examined is not None
    assert jail._examined[0] is not None
    other = Jail(JailSettings(), home)
    for content in (Path("/usr/bin/true").read_bytes(), b"#!/bin/sh\n", b"exit 0\n"):
        there = landlock_exec.LandlockExec(Path("/nowhere"), content)
        other._examined = (dataclasses.replace(jail._examined[0], landlock_exec=there), [])
        with pytest.raises(JailError, match="did not begin"):
            await other.run(JailSpec(("/usr/bin/true",)))
        await other.close()


@pytest.mark.parametrize("argument", ["x" * 100_000, "\n" * 1000, "--"], ids=["long", "lines", "dashes"])
async def test_arguments_arrive_as_they_were_given(jail: Jail, argument: str) -> None:
    ended = await jail.run(JailSpec(("/usr/bin/printf", "%s", argument)))
    assert ended.stdout.decode() == argument


async def test_more_binds_than_a_program_may_open_files(jail: Jail, home: Path) -> None:
    (home.parent / "file").write_text("x")
    binds = tuple(Bind(home.parent / "file", f"/files/{number}") for number in range(100))
    ended = await jail.run(JailSpec(("/usr/bin/ls", "/files"), profile="strict", binds=binds))
    assert len(ended.stdout.split()) == 100


# --- which file is believed to be it ---------------------------------------------------------------------------------


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    shutil.copy(built, tmp_path / "landlock-exec")
    return tmp_path / "landlock-exec"


def test_the_same_source_makes_the_same_bytes_wherever_it_is(built: Path, tmp_path: Path) -> None:
    again = landlock_exec.build(tmp_path / "elsewhere")
    assert again.content == built.read_bytes()
    assert again.sha256 == hashlib.sha256(again.content).hexdigest()
    assert stat.S_IMODE(again.path.stat().st_mode) == 0o755
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere"}


def test_it_needs_no_library_and_has_no_memory_that_is_written_and_executed(built: Path) -> None:
    content = built.read_bytes()
    start, size, count = struct.unpack_from("<32xQ14xHH", content)
    headers = [struct.unpack_from("<II", content, start + size * number) for number in range(count)]
    assert {kind for kind, _ in headers} <= {1, 0x6474E551}, "PT_LOAD and PT_GNU_STACK alone: no interpreter"
    assert all(flags & 3 != 3 for _, flags in headers)
    assert len(content) < 16_384


@pytest.mark.parametrize(
    ("compiler", "said"),
    [
        ("no-such-compiler", "no-such-compiler: No such file"),
        ("/usr/bin/false", "failed: exit status 1"),
        ("/usr/bin/true", "made is no program"),
    ],
)
def test_no_compiler_leaves_what_is_there_and_nothing_else(tmp_path: Path, compiler: str, said: str) -> None:
    (tmp_path / "made").write_text("earlier")
    with pytest.raises(landlock_exec.CompilerError, match=said):
        landlock_exec.build(tmp_path / "made", compiler)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("made", "earlier")]


def test_a_compiler_for_another_machine_replaces_nothing(copy: Path) -> None:
    before = copy.read_bytes()
    compiler = copy.with_name("cross-cc")
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; printf "\\177ELF\\001" > "$2"\n')
    compiler.chmod(0o755)
    with pytest.raises(landlock_exec.CompilerError, match="is no program for"):
        landlock_exec.build(copy, str(compiler))
    assert copy.read_bytes() == before


@pytest.mark.parametrize(
    ("how", "is_one"),
    [("group", True), ("machine", True), ("source", True), ("another", False), ("long", False), ("short", False),
     ("link", False), ("directory", False), ("pipe", False), ("absent", False)],
)  # fmt: skip
def test_an_earlier_build_is_known_by_what_it_says_of_itself(copy: Path, how: str, is_one: bool) -> None:
    assert landlock_exec.was_built(copy)
    spoil(copy, how)
    assert landlock_exec.was_built(copy) == is_one


def spoil(path: Path, how: str) -> None:
    """Make ``path`` something that must not be believed."""
    content = path.read_bytes()
    if how in {"group", "others"}:
        path.chmod(0o775 if how == "group" else 0o757)
    elif how == "somebody":
        os.chown(path, 65_534, 65_534)
    elif how == "machine":
        path.write_bytes(content[:18] + struct.pack("<H", 40) + content[20:])
    elif how == "source":
        path.write_bytes(content.replace(landlock_exec.source_sha256().encode(), b"0" * 64))
    elif how == "another":
        path.write_bytes(Path("/usr/bin/true").read_bytes())
    elif how == "long":
        path.write_bytes(content + bytes(65_536))
    elif how == "short":
        path.write_bytes(content[:10])
    else:
        path.rename(path.with_name("moved"))
        {
            "link": lambda: path.symlink_to("moved"),
            "directory": path.mkdir,
            "pipe": lambda: os.mkfifo(path),
            "absent": lambda: None,
        }[how]()


SPOILT = ("group", "others", "somebody", "machine", "source", "another", "long", "short", "link", "directory", "pipe")


@pytest.mark.parametrize("how", [*SPOILT, "absent"])
def test_a_file_that_cannot_be_believed_ends_every_jail(copy: Path, how: str) -> None:
    if how == "somebody" and os.getuid() != 0:
        pytest.skip("needs root to give a file away")
    spoil(copy, how)
    with pytest.raises(JailError):
        landlock_exec.find(copy)
    settings = JailSettings(landlock_exec=copy)
    layers, problems = examine(settings)
    assert layers is None
    mended = f"handrail jail build --output {copy}, or take [jail] landlock_exec out of the configuration."
    assert problems[0].endswith(mended)
    [finding] = [one for one in doctor.diagnose(settings) if one.name == "landlock"]
    assert not finding.ok
    assert finding.remedy.endswith(mended)


@pytest.mark.parametrize("how", SPOILT)
def test_nor_is_it_passed_over_where_it_was_built(copy: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "somebody" and os.getuid() != 0:
        pytest.skip("needs root to give a file away")
    monkeypatch.setattr(landlock_exec, "BUILT", copy)
    spoil(copy, how)
    with pytest.raises(JailError):
        landlock_exec.find(None)
    assert doctor.diagnose_landlock(JailSettings()).remedy == "Build it anew (handrail jail build), or take it away."


def test_where_it_was_never_built_jails_start_and_the_doctor_says_what_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock_exec, "BUILT", tmp_path / "landlock-exec")
    finding = doctor.diagnose_landlock(JailSettings())
    assert finding.ok
    assert "files of python and wasm hands" in finding.detail
    assert "handrail jail build" in finding.remedy
    layers, problems = examine(JailSettings())
    assert problems == []
    assert layers is not None
    assert layers.held == ("tcp", "abstract sockets", "signals")
    required = JailSettings(landlock_required=True)
    layers, problems = examine(required)
    assert layers is None
    assert "landlock_required" in problems[0]
    assert "handrail jail build" in problems[0]
    assert not doctor.diagnose_landlock(required).ok


@pytest.mark.parametrize("version", [0, 1, 2, 5])
def test_an_old_kernel_is_none_where_it_is_required(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: version)
    layers, problems = examine(JailSettings(landlock_required=True))
    assert layers is None
    assert "Linux 6.12" in problems[0]


def test_the_first_version_holds_no_files_of_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It forbids every rename from one directory into another."""
    monkeypatch.setattr(landlock, "abi", lambda: 1)
    layers, _ = examine(JailSettings())
    assert layers is not None
    assert layers.landlock_exec is None


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
def test_a_jail_of_an_older_kernel_starts_with_what_that_has(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: version)
    layers, problems = examine(JailSettings())
    assert problems == []
    assert layers is not None
    assert layers.held[-1] == "files"


async def test_what_is_exchanged_while_jails_start_changes_none_of_them(copy: Path, home: Path) -> None:
    running = Jail(JailSettings(landlock_exec=copy), home)
    assert running.missing() == []
    digest = running.profile_sha256("default")
    shutil.copy("/usr/bin/true", copy)
    ended = await running.run(JailSpec((*python(DROP), "/tmp/it")))
    assert b"PermissionError" in ended.stderr
    assert running.profile_sha256("default") == digest
    await running.close()
    assert Jail(JailSettings(landlock_exec=copy), home).missing() != []


def test_receipts_tell_which_program_confined(
    built: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy.write_bytes(copy.read_bytes() + b"\0")
    digests = {Jail(JailSettings(landlock_exec=path), tmp_path).profile_sha256("default") for path in (built, copy)}
    monkeypatch.setattr(landlock_exec, "BUILT", tmp_path / "absent")
    digests.add(Jail(JailSettings(), tmp_path).profile_sha256("default"))
    assert len(digests) == 3
