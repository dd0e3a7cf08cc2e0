"""A real jail for each test that asks for one, and a host to attack from inside."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import JailSettings
from hand_adapters.jail import Jail, kernel
from tests import services


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
async def jail(home: Path) -> AsyncIterator[Jail]:
    made = Jail(JailSettings(), home)
    problems = made.missing()
    services.require(not problems, "a working jail", " ".join(problems) or "-")
    yield made
    await made.close()


@pytest.fixture
def scratch(home: Path, jail: Jail) -> Path:
    """A directory that belongs to the jail's uid."""
    made = home / "work" / "scratch"
    made.mkdir(parents=True)
    jail.adopt(made)
    return made


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
    queue = kernel.check(kernel.libc.msgget(os.getpid(), 0o1666), "msgget")  # IPC_CREAT
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
        "queue": os.getpid(),
        "socket_path": str(place / "socket"),
        "scratch": str(control_scratch),
        "jail_scratch": scratch,
        "identity": identity,
    }
    os.close(opened)
    for listener in listeners:
        listener.close()
    kernel.check(kernel.libc.msgctl(queue, 0, None), "msgctl")  # IPC_RMID
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
