"""A whole gateway over a database that is about to fail: real log, keys, policy, HTTP, and a hand that counts."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from handrail import Plan, Signer, SigningKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.app import build
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory_rows import NewPrincipal
from gateway.web.asgi import create_app
from tests.web.conftest import serving

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 40}},
    "required": ["name"],
    "additionalProperties": False,
}
ACTION = {"method": "GET", "path": "/act", "args_schema": SCHEMA, "side_effects": "none", "idempotent": True}


@dataclass
class World:
    gateway: Gateway
    http: httpx2.AsyncClient
    signer: Signer
    token: str
    acted: list[str] = field(default_factory=list)
    """What the hand did, by the name in the call."""

    async def submit(self, name: str) -> tuple[int, Any]:
        """One plan of one step; status and body of the answer."""
        plan = Plan()
        plan.step("tool", "act", {"name": name})
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/jose"}
        answer = await self.http.post("/v1/plans?wait=30", headers=headers, content=self.signer.sign(plan))
        return answer.status_code, answer.json()

    async def show(self, plan_id: str) -> int:
        """Status of the answer to a question about a plan."""
        headers = {"authorization": f"Bearer {self.token}"}
        return (await self.http.get(f"/v1/plans/{plan_id}", headers=headers)).status_code

    async def acts(self, name: str) -> bool:
        """Whether a plan goes all the way to the hand and back."""
        status, body = await self.submit(name)
        return status == 200 and body["steps"][0]["status"] == "succeeded"

    async def ready(self) -> bool:
        return (await self.http.get("/readyz")).status_code == 200

    async def unready(self) -> bool:
        return not await self.ready()


@asynccontextmanager
async def governed(home: Path, database_url: str) -> AsyncIterator[World]:
    acted: list[str] = []

    async def act(request: Request) -> JSONResponse:
        acted.append(request.query_params["name"])
        return JSONResponse({"done": True})

    async with serving(Starlette(routes=[Route("/act", act)]), Settings(server={"port": 0})) as below:
        hand = {
            "adapter": "http",
            "base_url": f"http://127.0.0.1:{below}",
            "private_network": True,
            "actions": {"act": {**ACTION, "description": "Acts."}},
        }
        settings = Settings(
            home=home,
            server={"port": 0},
            database={"url": database_url},
            policy={"deadline_milliseconds": 2000},
            hands={"tool": hand},
        )
        # It looks into the database, and a wire to that may run in this very loop.
        gateway = await asyncio.to_thread(build, settings)
        async with (
            serving(create_app(gateway), settings) as port,
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
        ):
            assert (await http.get("/readyz")).status_code == 200
            people = [NewPrincipal("admin", ["security_admin", "operator"]), NewPrincipal("bot", ["agent"])]
            made = await gateway.directory.bootstrap(people)
            tokens = {view["principal"]["id"]: view["api_key"]["token"] for view in made}
            admin = await gateway.directory.authenticate(tokens["admin"], time.time())
            key = SigningKey.generate()
            await gateway.directory.add_issuer(admin, "brain", dict(key.public.public_jwk()), ["bot"])
            offered = await gateway.hands.offer("tool")
            await gateway.hands.pin("tool", offered.digest, admin)
            signer = Signer(issuer="brain", key=key, audience=settings.log.origin, tenant=admin.tenant, subject="bot")
            yield World(gateway, http, signer, tokens["bot"], acted)
