"""The two ways to the everything-server of the ``mcp`` SDK: directly, and through a gateway that allows all of it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from gateway.app import build
from gateway.mcp_methods import McpMethod, McpQuestion
from gateway.model import EMPTY
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from tests.mcp_conformance.forwarder import forwarding
from tests.mcp_conformance.suite import ROOT, SuiteError
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
    methods = {str(method): {"side_effects": "none"} for method in (*McpMethod, *McpQuestion)}
    hand = {
        "adapter": "mcp",
        "url": server,
        "private_network": True,
        "actions": methods,
        "mcp": {"progress": True, "logging": True},
    }
    async with (
        governed({HAND: hand}, home) as (gateway, key),
        forwarding(f"{gateway}/mcp/{HAND}", {"authorization": f"Bearer {key}"}) as url,
    ):
        yield url


@asynccontextmanager
async def governed(
    hands: Mapping[str, Mapping[str, Any]], home: Path, more: Mapping[str, str] = EMPTY
) -> AsyncIterator[tuple[str, str]]:
    """A gateway with these hands, all pinned: its URL, and the key of an agent. Its policy allows everything.

    Args:
        more: further modules of the policy, by file.

    Raises:
        SuiteError: the gateway offers nothing of a hand.
    """
    policy = home / "policy"
    (policy / "handrail").mkdir(parents=True)
    for name, text in {"decisions.rego": _ALLOW, **more}.items():
        (policy / "handrail" / name).write_text(text)
    settings = Settings(home=home / "home", server={"port": 0}, policy={"bundle": policy}, hands=hands)  # type: ignore[arg-type]
    gateway = build(settings)
    async with serving(create_app(gateway), settings) as port, aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:  # whoever comes early waits for the start
            answer.raise_for_status()
        made = await gateway.directory.bootstrap(
            [NewPrincipal("suite", ["agent"]), NewPrincipal("root", ["security_admin"])]
        )
        keys = {str(one["principal"]["id"]): str(one["api_key"]["token"]) for one in made}
        await gateway.hands.settled()
        root = await gateway.directory.principal("default", "root")
        for hand in hands:
            shown = gateway.hands.describe_one("default", hand)
            if shown["offered_digest"] is None:
                raise SuiteError(f"the gateway cannot ask the server: {shown['problem']}")
            await gateway.hands.pin(hand, shown["offered_digest"], root)
        yield f"http://127.0.0.1:{port}", keys["suite"]


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
