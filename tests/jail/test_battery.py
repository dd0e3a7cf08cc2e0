"""Every probe of the battery escapes without the jail and does not escape from inside it."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import JailSettings
from hand_adapters.jail import Bind, Jail, JailSpec
from hand_adapters.jail.kernel import CLONE_NEWUSER
from tests.jail.battery.table import PROBES, Probe

PYTHON = "/usr/bin/python3"
PREAMBLE = Path(__file__).with_name("battery").joinpath("preamble.py").read_text(encoding="utf-8")
ATTEMPT = """
print('BEGUN', flush=True)
try:
{code}
except (OSError, MemoryError) as exc:
    held(repr(exc))
held('nothing happened')
"""
pytestmark = [
    pytest.mark.jail,
    pytest.mark.skipif(not Path(PYTHON).exists(), reason="the probes are written for the system's own python3"),
]


def script(probe: Probe) -> str:
    body = "\n".join("    " + line for line in probe.code.strip().splitlines())
    return PREAMBLE + ATTEMPT.format(code=body)


@pytest.fixture
async def host(jail: Jail, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Any]]:
    """Things on the host that anyone outside could reach: nothing here is protected by its mode."""
    place = Path(tempfile.mkdtemp(prefix="handrail-battery-", dir="/tmp"))
    place.chmod(0o777)
    (place / "secret").write_text("planted")
    (place / "secret").chmod(0o644)
    (place / "id").write_bytes(Path("/usr/bin/id").read_bytes())
    (place / "id").chmod(0o4755)
    monkeypatch.setenv("PLANTED", "planted-secret")
    settings = JailSettings()
    identity = {"user": settings.uid, "group": settings.gid, "extra_groups": []} if os.getuid() == 0 else {}
    victim = subprocess.Popen(["/usr/bin/sleep", "600.4242"], **identity)
    opened = os.open(place / "secret", os.O_RDONLY)
    os.set_inheritable(opened, True)
    tcp = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, local_addr=("127.0.0.1", 0))
    listeners = [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
    abstract = f"handrail-battery-{os.getpid()}"
    listeners[0].bind("\0" + abstract)
    listeners[1].bind(str(place / "socket"))
    (place / "socket").chmod(0o777)
    for listener in listeners:
        listener.listen(8)
    control_scratch = place / "scratch"
    control_scratch.mkdir()
    control_scratch.chmod(0o777)
    yield {
        "host_file": str(place / "secret"),
        "host_directory": str(place),
        "setuid_id": str(place / "id"),
        "marker": "600.4242",
        "victim": victim.pid,
        "port": tcp.sockets[0].getsockname()[1],
        "udp_port": udp.get_extra_info("sockname")[1],
        "abstract": abstract,
        "socket_path": str(place / "socket"),
        "scratch": str(control_scratch),
        "jail_scratch": scratch,
        "identity": identity,
    }
    os.close(opened)
    for listener in listeners:
        listener.close()
    udp.close()
    tcp.close()
    victim.kill()
    victim.wait()
    shutil.rmtree(place)


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)  # type: ignore[attr-defined]


def arguments(host: dict[str, Any], more: dict[str, Any]) -> str:
    plain = {name: value for name, value in host.items() if isinstance(value, str | int)}
    return json.dumps({**plain, **more})


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
async def test_probe_is_held_inside_the_jail(probe: Probe, jail: Jail, host: dict[str, Any]) -> None:
    binds = [Bind(host["jail_scratch"], "/scratch", writable=True)]
    if probe.name == "setuid_program":
        binds.append(Bind(Path(host["setuid_id"]), "/id"))
        host["setuid_id"] = "/id"
    host["scratch"] = "/scratch"
    ended = await jail.run(
        JailSpec(
            (PYTHON, "-I", "-S", "-c", script(probe), arguments(host, probe.inside)),
            binds=tuple(binds),
            deadline_seconds=60,
        )
    )
    assert ended.stdout.startswith(b"BEGUN"), ended
    assert b"ESCAPED" not in ended.stdout, ended
    # A bomb may end by the kernel's hand; everything else says itself why it was held.
    assert b"HELD" in ended.stdout or (probe.name.endswith("_bomb") and ended.returncode != 0), ended
    assert b"nothing happened" not in ended.stdout
    assert not ended.timed_out


@pytest.mark.skipif(os.getuid() != 0, reason="this run is unprivileged itself")
async def test_battery_holds_where_the_gateway_is_no_root(jail: Jail) -> None:
    """The same tests again as an unprivileged user, who has no cgroup and whose jails are bounded by rlimits."""
    runner = Path(__file__).with_name("as_nobody.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(runner),
        "tests/jail/test_battery.py",
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
