"""The two ways to the everything-server of the ``mcp`` SDK: directly, and through a gateway that allows all of it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from gateway.app import build
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from tests.conformance.forwarder import forwarding
from tests.conformance.suite import ROOT, SuiteError
from tests.ports import free_port
from tests.until import until
from tests.web.conftest import serving

SERVER: Final = ROOT / ".tools/mcp-everything"
HAND: Final = "everything"

_ALLOW: Final = """package handrail

decisions contains decision if {
	some step in input.steps
	input.hands[step.hand].actions[step.action]
	decision := {"step": step.id, "effect": "allow", "reasons": [], "obligations": {}}
}
"""


@asynccontextmanager
async def everything(log: Path) -> AsyncIterator[str]:
    """The everything-server in a process of its own; yields its URL.

    Raises:
        SuiteError: it is not there, or does not start.
    """
    if not SERVER.is_dir():
        raise SuiteError("the everything-server is missing; run make tools")
    port = free_port()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mcp_everything_server", "--port", str(port)),
            env={**os.environ, "PYTHONPATH": str(SERVER)},
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        await _answers(port, process)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def direct(server: str) -> AsyncIterator[str]:
    """A URL that leads to the server."""
    async with forwarding(server, {}) as url:
        yield url


@asynccontextmanager
async def through(server: str, home: Path) -> AsyncIterator[str]:
    """A URL that leads to the server's endpoint at a gateway, whose policy allows everything that was pinned.

    Raises:
        SuiteError: the gateway offers nothing of it.
    """
    policy = home / "policy"
    (policy / "handrail").mkdir(parents=True)
    (policy / "handrail" / "decisions.rego").write_text(_ALLOW)
    hand: dict[str, Any] = {"adapter": "mcp", "url": server, "private_network": True}
    settings = Settings(home=home / "home", server={"port": 0}, policy={"bundle": policy}, hands={HAND: hand})  # type: ignore[arg-type]
    gateway = build(settings)
    async with serving(create_app(gateway), settings) as port, aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:  # whoever comes early waits for the start
            answer.raise_for_status()
        made = await gateway.directory.bootstrap(
            [NewPrincipal("suite", ["agent"]), NewPrincipal("root", ["security_admin"])]
        )
        keys = {str(one["principal"]["id"]): str(one["api_key"]["token"]) for one in made}
        await gateway.hands.settled()
        shown = gateway.hands.describe_one("default", HAND)
        if shown["offered_digest"] is None:
            raise SuiteError(f"the gateway cannot ask the server: {shown['problem']}")
        root = await gateway.directory.principal("default", "root")
        await gateway.hands.pin(HAND, shown["offered_digest"], root)
        async with forwarding(
            f"http://127.0.0.1:{port}/mcp/{HAND}", {"authorization": f"Bearer {keys['suite']}"}
        ) as url:
            yield url


async def _answers(port: int, process: asyncio.subprocess.Process) -> None:
    async def listens() -> bool:
        if process.returncode is not None:
            raise SuiteError("the everything-server ended; see its log")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    await until(listens)
