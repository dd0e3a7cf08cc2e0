"""A program that computes without end: by its profile's seconds, and never with more of the machine than its share."""

import dataclasses
from pathlib import Path

import pytest

from hand_adapters.jail import PROFILES, Jail, JailSpec
from hand_adapters.jail import jail as jail_module
from tests.until import until

pytestmark = pytest.mark.jail

SPIN = "while True: pass"
STUBBORN = f"import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n{SPIN}"
AS_A_CHILD = f"import os\nif os.fork() == 0:\n    os.setsid()\n    exec({SPIN!r})\nos._exit(os.wait()[1] & 0x7f)"
KILLED = {-9, 9}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The profiles with less: 30 seconds are a long test, and a busy machine may never give a program a whole core."""
    less = {
        "strict": dataclasses.replace(PROFILES["strict"], cpu_seconds=1),
        "default": dataclasses.replace(PROFILES["default"], cpu_cores=0.05),
    }
    monkeypatch.setattr(jail_module, "PROFILES", less)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("first_process", [True, False], ids=["first process", "below an init"])
@pytest.mark.parametrize("code", [SPIN, STUBBORN, AS_A_CHILD], ids=["plain", "ignores the warning", "a child"])
async def test_a_program_that_computes_without_end_is_killed_by_its_cpu_seconds(
    jail: Jail, code: str, first_process: bool
) -> None:
    spec = JailSpec(("python", "-I", "-S", "-c", code), profile="strict", deadline_seconds=300, as_pid_1=first_process)
    ended = await jail.run(spec)
    assert not ended.timed_out, "it was the limit, and no deadline"
    assert ended.returncode in KILLED


@pytest.mark.usefixtures("small")
async def test_a_server_has_no_such_limit_and_is_throttled_to_its_share(jail: Jail) -> None:
    process = await jail.start(JailSpec(("/bin/sh", "-c", "echo up; while :; do :; done")))
    assert jail._examined is not None
    layers = jail._examined[0]
    if layers is None or layers.controllers is None or "cpu" not in layers.controllers.directories:
        await process.kill()
        pytest.skip("no cpu controller may be used here")
    assert await process.stdout.readline() == b"up\n"
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if line.startswith("Max cpu time")).split()[3] == "unlimited"
    [own] = [
        group
        for group in (layers.controllers.directories["cpu"] / jail._group).glob("*/")
        if str(process.pid) in (group / "cgroup.procs").read_text().split()
    ]
    await until(lambda: _throttled(own))
    await process.kill()


def _throttled(group: Path) -> int:
    """How often the kernel stopped the group, because its share of a period was used up."""
    return next(
        int(line.split()[1]) for line in (group / "cpu.stat").read_text().splitlines() if line.startswith("nr_thr")
    )
