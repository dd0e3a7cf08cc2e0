"""The launcher: one small single-threaded process that starts, supervises and ends every jail.

It runs as a script of its own (``python -I -S launcher.py FD``) with an empty environment, imports nothing of Handrail,
and talks JSON over a SOCK_SEQPACKET socket with the gateway, so that the gateway never forks. It lives as the first
process of a pid namespace of its own: when it ends, however it ends, the kernel kills every process in every jail.
It ends when the gateway closes the socket or dies.

Gateway to launcher: ``setup`` (first), ``start`` (with the three stdio descriptors), ``kill``.
Launcher to gateway: ``ready``, ``started``, ``refused``, ``gone``.
"""

# pathlib alone would add milliseconds to every start of the launcher:
# ruff: noqa: PTH102, PTH103, PTH106, PTH112, PTH120, PTH123, PTH208

import array
import base64
import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from typing import Any, NoReturn

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
SYS_CLOSE_RANGE, SYS_OPENAT2 = 436, 437  # the same on every architecture
CLOSE_RANGE_CLOEXEC = 4
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 0x02, 0x04
SCM_CREDENTIALS = 2
MESSAGE_MAX_BYTES = 192 * 1024
SETUP_FAILED = 125
QUIET_SECONDS = 0.02
GROUPS_LEFT_MAX = 64
SPARES = 2
"""Processes kept ready; each costs about a megabyte."""

libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _unshare(flags: int, what: str) -> None:
    _check(libc.unshare(flags), f"unshare {what}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    kind_bytes = None if kind is None else kind.encode()
    data_bytes = None if data is None else data.encode()
    flag_word = ctypes.c_ulong(flags)
    _check(libc.mount(os.fsencode(source), os.fsencode(target), kind_bytes, flag_word, data_bytes), f"mount {target}")


def _open_without_symlinks(path: str) -> int:
    """O_PATH descriptor of ``path``; no component of it may be a symbolic link (openat2, so without a race)."""
    how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)
    return _check(libc.syscall(SYS_OPENAT2, -100, os.fsencode(path), how, ctypes.c_size_t(len(how))), f"open {path}")


def _write_file(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _map_ids(uid: int, gid: int) -> None:
    """In a fresh user namespace, map just one uid and gid, each to itself."""
    _write_file("/proc/self/setgroups", "deny")
    _write_file("/proc/self/uid_map", f"{uid} {uid} 1")
    _write_file("/proc/self/gid_map", f"{gid} {gid} 1")


def _bind(source: str, target: str, *, is_directory: bool) -> None:
    if is_directory:
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    _mount(source, target, None, MS_BIND | MS_REC)


def _receive(connection: socket.socket, most: int) -> tuple[dict[str, Any] | None, list[int]]:
    """One message and its descriptors; ``None`` at the end of the connection."""
    size = array.array("i").itemsize
    data, ancillary, _flags, _address = connection.recvmsg(
        MESSAGE_MAX_BYTES, socket.CMSG_SPACE(most * size), socket.MSG_CMSG_CLOEXEC
    )
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(payload[: len(payload) - len(payload) % size])
    return (json.loads(data) if data else None), list(descriptors)


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("handrail")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class Running:
    """One jail as the launcher knows it."""

    def __init__(self, key: int, pid: int, status: int, groups: list[str], deadline: float | None) -> None:
        self.key = key
        self.pid = pid
        self.status = status
        self.groups = groups
        self.deadline = deadline
        self.timed_out = False
        self.returncode: int | None = None
        self.inner: int | None = None
        self.began = False


class Spare:
    """A process that waits for an order, in cgroups of its own."""

    def __init__(self, pid: int, orders: socket.socket, groups: list[str]) -> None:
        self.pid = pid
        self.orders = orders
        self.groups = groups


class Launcher:
    """The event loop: control socket, children, deadlines."""

    def __init__(self, control: socket.socket, gateway: int, lifeline: int, wakeup: int) -> None:
        self.control = control
        self.wakeup = wakeup
        self.ends = (gateway, lifeline)
        self.outgoing: deque[tuple[bytes, int]] = deque()
        self.running: dict[int, Running] = {}
        self.by_key: dict[int, Running] = {}
        self.filters: dict[str, bytes] = {}
        self.setup: dict[str, Any] = {}
        self.empty_groups: list[str] = []
        self.spares: deque[Spare] = deque()
        self.made = 0
        self.poll = select.poll()

    # --- talking ---------------------------------------------------------------------------------------------------

    def say(self, message: dict[str, Any], pid: int = 0) -> None:
        """Queue ``message``; the kernel translates ``pid`` into the gateway's pid namespace (SCM_CREDENTIALS)."""
        self.outgoing.append((json.dumps(message).encode(), pid))
        self.flush()

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it."""
        while self.outgoing:
            data, pid = self.outgoing[0]
            credentials = struct.pack("iII", pid or os.getpid(), os.getuid(), os.getgid())
            try:
                self.control.sendmsg([data], [(socket.SOL_SOCKET, SCM_CREDENTIALS, credentials)])
            except BlockingIOError:
                break
            except OSError:
                if not pid:
                    os._exit(0)  # the gateway is gone
                self.outgoing[0] = (data, 0)
                continue
            self.outgoing.popleft()
        self.poll.register(self.control, select.POLLIN | (select.POLLOUT if self.outgoing else 0))

    def receive(self) -> None:
        """Take one order."""
        try:
            message, descriptors = _receive(self.control, 3)
        except BlockingIOError:
            return
        if message is None:
            os._exit(0)  # closed: our end is the end of every jail
        try:
            self.handle(message, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def handle(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Carry out one order."""
        operation = message["op"]
        if operation == "setup":
            self.setup = message
            self.filters = {name: base64.b64decode(text) for name, text in message["filters"].items()}
            self.build_etc()
            gc.collect()
            gc.freeze()
            self.say({"event": "ready"})
        elif operation == "start":
            try:
                self.start(message, descriptors)
            except OSError as exc:
                self.say({"event": "refused", "id": message["id"], "detail": str(exc)})
        elif operation == "kill":
            jail = self.by_key.get(message["id"])
            if jail is not None:
                self.kill(jail)

    # --- starting --------------------------------------------------------------------------------------------------

    def build_etc(self) -> None:
        """In the launcher's own mount namespace, once: the /etc that every jail sees."""
        stage = self.setup["stage"]
        _mount("handrail", stage, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0755")
        for name in ("etc", "binds"):
            os.mkdir(f"{stage}/{name}")
        for name, text in self.setup["etc"].items():
            with open(f"{stage}/etc/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        for name in self.setup["etc_binds"]:
            target = f"{stage}/etc/{name}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            _bind(f"/etc/{name}", target, is_directory=os.path.isdir(f"/etc/{name}"))

    def add_spare(self) -> None:
        """Fork a process that enters cgroups of its own and waits for an order.

        Entering a cgroup of version 1 can wait 20 ms for the kernel, which nobody should wait for at a start.
        """
        self.made += 1
        groups = [f"{parent}/{self.made}" for parent in self.setup["groups"]]
        for path in groups:
            os.makedirs(path)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                ours.close()
                self.control.close()
                self.wait_for_order(theirs, groups)
            finally:
                os._exit(SETUP_FAILED)
        theirs.close()
        self.spares.append(Spare(pid, ours, groups))

    def wait_for_order(self, orders: socket.socket, groups: list[str]) -> None:
        """In the child: get ready, wait, become a jail. What goes wrong is said on the jail's standard error."""
        problem: OSError | None = None
        try:
            for path in groups:
                _write_file(f"{path}/cgroup.procs", "0")
            _unshare(CLONE_NEWNS, "mount namespace")
        except OSError as exc:
            problem = exc
        message, descriptors = _receive(orders, 4)
        if message is None:
            return
        try:
            if problem is not None:
                raise problem
            self.become(message, descriptors[:3], descriptors[3])
        except Exception as exc:  # noqa: BLE001 - a fork must never return into the launcher's loop
            os.write(descriptors[2], f"jail: {exc}\n".encode())

    def start(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Give a spare process its order; the limits of its cgroups are in force before it hears it."""
        if not self.spares:
            self.add_spare()
        spare = self.spares.popleft()
        for path, limits in zip(spare.groups, message["limits"], strict=True):
            for name, value in limits:
                _write_file(f"{path}/{name}", value)
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        with spare.orders:
            ancillary = array.array("i", [*descriptors, status_write]).tobytes()
            spare.orders.sendmsg([json.dumps(message).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, ancillary)])
        os.close(status_write)
        seconds = message["deadline_seconds"]
        deadline = None if seconds is None else time.monotonic() + seconds
        jail = Running(message["id"], spare.pid, status_read, spare.groups, deadline)
        self.running[jail.pid] = jail
        self.by_key[jail.key] = jail
        self.say({"event": "started", "id": jail.key}, jail.pid)

    def become(self, message: dict[str, Any], descriptors: list[int], status: int) -> NoReturn:
        """In the child: stage the binds, give up the uid, set the limits, become bwrap."""
        arguments = self.stage(message)
        uid, gid = self.setup["uid"], self.setup["gid"]
        if os.getuid() == 0:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        _check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG")
        # A changed uid makes a process undumpable, and its /proc/self/uid_map unwritable for itself.
        _check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "PR_SET_DUMPABLE")
        # RLIMIT_NPROC counts per uid and user namespace. Jails share a uid, so each gets a user namespace around
        # bwrap's own: what it counts is this jail alone, not its neighbours.
        _unshare(CLONE_NEWUSER, "user namespace")
        _map_ids(uid, gid)
        for name, value in message["rlimits"].items():
            number = getattr(resource, name)
            hard = resource.getrlimit(number)[1]
            bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(number, (bound, bound))
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        os.chdir("/")
        seccomp = _memory_file(self.filters[message["seccomp"]])
        arguments += ["--seccomp", str(seccomp), "--json-status-fd", str(status)]
        listed = _memory_file(b"\0".join(os.fsencode(argument) for argument in arguments) + b"\0")
        # Every descriptor but these closes with the exec; bwrap itself would hand on whatever is open.
        _check(libc.syscall(SYS_CLOSE_RANGE, 3, ctypes.c_uint(0xFFFFFFFF), CLOSE_RANGE_CLOEXEC), "close_range")
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        for descriptor in (seccomp, listed, status):
            os.set_inheritable(descriptor, True)
        os.execve(self.setup["bwrap"], ["bwrap", "--args", str(listed), "--", *message["argv"]], {})  # noqa: S606

    def stage(self, message: dict[str, Any]) -> list[str]:
        """Bind what the jail may see where its uid can reach it; returns all of bwrap's options but descriptors."""
        stage = self.setup["stage"]
        opened = [(_open_without_symlinks(source), target, writable) for source, target, writable in message["binds"]]
        arguments: list[str] = [*message["arguments"], "--ro-bind", f"{stage}/etc", "/etc"]
        if opened:
            _mount("handrail", f"{stage}/binds", "tmpfs", MS_NOSUID | MS_NODEV, "size=256k,mode=0755")
        for number, (descriptor, target, writable) in enumerate(opened):
            place = f"{stage}/binds/{number}"
            is_directory = os.fstat(descriptor).st_mode & 0o170000 == 0o040000
            _bind(f"/proc/self/fd/{descriptor}", place, is_directory=is_directory)
            arguments += ["--bind" if writable else "--ro-bind", place, target]
        arguments += message["last_arguments"]
        return arguments

    # --- ending ----------------------------------------------------------------------------------------------------

    def kill(self, jail: Running) -> None:
        """End bwrap; with it (--die-with-parent) the first process of its pid namespace; with that one all others.

        Where bwrap dies before it could tie the two, its child is ours by inheritance, and :meth:`reap` kills it.
        """
        if jail.returncode is None:
            os.kill(jail.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Collect the dead, kill what they left, and report each jail that is wholly gone."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self.drop_spare(pid)
            jail = self.running.get(pid)
            if jail is not None:
                jail.returncode = os.waitstatus_to_exitcode(status)
                self.read_status(jail)
        # As first process of the namespace we inherit every orphan of a jail whose bwrap is dead; none may live on.
        known = self.running.keys() | {spare.pid for spare in self.spares}
        for pid in _children():
            if pid not in known:
                os.kill(pid, signal.SIGKILL)
        for jail in [jail for jail in self.running.values() if jail.returncode is not None]:
            if jail.inner is None or not _is_child(jail.inner):
                self.finish(jail)

    def drop_spare(self, pid: int) -> None:
        """Forget a spare process that has died."""
        for spare in [spare for spare in self.spares if spare.pid == pid]:
            self.spares.remove(spare)
            spare.orders.close()
            self.empty_groups += spare.groups

    def read_status(self, jail: Running) -> None:
        """Read bwrap's own report: the pid of its child, and an exit code only where the program really began."""
        os.set_blocking(jail.status, False)
        try:
            text = os.read(jail.status, 4096)
        except BlockingIOError:
            text = b""
        os.close(jail.status)
        for line in text.splitlines():
            report = json.loads(line)
            jail.inner = report.get("child-pid", jail.inner)
            if "exit-code" in report:
                jail.began = True
                code = report["exit-code"]
                jail.returncode = 128 - code if code > 128 else code

    def finish(self, jail: Running) -> None:
        """Forget a jail and report its end."""
        del self.running[jail.pid]
        del self.by_key[jail.key]
        self.empty_groups += jail.groups
        self.say(
            {
                "event": "gone",
                "id": jail.key,
                "returncode": jail.returncode,
                "began": jail.began,
                "timed_out": jail.timed_out,
            }
        )

    def remove_groups(self) -> None:
        """Remove the cgroups of jails that are gone."""
        left = []
        for path in self.empty_groups:
            try:
                os.rmdir(path)
            except FileNotFoundError:
                continue
            except OSError:
                left.append(path)  # the kernel still takes the last process out of it
        self.empty_groups = left

    def untidy(self) -> bool:
        """Whether there is work for a quiet moment: nobody who starts a jail should wait for it."""
        return bool(self.empty_groups) or (bool(self.setup) and len(self.spares) < SPARES)

    def tidy(self) -> None:
        """Remove the cgroups of what is gone, and have spare processes ready again."""
        self.remove_groups()
        while self.setup and len(self.spares) < SPARES:
            self.add_spare()

    def next_timeout(self) -> int | None:
        """Kill what is past its deadline; milliseconds until the next one."""
        now = time.monotonic()
        nearest = QUIET_SECONDS if self.untidy() else None
        for jail in self.running.values():
            if jail.deadline is None or jail.timed_out:
                continue
            left = jail.deadline - now
            if left <= 0:
                jail.timed_out = True
                self.kill(jail)
            elif nearest is None or left < nearest:
                nearest = left
        return None if nearest is None else int(nearest * 1000) + 1

    def run(self) -> NoReturn:
        """Serve until the gateway is gone."""
        for descriptor in (*self.ends, self.wakeup):
            self.poll.register(descriptor, select.POLLIN)
        self.poll.register(self.control, select.POLLIN)
        while True:
            events = self.poll.poll(self.next_timeout())
            if not events or len(self.empty_groups) > GROUPS_LEFT_MAX:
                self.tidy()
            for descriptor, event in events:
                if descriptor in self.ends:
                    os._exit(0)
                if descriptor == self.wakeup:
                    os.read(self.wakeup, 4096)
                elif event & select.POLLOUT:
                    self.flush()
                elif event:
                    self.receive()
            self.reap()


def _children() -> list[int]:
    try:
        with open("/proc/thread-self/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        own = os.getpid()
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(int(name)) == own]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _is_child(pid: int) -> bool:
    return _parent(pid) == os.getpid()


def _first_process(control: socket.socket, gateway: int, lifeline: int) -> NoReturn:
    _check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG")
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    wakeup_read, wakeup_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    control.setblocking(False)
    gc.disable()
    Launcher(control, gateway, lifeline, wakeup_read).run()


def main() -> NoReturn:
    """Arguments: descriptors of the control socket and of a pidfd of the gateway."""
    control = socket.socket(fileno=int(sys.argv[1]))
    gateway = int(sys.argv[2])
    os.set_inheritable(control.fileno(), False)
    os.set_inheritable(gateway, False)
    uid, gid = os.getuid(), os.getgid()
    try:
        if uid == 0:
            _unshare(CLONE_NEWPID | CLONE_NEWNS, "pid and mount namespaces")
        else:
            _unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS, "user, pid and mount namespaces")
            _map_ids(uid, gid)
        lifeline_read, lifeline_write = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
    except OSError as exc:
        control.send(json.dumps({"event": "broken", "detail": str(exc)}).encode())
        os._exit(SETUP_FAILED)
    if pid == 0:
        os.close(lifeline_write)
        try:
            _first_process(control, gateway, lifeline_read)
        except OSError as exc:
            control.send(json.dumps({"event": "broken", "detail": str(exc)}).encode())
        finally:
            os._exit(SETUP_FAILED)
    # This process only waits, so that whoever started it can reap it; its end ends the launcher, and the reverse.
    control.close()
    os.close(gateway)
    _pid, status = os.waitpid(pid, 0)
    os._exit(0 if status == 0 else 1)


if __name__ == "__main__":
    main()
