"""Let the log live, end it at a random moment, judge, and again."""

import contextlib
import os
import select
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.audit.crash.appender import live
from tests.audit.crash.ledger import Ledger, Lost
from tests.audit.crash.rigs import Life, Rig

CALLERS = 32
LIFE_SECONDS_MAX = 0.4
"""From the start of the process; a life may thus end while it still opens the log."""
APPENDS_MEAN = 300
PATIENCE_SECONDS = 60.0
"""In which something has to be acknowledged where the rig asks for it; a bound against hanging."""
_NUMBERS = 10_000_000
"""Room for the appends of one life."""


@dataclass
class Tally:
    """What a run came to."""

    ends: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    entries: int = 0
    checks: int = 0
    """Times that fsck went through the whole log."""

    def __add__(self, other: "Tally") -> "Tally":
        """Of two logs."""
        sums = (self.acknowledged + other.acknowledged, self.entries + other.entries, self.checks + other.checks)
        return Tally(self.ends + other.ends, *sums)


def run(
    rig: Rig, ends: int, random: Random, *, whole_every: int, messages: Path, told: Callable[[Tally], None]
) -> Tally:
    """End ``ends`` lives.

    Args:
        whole_every: after so many ends, and after the last, the whole log is checked and not what is new alone.
        messages: where the lives' standard error goes.
        told: called after each end.

    Raises:
        Lost: the verdict.
    """
    ledger, tally = Ledger(rig.url, rig.home), Tally()
    with _companion(rig, messages) if rig.shared else contextlib.nullcontext() as companion:
        for number in range(1, ends + 1):
            whole = number % whole_every == 0
            _once(rig, number, random, ledger, tally, whole=whole, messages=messages, companion=companion)
            told(tally)
    if companion is not None:
        ledger.hear(companion.heard())
    ledger.judge(whole=True)
    _note(tally, ledger)
    return tally


class _Companion:
    """What a second process said so far."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._rest = pipe, b""

    def heard(self) -> bytes:
        """Whole lines that came since the last time; does not wait."""
        content = bytearray(self._rest)
        while select.select([self._pipe], [], [], 0)[0] and (more := os.read(self._pipe, 1 << 20)):
            content += more
        end = content.rfind(b"\n") + 1
        self._rest = bytes(content[end:])
        return bytes(content[:end])


@contextlib.contextmanager
def _companion(rig: Rig, messages: Path) -> Iterator[_Companion]:
    pid, pipe = _begin(rig, 0, messages)
    try:
        yield _Companion(pipe)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _once(
    rig: Rig,
    number: int,
    random: Random,
    ledger: Ledger,
    tally: Tally,
    *,
    whole: bool,
    messages: Path,
    companion: _Companion | None,
) -> None:
    pid, pipe = _begin(rig, number, messages)
    try:
        how = _end(rig, pid, pipe, ledger, random)
    finally:
        os.close(pipe)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if companion is not None:
        ledger.hear(companion.heard())
    try:
        ledger.judge(whole=whole)
    except Lost as exc:
        raise Lost(f"after end {number} ({how}): {exc}") from exc
    tally.ends[how] += 1
    _note(tally, ledger)


def _note(tally: Tally, ledger: Ledger) -> None:
    tally.acknowledged, tally.entries, tally.checks = ledger.acknowledged, ledger.size, ledger.checks


def _begin(rig: Rig, number: int, messages: Path) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.close(reading)
        descriptor = os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 2)
        live(rig.url, rig.home, number * _NUMBERS, CALLERS, writing)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(70)


def _end(rig: Rig, pid: int, pipe: int, ledger: Ledger, random: Random) -> str:
    heard = bytearray()

    def listen(seconds: float, count: float) -> None:
        """Until so many acknowledgements came, or the time is up."""
        goal, deadline = heard.count(b"\n") + count, time.monotonic() + seconds
        while heard.count(b"\n") < goal and (left := deadline - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                content = os.read(pipe, 1 << 20)
                if not content:
                    raise Lost("the log ended by itself; its messages say why")
                heard.extend(content)

    def demand(count: int) -> None:
        before = heard.count(b"\n")
        listen(PATIENCE_SECONDS, count)
        if heard.count(b"\n") < before + count:
            raise Lost("nothing is acknowledged any more")

    def outlive() -> None:
        listen(0.01, float("inf"))
        demand(CALLERS + 1)  # each caller has at most one outcome on its way to us

    if random.random() < 0.5:
        listen(random.uniform(0, LIFE_SECONDS_MAX), float("inf"))
    else:
        listen(PATIENCE_SECONDS, 1 + int(random.expovariate(1 / APPENDS_MEAN)))
    how = rig.strike(Life(pid, demand, outlive), random)
    while content := os.read(pipe, 1 << 20):
        heard.extend(content)
    ledger.hear(bytes(heard))
    return how
