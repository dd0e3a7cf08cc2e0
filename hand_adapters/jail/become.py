"""How a process that the launcher has forked becomes a jail: cgroups, binds, uid, limits, bubblewrap."""

# pathlib alone would add milliseconds to every start of the launcher:
# ruff: noqa: PTH102, PTH103, PTH112, PTH120, PTH123

import array
import base64
import ctypes
import os
import resource
import signal
import socket
from typing import Any, NoReturn

from hand_adapters.jail import kernel, landlock

Setup = dict[str, Any]
"""The launcher's first message (``link.setup_message``)."""


def build_stage(setup: Setup) -> None:
    """In the launcher's own mount namespace, once: the /etc that every jail sees, and ``landlock-exec``."""
    stage = setup["stage"]
    os.umask(0o022)  # jails read it as another user
    kernel.mount("handrail", stage, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=16m,mode=0755")
    for name in ("etc", "binds"):
        os.mkdir(f"{stage}/{name}")
    for name, text in setup["etc"].items():
        with open(f"{stage}/etc/{name}", "w", encoding="utf-8") as file:
            file.write(text)
    for name in setup["etc_of_host"]:
        source, target = f"/etc/{name}", f"{stage}/etc/{name}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(source):
            kernel.bind(source, target, is_directory=True)
        else:  # every mount is one more for bubblewrap to make and to read of, at each start
            with open(source, "rb") as given, open(target, "wb") as copy:
                copy.write(given.read())
    if setup["landlock_exec"] is not None:
        with open(f"{stage}/landlock-exec", "wb") as program:
            program.write(base64.b64decode(setup["landlock_exec"]))
            os.fchmod(program.fileno(), 0o555)


def wait_for_order(setup: Setup, orders: socket.socket, groups: list[str]) -> None:
    """In the child: get ready, wait, become a jail. What goes wrong is said on the jail's standard error.

    A network namespace takes the kernel a millisecond to make, for which nobody should wait at a start. Where the
    launcher is root, root outside owns it: nobody inside has any right over it.
    """
    problem: OSError | None = None
    filters: dict[str, int] = {}
    try:
        for path in groups:
            kernel.write_file(f"{path}/cgroup.procs", "0")
        kernel.unshare(
            kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC, "mount, network and ipc namespaces"
        )
        kernel.raise_loopback()
        if os.getuid() == 0:
            kernel.detach("/sys")
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        os.chdir("/")
        filters = {name: kernel.memory_file(content) for name, content in setup["filters"].items()}
    except OSError as exc:
        problem = exc
    message, descriptors = kernel.receive(orders, 6)
    if message is None:
        return
    try:
        if problem is not None:
            raise problem
        *more, status = descriptors[3:]
        gate = more.pop() if "gate" in message else None  # the last one before the status
        become(setup, message, descriptors[:3], more, status, gate, filters[message["seccomp"]])
    except Exception as exc:  # noqa: BLE001 - a fork must never return into the launcher's loop
        os.write(descriptors[2], f"jail: {exc}\n".encode())


def become(
    setup: Setup,
    message: dict[str, Any],
    descriptors: list[int],
    scratch: list[int],
    status: int,
    gate: int | None,
    seccomp: int,
) -> NoReturn:
    """In the child: stage the binds, give up the uid, set the limits, become bwrap."""
    arguments, mounts = stage_binds(setup, message, scratch)
    argv, inherited = argv_and_descriptors(setup, message, mounts, status)
    uid, gid = setup["uid"], setup["gid"]
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    kernel.check(kernel.libc.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG")
    # A changed uid makes a process undumpable, and its /proc/self/uid_map unwritable for itself.
    kernel.check(kernel.libc.prctl(kernel.PR_SET_DUMPABLE, 1, 0, 0, 0), "PR_SET_DUMPABLE")
    # RLIMIT_NPROC counts per uid and user namespace. Jails share a uid, so each gets a user namespace around
    # bwrap's own: what it counts is this jail alone, not its neighbours.
    kernel.unshare(kernel.CLONE_NEWUSER, "user namespace")
    kernel.map_ids(uid, gid)
    restrict(setup["landlock"] if setup["landlock_exec"] is None else 0, message.get("gate"), gate)
    for name, value in message["rlimits"].items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (bound, bound))
    arguments += ["--seccomp", str(seccomp), "--json-status-fd", str(status)]
    listed = kernel.memory_file(b"\0".join(os.fsencode(argument) for argument in arguments) + b"\0")
    # Every descriptor but these closes with the exec; bwrap itself would hand on whatever is open.
    kernel.check(
        kernel.libc.syscall(kernel.SYS_CLOSE_RANGE, 3, ctypes.c_uint(0xFFFFFFFF), kernel.CLOSE_RANGE_CLOEXEC),
        "close_range",
    )
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    for descriptor in (seccomp, listed, status, *inherited):
        os.set_inheritable(descriptor, True)
    os.execve(setup["bwrap"], ["bwrap", "--args", str(listed), "--", *argv], {})  # noqa: S606


def argv_and_descriptors(
    setup: Setup, message: dict[str, Any], mounts: list[landlock.Mount], status: int
) -> tuple[list[str], list[int]]:
    """What bubblewrap executes: the program, or ``landlock-exec`` with the rules and the program behind it.

    The latter by its descriptor: so it is no mount in the jail, and once it has executed, nothing of it is left there.
    """
    if setup["landlock_exec"] is None:
        return message["argv"], []
    confining, report = os.open(f"{setup['stage']}/landlock-exec", os.O_RDONLY | os.O_CLOEXEC), os.dup(status)
    rights = landlock.rights_of(mounts, setup["landlock"], executes_written=message["executes_written"])
    words = [word for path, right in rights.items() for word in (f"{right:x}", path)]
    ports, scopes = landlock.process_rights(setup["landlock"])
    where = message.get("gate")
    port = where["port"] if where is not None and ports else 0
    if where is not None:
        # Its listener is older than the ruleset. The network namespace has no other socket that is not the jail's own.
        scopes &= ~landlock.SCOPE_ABSTRACT_UNIX_SOCKET
    handled = f"{landlock.file_rights(setup['landlock']):x},{ports:x},{scopes:x},{port:x}"
    argv = [f"/proc/self/fd/{confining}", f"{report:x}", handled, *words, "--", *message["argv"]]
    return argv, [confining, report]


def restrict(version: int, where: dict[str, Any] | None, gate: int | None) -> None:
    """Apply Landlock, as far as ``landlock-exec`` does not (``version`` 0). Of a jail with a gate, listen first on the
    loopback interface, and hand the two listeners over.

    A socket stays in the network namespace that it was made in, whoever holds it; this process keeps neither. The one
    of TCP is bound before Landlock forbids it; the unix socket is made after, so that it is one of the jail's own.
    """
    if where is None or gate is None:
        landlock.restrict_process(version)
        return
    with socket.socket(fileno=gate) as control, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.bind(("127.0.0.1", where["port"]))
        landlock.restrict_process(version, connect=(where["port"],))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unix:
            unix.bind("\0" + where["name"])
            for listener in (tcp, unix):
                listener.listen(64)
            handed = array.array("i", [tcp.fileno(), unix.fileno()]).tobytes()
            control.sendmsg([b"open"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handed)])


def stage_binds(setup: Setup, message: dict[str, Any], scratch: list[int]) -> tuple[list[str], list[landlock.Mount]]:
    """Bind what the jail may see where its uid can reach it.

    Args:
        scratch: none, or the one descriptor of the scratch directory that the order came with.

    Returns:
        all of bwrap's options but descriptors, and what is mounted in the jail then.
    """
    stage = setup["stage"]
    opened = [
        (kernel.open_without_symlinks(source), source, target, writable)
        for source, target, writable in message["binds"]
    ]
    arguments: list[str] = [*message["arguments"], "--ro-bind", f"{stage}/etc", "/etc"]
    mounts = [landlock.Mount(path, writable, files=files) for path, writable, files in message["mounts"]]
    if opened or scratch:
        kernel.mount("handrail", f"{stage}/binds", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=256k,mode=0755")
    for number, (descriptor, source, target, writable) in enumerate(opened):
        place = f"{stage}/binds/{number}"
        is_directory = os.fstat(descriptor).st_mode & 0o170000 == 0o040000
        kernel.bind(f"/proc/self/fd/{descriptor}", place, is_directory=is_directory)
        os.close(descriptor)
        arguments += ["--bind" if writable else "--ro-bind", place, target]
        mounts.append(landlock.Mount(target, writable, is_directory, source))
    for descriptor in scratch:
        place = f"{stage}/binds/scratch"
        os.mkdir(place)
        kernel.attach(descriptor, place)
        arguments += ["--bind", place, message["scratch"]]
        mounts.append(landlock.Mount(message["scratch"], writable=True))
    arguments += message["last_arguments"]
    return arguments, mounts
