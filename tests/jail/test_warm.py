"""A governed call on a warm MCP hand starts no process: not in the gateway, not in the launcher, not in a jail."""

import sys
from pathlib import Path
from typing import Any

import pytest

from hand_adapters.jail.kernel import parent
from hand_adapters.jail.launcher import SPARES
from hand_adapters.jail.link import Link
from tests.jail.processes import descendants
from tests.secrets.world import Api, opened
from tests.until import until

pytestmark = pytest.mark.jail
SERVER = Path(__file__).with_name("counting_server.py")
CALLS = 10
STARTS = {"os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "subprocess.Popen", "pty.spawn"}


async def test_calls_on_a_warm_hand_start_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[str] = []
    counting = [True]
    sys.addaudithook(lambda event, _: starts.append(event) if counting and event in STARTS else None)
    send = Link.send

    async def counted(link: Link, message: Any, descriptors: Any = ()) -> None:
        starts.append(f"order {message['op']}")
        await send(link, message, descriptors)

    monkeypatch.setattr(Link, "send", counted)
    hand = {
        "adapter": "mcp",
        "command": ("/usr/bin/python3", "-I", "-S", "/server.py"),
        "binds": ({"source": str(SERVER), "target": "/server.py"},),
        "actions": {"call": {"side_effects": "none", "idempotent": True}},
    }
    try:
        async with opened(tmp_path, Api(), {}, crm=hand) as running:
            assert (await running.call())["result"]["structured"] == {"calls": 1}
            assert {"subprocess.Popen", "order start"} <= set(starts), "the counters count"
            # The launcher makes good for the one that was used, a moment later.
            [launcher] = [pid for pid in descendants() if parent(pid) == running.gateway.hands._jail._link.pid]
            await until(lambda: sum(parent(pid) == launcher for pid in descendants()) == 1 + SPARES)
            alive = descendants()
            starts.clear()
            for number in range(CALLS):
                step = await running.call()
                assert step["status"] == "succeeded"
                assert step["result"]["structured"] == {"calls": number + 2}, "one process served all of them"
            assert starts == []
            assert descendants() == alive
    finally:
        counting.clear()  # an audit hook stays for good
