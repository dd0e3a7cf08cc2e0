"""The real program with one agent and one slow tool, in a process that a test may stop and start."""

import asyncio
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from handrail import Plan, Signer, SigningKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway import setup
from gateway.settings import load
from tests.cli import real
from tests.client.stand_in import serving

ORIGIN, ISSUER = "handrail.test/limits", "agent"
TOOL_SECONDS = 1.5
"""How long the slow action of the tool takes."""
CONFIG = """
[log]
origin = "{origin}"
[hands.git]
adapter = "http"
base_url = "{url}"
private_network = true
[hands.git.actions.git_status]
method = "GET"
path = "/status"
side_effects = "none"
args_schema = {{ type = "object", properties = {{ q = {{ type = "string" }} }}, additionalProperties = false }}
[hands.git.actions.git_log]
method = "GET"
path = "/slow"
side_effects = "none"
args_schema = {{ type = "object", properties = {{ q = {{ type = "string" }} }}, additionalProperties = false }}
"""


@dataclass
class Place:
    """A home, the program that serves it, and what its tool was asked.

    Attributes:
        asked: how often the tool was asked with each ``q``.
    """

    directory: Path
    environment: dict[str, str]
    asked: Counter[str] = field(default_factory=Counter)
    keys: dict[str, str] = field(default_factory=dict)
    url: str = ""
    process: "subprocess.Popen[str] | None" = None
    signer: Signer | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def start(self, **settings: str) -> "subprocess.Popen[str]":
        """Serve, at the port of before."""
        port = self.url.rpartition(":")[2] or "0"
        shared = {f"HANDRAIL_{name.upper()}": value for name, value in settings.items()}
        environment = {**self.environment, "HANDRAIL_SERVER__PORT": port, **shared}
        self.process = subprocess.Popen(real.SERVE, env=environment, stdout=subprocess.PIPE, text=True)
        self.url = real.listening(self.process)
        return self.process

    def stopped(self, seconds: float = 60) -> int:
        """Wait for the end of the process; its code."""
        assert self.process is not None
        code = self.process.wait(seconds)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def kill(self) -> None:
        """End it, however it stands."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.stopped()

    def plan(self, q: str, action: str = "git_status") -> str:
        """A signed plan of one step."""
        plan = Plan()
        plan.step("git", action, {"q": q})
        assert self.signer is not None
        return self.signer.sign(plan)

    def headers(self, who: str = "agent") -> dict[str, str]:
        """Of a request of somebody."""
        return {"authorization": f"Bearer {self.keys[who]}"}

    def client(self, who: str = "agent", address: str = "127.0.0.1") -> httpx2.AsyncClient:
        """Somebody, at an address of this machine."""
        transport = httpx2.AsyncHTTPTransport(local_address=address, limits=httpx2.Limits(max_connections=100))
        return httpx2.AsyncClient(base_url=self.url, headers=self.headers(who), transport=transport, timeout=60)


@contextmanager
def place(directory: Path, more: str = "", **others: str) -> Iterator[Place]:
    """A home that was set up, and whose program runs.

    Args:
        more: what its configuration has beside :data:`CONFIG`.
        others: principals beside the agent, with their roles.
    """
    file, home = directory / "handrail.toml", directory / "home"
    environment = {**os.environ, "HANDRAIL_HOME": str(home), "HANDRAIL_CONFIG": str(file)}
    found = Place(directory, environment)

    async def tool(request: Request) -> JSONResponse:
        found.asked[request.query_params["q"]] += 1
        if request.url.path == "/slow":
            await asyncio.sleep(TOOL_SECONDS)
        return JSONResponse({"q": request.query_params["q"]})

    with serving(Starlette(routes=[Route("/{path:path}", tool)])) as url:
        file.write_text(CONFIG.format(url=url, origin=ORIGIN) + more)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HANDRAIL_HOME", str(home))
            token = str(setup.run(load(file)).token)
        found.start()
        try:
            stored: dict[str, Any] = {
                "url": found.url,
                "default": "agent",
                "principals": {"admin": {"api_key": token}},
            }
            real.populate(home, stored, {"agent": "agent", **others}, "agent", ISSUER)
            found.keys = {name: one["api_key"] for name, one in stored["principals"].items()}
            found.signer = Signer(ISSUER, SigningKey.load(home / "agent.jwk"), ORIGIN, "default", "agent")
            yield found
        finally:
            found.kill()
