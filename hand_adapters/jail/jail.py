"""The jail as the gateway sees it: start a program in it, talk over pipes, kill the whole tree."""

import asyncio
import hashlib
import itertools
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gateway.canonical import canonical
from gateway.settings import JailSettings
from hand_adapters.jail import ownership
from hand_adapters.jail.arguments import (
    check,
    check_executed,
    first_arguments,
    last_arguments,
    mounts,
    resolve_binds,
    rlimits,
)
from hand_adapters.jail.handover import Handover
from hand_adapters.jail.layers import Layers, examine
from hand_adapters.jail.link import Link
from hand_adapters.jail.process import JailedProcess
from hand_adapters.jail.profiles import PROFILES, Profile
from hand_adapters.jail.runtime import program
from hand_adapters.jail.scratch import Scratch
from hand_adapters.jail.seccomp import GATED
from hand_adapters.jail.seccomp import program as seccomp_program
from hand_adapters.jail.spec import OUTPUT_MAX_BYTES, Bind, Capture, Completed, JailError, JailSpec


class Jail:
    """The machine's jail: one small launcher process that starts and supervises every jailed process.

    Belongs to the event loop that first starts something.
    """

    tier = "jail"

    def __init__(self, settings: JailSettings, home: Path) -> None:
        self._settings = settings
        self._home = home
        self._examined: tuple[Layers | None, list[str]] | None = None
        self._link: Link | None = None
        self._group = ""
        self._opening = asyncio.Lock()
        self._keys = itertools.count(1)
        self._processes: dict[int, JailedProcess] = {}
        self._reserved: dict[int, int] = {}
        self._scratches: dict[int, asyncio.Future[int]] = {}

    @property
    def home(self) -> Path:
        """The gateway's home, of which hands see nothing but work areas."""
        return self._home

    def missing(self) -> list[str]:
        """What this machine lacks for a jail, each as a sentence with its remedy; empty where jails can start.

        Tries a jail for real once (some 50 ms) and remembers the answer.
        """
        if self._examined is None:
            self._examined = examine(self._settings)
        return self._examined[1]

    async def start(self, spec: JailSpec) -> JailedProcess:
        """Start a program.

        Raises:
            JailError: where a layer is missing, the profile is unknown, a bind is refused, the program is not there,
                or the memory budget has no room.
        """
        return await self._start(spec, None, None)

    async def _start(self, spec: JailSpec, capture: Capture | None, scratch: Scratch | None) -> JailedProcess:
        if spec.gate is None:
            return await self._begin(spec, None, capture, scratch)
        gate = spec.gate
        try:
            with Handover(gate) as handover:
                seen = replace(spec, env={**spec.env, **gate.env}, binds=(*spec.binds, *gate.binds))
                process = await self._begin(seen, handover, capture, scratch)
                try:
                    process.when_gone(gate.close)
                    gate.open(await handover.listeners(process))
                except BaseException:
                    await process.kill()
                    raise
        except BaseException:
            gate.close()
            raise
        return process

    def check_binds(self, binds: Sequence[Bind]) -> None:
        """Whether a jail would be given these, so that a hand can say what is wrong before it is called.

        Raises:
            JailError: for one that is not there or may not be shown.
        """
        resolve_binds(binds, self._home)

    async def _begin(
        self,
        spec: JailSpec,
        handover: Handover | None,
        capture: Capture | None,
        scratch: Scratch | None,
    ) -> JailedProcess:
        profile = PROFILES.get(spec.profile)
        if profile is None:
            raise JailError(f"no jail profile {spec.profile!r}; there are {', '.join(PROFILES)}")
        check(spec)
        if handover is not None and profile.seccomp != "default":
            raise JailError(f"the profile {spec.profile!r} has no sockets, and this hand names hosts (egress)")
        path, needed = program(spec.argv[0], spec.binds)
        binds = resolve_binds((*_missing_from(needed, spec.binds), *spec.binds), self._home)
        if not profile.executes_written:
            check_executed(path, binds)
        layers = await self._layers()
        link = await self._open(layers)
        key = next(self._keys)
        self._reserve(key, profile, layers)
        process = JailedProcess(key, self._kill, link.end_now)
        self._processes[key] = process
        order = {
            "op": "start",
            "id": key,
            "argv": [path, *spec.argv[1:]],
            "binds": binds,
            "arguments": first_arguments(spec, profile, disable_userns=layers.disable_userns),
            "last_arguments": last_arguments(),
            "mounts": mounts(),
            "executes_written": profile.executes_written,
            "rlimits": rlimits(profile, bare=layers.controllers is None),
            "limits": layers.controllers.limits(profile) if layers.controllers else [],
            "seccomp": profile.seccomp if handover is None else GATED,
            "deadline_seconds": spec.deadline_seconds,
            "scratch": None if scratch is None else scratch.target,
            **({"gate": handover.where} if handover is not None else {}),
        }
        more = () if scratch is None else (scratch.descriptor,)
        try:
            await self._hand_over(link, process, order, capture, more if handover is None else (*more, handover.theirs))
            await process.started()
        except BaseException:
            # Refused or cancelled: what may run already must not run on unowned.
            await process.kill()
            raise
        return process

    async def run(
        self,
        spec: JailSpec,
        stdin: bytes = b"",
        *,
        output_max_bytes: int = OUTPUT_MAX_BYTES,
        error_tail_bytes: int | None = None,
        drain_bytes: int = 0,
        scratch: Scratch | None = None,
    ) -> Completed:
        """Run a program to its end, with each output stream capped at ``output_max_bytes``.

        Args:
            error_tail_bytes: keep so many of the last bytes of standard error instead of ending a program that
                writes more.
            drain_bytes: let it write so many more to standard output, which are counted and thrown away.
            scratch: a scratch directory of :meth:`scratch`, which the program may write.

        Raises:
            JailError: as :meth:`start`, and where the program never began.
        """
        process = await self._start(spec, Capture(output_max_bytes, error_tail_bytes, drain_bytes), scratch)
        feeding = asyncio.ensure_future(_feed(process, stdin))
        try:
            return await process.completed()
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await process.kill()

    async def scratch(self, size_bytes: int, target: str = "/scratch") -> Scratch:
        """A directory for one run: a tmpfs of its own size, which no path of the host leads to. Close it after.

        Raises:
            JailError: the kernel gives none (Linux 5.2 has fsopen), or a layer is missing.
        """
        link = await self._open(await self._layers())
        key = next(self._keys)
        made: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._scratches[key] = made
        try:
            await link.send({"op": "scratch", "id": key, "size_bytes": size_bytes})
            return Scratch(await asyncio.shield(made), target)
        except asyncio.CancelledError:
            made.add_done_callback(_drop)
            raise
        finally:
            self._scratches.pop(key, None)

    def adopt(self, path: Path) -> None:
        """Give a directory tree under the gateway's home to the jail's uid, so that a writable bind works.

        A no-op where the gateway is not root (the jail then has the gateway's uid). Follows no symbolic link.

        Raises:
            JailError: where ``path`` is outside the home or holds a foreign file with other hard links.
        """
        ownership.adopt(path, self._home, self._settings)

    def own_directory(self, path: Path) -> None:
        """Make a directory that is the jail's, in one that no jail may write. One that is there is left as it is.

        Raises:
            OSError: it cannot be made, or something else is there.
        """
        ownership.own_directory(path, self._settings)

    def profile_sha256(self, profile: str, *, gated: bool = False) -> str:
        """Hex SHA-256 over everything the profile fixes (limits, seccomp program, what Landlock holds on this machine,
        and the program that applies it to files), for receipts. Tries a jail where :meth:`missing` has not been asked.

        Args:
            gated: of a jail that has a way out (``JailSpec.gate``).

        Raises:
            JailError: where there is no such profile.
        """
        if profile not in PROFILES:
            raise JailError(f"no jail profile {profile!r}")
        self.missing()
        layers = self._examined[0] if self._examined is not None else None
        confining = layers.landlock_exec if layers is not None else None
        filter_sha256 = hashlib.sha256(seccomp_program(GATED if gated else PROFILES[profile].seccomp)).hexdigest()
        limits = {name: str(value) for name, value in asdict(PROFILES[profile]).items()}
        fixed = {
            **limits,
            "name": profile,
            "seccomp_sha256": filter_sha256,
            "landlock": [] if layers is None else list(layers.held),
            "landlock_exec_sha256": None if confining is None else confining.sha256,
        }
        return hashlib.sha256(canonical(fixed)).hexdigest()

    async def close(self) -> None:
        """Kill every jail and end the launcher. No process, mount or cgroup stays."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        self._heard(None, 0)
        self._remove_group()

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _layers(self) -> Layers:
        if self._examined is None:
            self._examined = await asyncio.to_thread(examine, self._settings)
        layers, problems = self._examined
        if layers is None:
            raise JailError(" ".join(problems))
        return layers

    async def _open(self, layers: Layers) -> Link:
        async with self._opening:
            if self._link is None or not self._link.alive:
                if self._link is not None:
                    await self._link.close()
                self._remove_group()
                self._group = f"handrail-{os.getpid()}-{secrets.token_hex(6)}"
                if layers.controllers is not None:
                    layers.controllers.sweep()
                link = Link(self._heard)
                await link.open(layers.setup(self._group))
                self._link = link
            return self._link

    def _remove_group(self) -> None:
        if self._group and self._examined and self._examined[0] and self._examined[0].controllers:
            self._examined[0].controllers.remove(self._group)

    def _reserve(self, key: int, profile: Profile, layers: Layers) -> None:
        """Without cgroups, all jails together could never take more than the budget."""
        if layers.controllers is not None:
            return
        taken, budget = sum(self._reserved.values()), self._settings.memory_budget_bytes
        if taken + profile.bare_cost_bytes > budget:
            raise JailError(
                f"no cgroup here, and another jail needs {profile.bare_cost_bytes} bytes beside {taken} of "
                f"jail.memory_budget_bytes = {budget}"
            )
        self._reserved[key] = profile.bare_cost_bytes

    async def _hand_over(
        self,
        link: Link,
        process: JailedProcess,
        order: dict[str, Any],
        capture: Capture | None,
        more: tuple[int, ...],
    ) -> None:
        """Make the three pipes, keep our ends, send the others with the order, and ``more`` after them."""
        stdin_theirs, stdin_ours = os.pipe2(os.O_CLOEXEC)
        stdout_ours, stdout_theirs = os.pipe2(os.O_CLOEXEC)
        stderr_ours, stderr_theirs = os.pipe2(os.O_CLOEXEC)
        theirs = (stdin_theirs, stdout_theirs, stderr_theirs)
        try:
            await link.send(order, (*theirs, *more))
        except BaseException:
            process.hear(None, 0)  # it was never asked for
            self._forget(process.key)
            for descriptor in (stdin_ours, stdout_ours, stderr_ours):
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        await process.connect(stdin_ours, stdout_ours, stderr_ours, capture)

    async def _kill(self, key: int) -> None:
        if self._link is None:
            raise JailError("the launcher has ended")
        await self._link.send({"op": "kill", "id": key})

    def _heard(self, message: dict[str, Any] | None, pid: int) -> None:
        if message is None:
            for waiting in self._scratches.values():
                if not waiting.done():
                    waiting.set_exception(JailError("the launcher has ended"))
            for key, process in list(self._processes.items()):
                process.hear(None, 0)
                self._forget(key)
            return
        if "descriptor" in message or message.get("id") in self._scratches:
            self._take_scratch(message)
            return
        process_heard = self._processes.get(message.get("id", 0))  # a launcher that was given up may still say "ready"
        if process_heard is not None:
            process_heard.hear(message, pid)
            if message["event"] != "started":
                self._forget(message["id"])

    def _take_scratch(self, message: dict[str, Any]) -> None:
        made, descriptor = self._scratches.pop(message["id"], None), message.get("descriptor")
        if made is None and descriptor is not None:  # whoever asked has left
            os.close(descriptor)
        elif made is not None and descriptor is not None:
            made.set_result(descriptor)
        elif made is not None:
            made.set_exception(JailError(f"no scratch directory: {message['detail']}"))

    def _forget(self, key: int) -> None:
        self._processes.pop(key, None)
        self._reserved.pop(key, None)


def _drop(made: "asyncio.Future[int]") -> None:
    """Let go of a directory that nobody waits for any more."""
    if made.exception() is None:
        os.close(made.result())


async def _feed(process: JailedProcess, stdin: bytes) -> None:
    with suppress(OSError):  # it may end without reading
        if stdin:
            process.stdin.write(stdin)
            await process.stdin.drain()
        process.stdin.close()


def _missing_from(needed: tuple[Bind, ...], given: tuple[Bind, ...]) -> tuple[Bind, ...]:
    """The binds a program needs that the caller did not give in its own way."""
    targets = {bind.target for bind in given}
    return tuple(bind for bind in needed if bind.target not in targets)
