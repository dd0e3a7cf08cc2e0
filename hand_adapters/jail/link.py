"""The gateway's end of the launcher's socket: start the launcher, send it orders, hand on what it reports."""

import array
import asyncio
import base64
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from hand_adapters.jail.runtime import ETC
from hand_adapters.jail.seccomp import LISTS
from hand_adapters.jail.seccomp import program as seccomp_program
from hand_adapters.jail.spec import JailError

LAUNCHER: Final = Path(__file__).with_name("launcher.py")
MESSAGE_MAX_BYTES: Final = 128 * 1024
"""Longest order (arguments, environment and binds of one jail)."""
READY_SECONDS: Final = 10.0
_PASSCRED: Final = 16
_CREDENTIALS: Final = 2


def setup_message(
    bwrap: str,
    stage: str,
    uid: int,
    gid: int,
    *,
    landlock: int,
    landlock_exec: bytes | None,
    groups: Sequence[str] = (),
) -> dict[str, Any]:
    """The first message to a launcher: what all its jails share.

    Args:
        landlock: the kernel's ABI, or 0.
        landlock_exec: the program that applies the rules about files, where there is one.
    """
    account = f"jail:x:{uid}:{gid}:jail:/tmp:/bin/sh\nroot:x:0:0:root:/:/bin/false\n"
    return {
        "op": "setup",
        "bwrap": bwrap,
        "stage": stage,
        "uid": uid,
        "gid": gid,
        "landlock": landlock,
        "landlock_exec": None if landlock_exec is None else base64.b64encode(landlock_exec).decode("ascii"),
        "filters": {name: base64.b64encode(seccomp_program(name)).decode("ascii") for name in LISTS},
        "groups": list(groups),
        "etc_of_host": [name for name in ETC if os.access(f"/etc/{name}", os.R_OK)],
        "etc": {
            "passwd": account,
            "group": f"jail:x:{gid}:\nroot:x:0:\n",
            "hosts": "127.0.0.1 localhost jail\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
        },
    }


def spawn() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a launcher with nothing in its environment and no descriptor but its socket and a pidfd of this process.

    Raises:
        JailError: where it cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        gateway = os.pidfd_open(os.getpid())
    except OSError as exc:
        ours.close()
        theirs.close()
        raise JailError(f"pidfd_open: {exc.strerror}; Linux 5.14 or newer is needed") from None
    try:
        ours.setsockopt(socket.SOL_SOCKET, _PASSCRED, 1)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), str(theirs.fileno()), str(gateway)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            pass_fds=(theirs.fileno(), gateway),
            start_new_session=True,
        )
    except OSError as exc:
        ours.close()
        raise JailError(f"launcher: {exc.strerror}") from None
    finally:
        theirs.close()
        os.close(gateway)
    return process, ours


def encode(message: Mapping[str, Any]) -> bytes:
    """One datagram.

    Raises:
        JailError: where it is larger than :data:`MESSAGE_MAX_BYTES`.
    """
    data = json.dumps(message).encode()
    if len(data) > MESSAGE_MAX_BYTES:
        raise JailError(f"arguments, environment and binds make {len(data)} bytes, over {MESSAGE_MAX_BYTES}")
    return data


def with_descriptors(descriptors: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """Ancillary data that hands over ``descriptors`` (unix(7), SCM_RIGHTS)."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())] if descriptors else []


def receive(control: socket.socket) -> tuple[dict[str, Any] | None, int]:
    """One report and the pid that came with it; ``None`` where the launcher is gone. May raise BlockingIOError.

    A descriptor that came along is the report's ``descriptor``, and whoever hears it closes it.
    """
    space = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4)
    try:
        data, ancillary, _flags, _address = control.recvmsg(MESSAGE_MAX_BYTES, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None, 0
    pid = next((struct.unpack("iII", raw)[0] for _level, kind, raw in ancillary if kind == _CREDENTIALS), 0)
    message = json.loads(data) if data else None
    for _level, kind, raw in ancillary:
        if kind == socket.SCM_RIGHTS and message is not None:
            message["descriptor"] = struct.unpack("i", raw[:4])[0]
    return message, pid


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Link:
    """A running launcher. ``heard`` is called with each report after ``ready``, and with ``None`` when it ends."""

    def __init__(self, heard: Callable[[dict[str, Any] | None, int], None]) -> None:
        self._heard = heard
        self._lock = asyncio.Lock()
        self._ready: asyncio.Future[None] | None = None
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._launcher: int | None = None
        self._burial: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether orders can be sent."""
        return self._control is not None

    @property
    def pid(self) -> int:
        """Host pid of the launcher's outer process."""
        return self._process.pid if self._process else 0

    async def open(self, setup: Mapping[str, Any]) -> None:
        """Start the launcher and wait until it is ready.

        Raises:
            JailError: where it does not come up.
        """
        self._loop = asyncio.get_running_loop()
        self._ready = self._loop.create_future()
        self._process, self._control = spawn()
        self._control.setblocking(False)
        self._loop.add_reader(self._control, self._read)
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self.send(setup)
                await self._ready
        except TimeoutError:
            await self.close()
            raise JailError("the launcher did not answer") from None
        except JailError:
            await self.close()
            raise
        except asyncio.CancelledError:
            # Nobody has the link yet, so nobody else would ever end its process.
            self.end_now()
            await self.close()
            raise

    async def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send an order.

        Raises:
            JailError: where the launcher is gone or the order too large.
        """
        data, ancillary = encode(message), with_descriptors(descriptors)
        async with self._lock:
            while True:
                if self._control is None:
                    raise JailError("the launcher has ended")
                try:
                    self._control.sendmsg([data], ancillary)
                except BlockingIOError:
                    await self._writable(self._control)
                except OSError as exc:
                    raise JailError(f"launcher: {exc.strerror}") from None
                else:
                    return

    async def _writable(self, control: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        writable = loop.create_future()
        loop.add_writer(control, _settle, writable)
        try:
            await writable
        finally:
            loop.remove_writer(control)

    def _read(self) -> None:
        while self._control is not None:
            try:
                message, pid = receive(self._control)
            except BlockingIOError:
                return
            self._take(message, pid)

    def _take(self, message: dict[str, Any] | None, pid: int) -> None:
        starting = self._ready is not None and not self._ready.done()
        if message is None:
            self._drop()
            if starting and self._ready is not None:
                self._ready.set_exception(JailError("the launcher ended at once"))
            self._burial = asyncio.ensure_future(self._bury())
        elif starting and self._ready is not None:
            if message["event"] == "ready":
                with suppress(ProcessLookupError):
                    self._launcher = os.pidfd_open(pid)
                self._ready.set_result(None)
            else:
                self._ready.set_exception(JailError(message["detail"]))
        else:
            self._heard(message, pid)

    async def _bury(self) -> None:
        """Say that the launcher is gone, but not before the kernel has ended its pid namespace (the pidfd tells)."""
        launcher, self._launcher = self._launcher, None
        if launcher is not None:
            loop = asyncio.get_running_loop()
            gone = loop.create_future()
            loop.add_reader(launcher, _settle, gone)
            try:
                await gone
            finally:
                loop.remove_reader(launcher)
                os.close(launcher)
        self._heard(None, 0)

    def _drop(self) -> None:
        if self._control is not None and self._loop is not None:
            self._loop.remove_reader(self._control)
            self._control.close()
            self._control = None

    def end_now(self) -> None:
        """Kill the launcher's outer process; the kernel ends the rest."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        """Close the socket, which ends the launcher and every jail, wait for it, and reap it."""
        self._drop()
        if self._burial is None:
            self._burial = asyncio.ensure_future(self._bury())
        process, self._process = self._process, None
        if process is not None:
            try:
                await asyncio.to_thread(process.wait, READY_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
        await self._burial


def trial(setup: Mapping[str, Any], order: Mapping[str, Any]) -> str | None:
    """Start a launcher and one jail, blocking; ``None`` where its program ended well, else what went wrong. An order
    that names a gate is of a jail that hands its listeners over."""
    try:
        process, control = spawn()
    except JailError as exc:
        return exc.detail
    stderr_read, stderr_write = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    handed = (theirs.fileno(),) if "gate" in order else ()
    control.settimeout(READY_SECONDS)
    try:
        control.sendmsg([encode(setup)])
        if (problem := _expect(control, "ready")) is None:
            control.sendmsg([encode(order)], with_descriptors((null, null, stderr_write, *handed)))
            problem = _expect(control, "gone")
        theirs.close()
        if handed and problem is None and not ours.recv(16):
            problem = "the jail handed no listeners over"
        os.close(stderr_write)
        stderr_write = -1
        said = os.read(stderr_read, 4096).decode("utf-8", errors="replace").strip() if problem else ""
    except (OSError, TimeoutError) as exc:
        return f"launcher: {exc}"
    finally:
        for descriptor in (null, stderr_read, stderr_write):
            if descriptor >= 0:
                os.close(descriptor)
        for end in (control, ours, theirs):
            end.close()
        process.wait()
    return f"{problem}: {said}" if problem and said else problem


def _expect(control: socket.socket, event: str) -> str | None:
    while True:
        message, _pid = receive(control)
        if message is None:
            return "the launcher ended at once"
        if message["event"] in {"broken", "refused"}:
            return str(message["detail"])
        if message["event"] == event:
            return None if event != "gone" else _ended(message)


def _ended(message: Mapping[str, Any]) -> str | None:
    if not message["began"]:
        return message["failed"] or "the program did not begin"
    return None if message["returncode"] == 0 else f"the jail ended with {message['returncode']}"
