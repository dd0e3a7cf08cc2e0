"""What a hand leaves on the machine: processes, connections, log lines, and what it gave its jails."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.settings import JailSettings
from hand_adapters.jail import Jail, JailedProcess, JailSpec
from hand_adapters.jail.link import LAUNCHER

_LOOK_SECONDS: Final = 0.02
_LINES_MAX: Final = 10_000
_PROC: Final = Path("/proc")


class WatchedJail(Jail):
    """The machine's jail, of which is kept what was started in it."""

    def __init__(self, settings: JailSettings, home: Path) -> None:
        super().__init__(settings, home)
        self.specs: list[JailSpec] = []
        self.started: list[JailedProcess] = []

    async def _begin(self, spec: JailSpec, *more: Any) -> JailedProcess:
        self.specs.append(spec)
        process = await super()._begin(spec, *more)
        self.started = [other for other in self.started if other.returncode is None]
        self.started.append(process)
        return process

    @property
    def living(self) -> list[JailedProcess]:
        """Those that run."""
        return [process for process in self.started if process.returncode is None]


@dataclass(frozen=True, slots=True)
class Traces:
    """What there is at one moment.

    Attributes:
        processes: those that descend from this one, but the jail's own, ``(pid, start time)`` -> name.
        sockets: descriptors of this process, by the inodes of their sockets.
    """

    processes: dict[tuple[int, int], str]
    sockets: frozenset[str]

    @classmethod
    def now(cls) -> "Traces":
        """Look. Blocks for a few milliseconds."""
        return cls(_descendants(), frozenset(_sockets()))

    @staticmethod
    def visible() -> bool:
        """Whether this system shows them (Linux does)."""
        return (_PROC / "self" / "stat").exists()

    def since(self, before: "Traces") -> "Traces":
        """What is here and was not there before."""
        processes = {key: name for key, name in self.processes.items() if key not in before.processes}
        return Traces(processes, self.sockets - before.sockets)

    def __bool__(self) -> bool:
        return bool(self.processes or self.sockets)

    def __str__(self) -> str:
        said = []
        if self.processes:
            names = ", ".join(sorted(set(self.processes.values())))
            said.append(f"{len(self.processes)} processes ({names})")
        if self.sockets:
            said.append(f"{len(self.sockets)} open sockets")
        return " and ".join(said) or "nothing"


async def settled(is_well: Callable[[Traces], bool], within_seconds: float) -> Traces:
    """What there is once ``is_well`` says so, or when the time is over: what was killed takes a moment to be gone."""
    ends = time.monotonic() + within_seconds
    while not is_well(found := Traces.now()) and time.monotonic() < ends:  # noqa: ASYNC110 - the kernel tells nobody
        await asyncio.sleep(_LOOK_SECONDS)
    return found


@contextlib.contextmanager
def overhearing() -> Iterator[list[str]]:
    """What is logged meanwhile, by ``logging`` and by structlog, instead of being written where it else would be."""
    lines: list[str] = []
    handler = _Keeping(lines)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG)
    old = structlog.get_config()
    processors = old["processors"]
    kept = list(processors)
    try:
        # In place: loggers that were bound before have this very list.
        processors[:] = [lambda _logger, _method, event: _keep(lines, event)]
        yield lines
    finally:
        processors[:] = kept
        root.handlers[:] = before
        root.setLevel(level)


class _Keeping(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) < _LINES_MAX:
            self._lines.append(self.format(record))


def _keep(lines: list[str], event: Any) -> Any:
    if len(lines) < _LINES_MAX:
        lines.append(str(dict(event)))
    raise structlog.DropEvent


def _descendants() -> dict[tuple[int, int], str]:
    found: dict[int, tuple[int, int, str, str]] = {}
    for place in _PROC.glob("[0-9]*/stat"):
        try:
            name, _, rest = place.read_text(errors="replace").rpartition(")")
        except OSError:
            continue  # it has just ended
        words = rest.split()
        found[int(place.parent.name)] = (int(words[1]), int(words[19]), words[0], name.partition("(")[2])
    ours: dict[int, bool] = {os.getpid(): True}

    def descends(pid: int) -> bool:
        line: list[int] = []
        while pid not in ours and pid in found:
            line.append(pid)
            pid = found[pid][0]
        verdict = ours.get(pid, False)
        ours.update(dict.fromkeys(line, verdict))
        return verdict

    return {
        (pid, started): name
        for pid, (_, started, state, name) in found.items()
        if pid != os.getpid() and state not in "ZX" and descends(pid) and not _is_launcher(pid)
    }


def _is_launcher(pid: int) -> bool:
    """Whether it is the jail's, which outlives each hand and keeps processes ready."""
    try:
        return os.fsencode(LAUNCHER) in (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _sockets() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith("socket:"):
                yield target
