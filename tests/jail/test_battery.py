"""Every probe of the battery escapes without the jail and does not escape from inside it."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hand_adapters.egress import EgressGate
from hand_adapters.jail import Bind, Jail, JailSpec
from hand_adapters.jail.kernel import CLONE_NEWUSER
from tests.egress.world import settings
from tests.jail.battery.scripts import arguments, held, script
from tests.jail.battery.table import PROBES, Probe

PYTHON = "/usr/bin/python3"
ELSEWHERE: Any = {"host": "example.com", "paths": ("/**",)}
pytestmark = [
    pytest.mark.jail,
    pytest.mark.skipif(not Path(PYTHON).exists(), reason="the probes are written for the system's own python3"),
]


def control(code: str, argument: str, identity: dict[str, Any]) -> bytes:
    """Run a probe with nothing around it. What it leaves behind (a stopped child holds the output open) is killed."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [PYTHON, "-I", "-S", "-c", code, argument],
            stdout=output,
            stderr=subprocess.STDOUT,
            close_fds=False,
            start_new_session=True,
            **identity,
        )
        try:
            process.wait(60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return output.read()


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
async def test_probe_escapes_without_the_jail(probe: Probe, host: dict[str, Any]) -> None:
    if probe.root and os.getuid() != 0:
        pytest.skip("its control needs root: an unprivileged user is refused without any jail, too")
    code = script(probe)
    if probe.namespaces:
        unshare = f"libc.unshare({probe.namespaces}) == 0 or sys.exit('no namespaces for the control')\n"
        code = code.replace("\nprint('BEGUN'", "\n" + unshare + "print('BEGUN'", 1)
    as_jail_uid = {} if probe.as_gateway else host["identity"]
    stdout = await asyncio.to_thread(control, code, arguments(host, probe.outside), as_jail_uid)
    assert stdout.startswith(b"BEGUN\nESCAPED"), stdout


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
@pytest.mark.parametrize("kind", ["default", "strict", "build", "gated"])
async def test_probe_is_held_inside_the_jail(kind: str, probe: Probe, jail: Jail, host: dict[str, Any]) -> None:
    """In each profile, and in a jail that has a way out, whose filter has to let more through."""
    binds = [Bind(host["jail_scratch"], "/scratch", writable=True)]
    if probe.name == "setuid_program":
        binds.append(Bind(Path(host["setuid_id"]), "/id"))
        host["setuid_id"] = "/id"
    host["scratch"] = "/scratch"
    ended = await jail.run(
        JailSpec(
            (PYTHON, "-I", "-S", "-c", script(probe), arguments(host, probe.inside)),
            profile="default" if kind == "gated" else kind,
            gate=EgressGate("h", settings(ELSEWHERE)) if kind == "gated" else None,
            binds=tuple(binds),
            deadline_seconds=60,
        )
    )
    permitted = kind == "build" and probe.name == "written_program"
    assert held(probe, ended.stdout.decode(errors="replace"), ended.returncode) != permitted, ended
    assert not ended.timed_out


@pytest.mark.skipif(os.getuid() != 0, reason="this run is unprivileged itself")
async def test_battery_holds_where_the_gateway_is_no_root(jail: Jail) -> None:
    """The same tests again as an unprivileged user, who has no cgroup and whose jails are bounded by rlimits."""
    runner = Path(__file__).with_name("as_nobody.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(runner),
        "tests/jail/test_battery.py",
        "tests/jail/test_landlock.py",
        "tests/jail/test_landlock_exec.py",
        "tests/jail/test_lessons.py",
        "tests/jail/test_lifecycle.py",
        "tests/jail/test_programs.py",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode(errors="replace")[-6000:]
    assert b" passed" in output


def test_the_table_has_the_probes_that_are_promised() -> None:
    names = [probe.name for probe in PROBES]
    assert len(names) == len(set(names)) >= 40
    assert all(probe.stopped_by and probe.tries for probe in PROBES)
    assert CLONE_NEWUSER == 0x10000000
