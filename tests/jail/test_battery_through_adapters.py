"""The same probes through every adapter that runs code: what a hand adds to the jail opens nothing."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import HandSettings
from hand_adapters.contract import HandAdapter
from hand_adapters.jail import Jail
from hand_adapters.mcp import McpAdapter
from hand_adapters.process import ProcessAdapter
from hand_adapters.python import PythonAdapter
from tests.hands.hands_support import call
from tests.jail.battery.scripts import arguments, held, script
from tests.jail.battery.table import PROBES, Probe

BATTERY = Path(__file__).with_name("battery")
DRIVER = BATTERY / "driver.py"
ORDERS = {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}}
SCHEMA = {"type": "object", "properties": {"orders": ORDERS}, "required": ["orders"]}
pytestmark = pytest.mark.jail


def orders(probes: tuple[Probe, ...], host: dict[str, Any], *, inside: bool) -> list[dict[str, str]]:
    return [
        {
            "name": probe.name,
            "code": script(probe),
            "arguments": arguments(host, probe.inside if inside else probe.outside),
        }
        for probe in probes
    ]


def hand(adapter: str, host: dict[str, Any], jail: Jail) -> HandAdapter:
    binds = (
        {"source": host["jail_scratch"], "target": "/scratch-of-the-hand", "writable": True},
        {"source": host["setuid_id"], "target": "/id"},
    )
    if adapter == "process":
        argv = ("/usr/bin/python3", "-I", "-S", "/battery/driver.py")
        word = {"argv": argv, "stdin": "orders", "stdout": "json", "args_schema": SCHEMA}
        binds += ({"source": BATTERY, "target": "/battery"},)
        # stdin is the argument alone, and the driver reads an object
        word["stdin"] = "battery"
        word["args_schema"] = {"type": "object", "properties": {"battery": SCHEMA}, "required": ["battery"]}
        return ProcessAdapter("p", HandSettings(adapter="process", binds=binds, actions={"battery": word}), jail)
    if adapter == "python":
        return PythonAdapter(
            "p",
            HandSettings(
                adapter="python",
                binds=binds,
                python={"source": DRIVER},
                actions={"battery": {"args_schema": SCHEMA}},
            ),
            jail,
        )
    binds += ({"source": BATTERY, "target": "/battery"},)
    return McpAdapter("p", HandSettings(adapter="mcp", binds=binds, command=("python", "/battery/server.py")), jail)


@pytest.mark.parametrize("adapter", ["process", "python", "mcp"])
async def test_no_probe_escapes(adapter: str, jail: Jail, host: dict[str, Any]) -> None:
    made = hand(adapter, host, jail)
    given = orders(PROBES, {**host, "setuid_id": "/id", "scratch": "/scratch-of-the-hand"}, inside=True)
    args: dict[str, Any] = {"orders": given}
    digest = (await made.manifest()).digest
    if adapter == "process":
        args = {"battery": args}
    result = await made.run(call("p", "battery", args, digest, deadline_seconds=300.0, result_max_bytes=1_048_576))
    await made.close()
    found = result.structured
    assert set(found) == {probe.name for probe in PROBES}
    out = {
        probe.name: found[probe.name]
        for probe in PROBES
        if not held(probe, found[probe.name]["said"], found[probe.name]["ended"])
    }
    assert out == {}


async def test_the_driver_itself_holds_nobody_back(host: dict[str, Any]) -> None:
    """Its positive control: outside of the jail, and as the jail's uid, the probes escape through it too."""
    plain = tuple(probe for probe in PROBES if not (probe.root or probe.namespaces or probe.as_gateway))
    given = json.dumps({"orders": orders(plain, host, inside=False)})
    ended = await asyncio.to_thread(
        subprocess.run,
        ["/usr/bin/python3", "-I", "-S", "-c", DRIVER.read_text(encoding="utf-8")],
        input=given.encode(),
        capture_output=True,
        close_fds=False,
        check=True,
        **host["identity"],
    )
    found = json.loads(ended.stdout)
    assert len(plain) >= 25
    assert {name: said for name, said in found.items() if not said["said"].startswith("BEGUN\nESCAPED")} == {}
