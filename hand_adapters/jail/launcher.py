"""The launcher: one small single-threaded process that starts, supervises and ends every jail.

It runs as a script of its own (``python -I -S launcher.py FD FD``) with an empty environment, imports nothing of
Handrail but its siblings ``kernel``, ``become``, ``running`` and ``landlock``, and talks JSON over a SOCK_SEQPACKET
socket with the gateway, so that the gateway never forks. It lives as the first process of a pid namespace of its own:
when it ends, however it ends, the kernel kills every process in every jail. It ends when the gateway closes the socket
or dies.

Gateway to launcher: ``setup`` (first), ``scratch``, ``start`` (with the three stdio descriptors, then the scratch
directory's and the one by which listeners are handed over, where there are such), ``kill``.
Launcher to gateway: ``ready``, ``scratch`` (with its descriptor), ``started``, ``refused``, ``gone``.
"""

# pathlib alone would add milliseconds to every start of the launcher:
# ruff: noqa: PTH100, PTH103, PTH106, PTH120

import array
import base64
import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
import types
from collections import deque
from typing import Any, NoReturn

if __name__ == "__main__":
    # As a script in isolated mode. The package's own __init__ would bring in half the gateway.
    for _name in ("hand_adapters", "hand_adapters.jail"):
        _package = types.ModuleType(_name)
        _package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
        sys.modules[_name] = _package

from hand_adapters.jail import become, kernel
from hand_adapters.jail.running import Running, Spare

SCM_CREDENTIALS = 2
QUIET_SECONDS = 0.02
GROUPS_LEFT_MAX = 64
END_TRIES = 200
SCRATCH_FILES_MAX = 1024
"""Files and directories of a scratch directory: the kernel keeps some of each outside of its size."""
SPARES = 2
"""Processes kept ready; each costs about a megabyte."""


class Launcher:
    """The event loop: control socket, children, deadlines."""

    def __init__(self, control: socket.socket, gateway: int, lifeline: int, wakeup: int) -> None:
        self.control = control
        self.wakeup = wakeup
        self.ends = (gateway, lifeline)
        self.outgoing: deque[tuple[bytes, int, int]] = deque()
        self.running: dict[int, Running] = {}
        self.by_key: dict[int, Running] = {}
        self.setup: dict[str, Any] = {}
        self.empty_groups: list[str] = []
        self.spares: deque[Spare] = deque()
        self.made = 0
        self.poll = select.poll()

    # --- talking ---------------------------------------------------------------------------------------------------

    def say(self, message: dict[str, Any], pid: int = 0, descriptor: int = -1) -> None:
        """Queue ``message``; the kernel translates ``pid`` into the gateway's pid namespace (SCM_CREDENTIALS).

        ``descriptor`` goes along and is closed here.
        """
        self.outgoing.append((json.dumps(message).encode(), pid, descriptor))
        self.flush()

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it."""
        while self.outgoing:
            data, pid, descriptor = self.outgoing[0]
            credentials = struct.pack("iII", pid or os.getpid(), os.getuid(), os.getgid())
            ancillary = [(socket.SOL_SOCKET, SCM_CREDENTIALS, credentials)]
            if descriptor >= 0:
                ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", descriptor)))
            try:
                self.control.sendmsg([data], ancillary)
            except BlockingIOError:
                break
            except OSError:
                if not pid:
                    self.end()
                self.outgoing[0] = (data, 0, descriptor)
                continue
            self.outgoing.popleft()
            if descriptor >= 0:
                os.close(descriptor)
        self.poll.register(self.control, select.POLLIN | (select.POLLOUT if self.outgoing else 0))

    def receive(self) -> None:
        """Take one order."""
        try:
            message, descriptors = kernel.receive(self.control, 5)
        except BlockingIOError:
            return
        if message is None:
            self.end()
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
            self.setup["filters"] = {name: base64.b64decode(text) for name, text in message["filters"].items()}
            become.build_stage(self.setup)
            gc.collect()
            gc.freeze()
            self.say({"event": "ready"})
        elif operation in {"scratch", "start"}:
            try:
                if operation == "start":
                    self.start(message, descriptors)
                else:
                    self.scratch(message)
            except OSError as exc:
                self.say({"event": "refused", "id": message["id"], "detail": str(exc)})
        elif operation == "kill":
            jail = self.by_key.get(message["id"])
            if jail is not None:
                self.kill(jail)

    # --- starting --------------------------------------------------------------------------------------------------

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
                become.wait_for_order(self.setup, theirs, groups)
            finally:
                os._exit(kernel.SETUP_FAILED)
        theirs.close()
        self.spares.append(Spare(pid, ours, groups))

    def scratch(self, message: dict[str, Any]) -> None:
        """Make a scratch directory that belongs to the jails' uid, and hand it over."""
        made = kernel.detached_tmpfs(message["size_bytes"], SCRATCH_FILES_MAX, self.setup["uid"], self.setup["gid"])
        self.say({"event": "scratch", "id": message["id"]}, descriptor=made)

    def start(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Give a spare process its order; the limits of its cgroups are in force before it hears it."""
        if not self.spares:
            self.add_spare()
        spare = self.spares.popleft()
        try:
            for path, limits in zip(spare.groups, message["limits"], strict=True):
                for name, value in limits:
                    kernel.write_file(f"{path}/{name}", value)
        except OSError:
            spare.orders.close()  # it ends without an order
            self.empty_groups += spare.groups
            raise
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        with spare.orders:
            ancillary = array.array("i", [*descriptors, status_write]).tobytes()
            spare.orders.sendmsg([json.dumps(message).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, ancillary)])
        os.close(status_write)
        seconds = message["deadline_seconds"]
        deadline = None if seconds is None else time.monotonic() + seconds
        confines = self.setup["landlock_exec"] is not None
        jail = Running(message["id"], spare.pid, status_read, spare.groups, deadline, confines=confines)
        self.running[jail.pid] = jail
        self.by_key[jail.key] = jail
        self.say({"event": "started", "id": jail.key}, jail.pid)

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
                jail.read_status()
        # As first process of the namespace we inherit every orphan of a jail whose bwrap is dead; none may live on.
        known = self.running.keys() | {spare.pid for spare in self.spares}
        for pid in kernel.children():
            if pid not in known:
                os.kill(pid, signal.SIGKILL)
        for jail in [jail for jail in self.running.values() if jail.returncode is not None]:
            if jail.inner is None or not kernel.is_child(jail.inner):
                self.finish(jail)

    def drop_spare(self, pid: int) -> None:
        """Forget a spare process that has died."""
        for spare in [spare for spare in self.spares if spare.pid == pid]:
            self.spares.remove(spare)
            spare.orders.close()
            self.empty_groups += spare.groups

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
                "failed": jail.failed,
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

    def end(self) -> NoReturn:
        """The gateway is gone: kill everything in this pid namespace, remove the cgroups, and go."""
        if os.getpid() == 1:  # anywhere else, -1 would mean the whole machine
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        for _ in range(END_TRIES):
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.01)
            except ChildProcessError:
                break
        for groups in [jail.groups for jail in self.running.values()] + [spare.groups for spare in self.spares]:
            self.empty_groups += groups
        self.empty_groups += self.setup.get("groups", [])
        self.remove_groups()
        os._exit(0)

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
                    self.end()
                if descriptor == self.wakeup:
                    os.read(self.wakeup, 4096)
                elif event & select.POLLOUT:
                    self.flush()
                elif event:
                    self.receive()
            self.reap()


def _first_process(control: socket.socket, gateway: int, lifeline: int) -> NoReturn:
    kernel.check(kernel.libc.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG")
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
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
            kernel.unshare(kernel.CLONE_NEWPID | kernel.CLONE_NEWNS, "pid and mount namespaces")
        else:
            kernel.unshare(
                kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID | kernel.CLONE_NEWNS, "user, pid and mount namespaces"
            )
            kernel.map_ids(uid, gid)
        lifeline_read, lifeline_write = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
    except OSError as exc:
        control.send(json.dumps({"event": "broken", "detail": str(exc)}).encode())
        os._exit(kernel.SETUP_FAILED)
    if pid == 0:
        os.close(lifeline_write)
        try:
            _first_process(control, gateway, lifeline_read)
        except OSError as exc:
            control.send(json.dumps({"event": "broken", "detail": str(exc)}).encode())
        finally:
            os._exit(kernel.SETUP_FAILED)
    # This process only waits, so that whoever started it can reap it; its end ends the launcher, and the reverse.
    control.close()
    os.close(gateway)
    _pid, status = os.waitpid(pid, 0)
    os._exit(0 if status == 0 else 1)


if __name__ == "__main__":
    main()
