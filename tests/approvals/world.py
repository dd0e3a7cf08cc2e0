"""A real gateway with its pages behind a real server, whose policy asks a person about everything."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.app import build
from gateway.console.routes import pages
from gateway.model import Answer, Principal, UnverifiedPlan
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from gateway.web.server import uvicorn_config
from gateway.webauthn import Assertion, SecurityKey, verify_registration
from tests.approvals.authenticator import Authenticator
from tests.pipeline.house import Brain
from tests.ports import free_port

POLICY = """package handrail

decisions contains decision if {
	some step in input.steps
	input.hands[step.hand].actions[step.action]
	decision := {
		"step": step.id,
		"effect": "ask",
		"reasons": [{"code": "test.ask", "message": data.handrail.duties.message}],
		"obligations": data.handrail.duties.obligations,
	}
}
"""
SCHEMA = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "body": {"type": "string"}, "links": {"type": "array"}},
    "required": ["to"],
    "additionalProperties": True,
}
PEOPLE = {"bot": "agent", "bob": "approver", "cy": "approver", "dee": "auditor", "root": "security_admin"}


@dataclass
class World:
    """What a test of the pages touches."""

    gateway: Gateway
    url: str
    http: httpx2.AsyncClient
    keys: dict[str, str]
    brain: Brain
    sent: list[dict[str, Any]] = field(default_factory=list)

    def bearer(self, who: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[who]}"}

    async def ask(self, args: Mapping[str, Any] | None = None, **step: Any) -> str:
        """A plan with one held step; the approval's id."""
        return (await self.ask_all([{"args": args or {"to": "ada@example.com", "body": "hello"}, **step}]))[0]

    async def ask_all(self, steps: list[dict[str, Any]]) -> list[str]:
        """A plan of held steps; the approvals' ids."""
        actions = [{"id": f"s{number}", "hand": "mail", "action": "send", **step} for number, step in enumerate(steps)]
        payload = self.brain.payload(*actions, sub="bot", aud=self.gateway.log.origin)
        caller = await self.gateway.directory.principal("default", "bot")
        plan = UnverifiedPlan(self.brain.sign(payload), caller, self.gateway.clock())
        view = await self.gateway.pipeline.submit(plan, wait_seconds=30)
        assert [one["status"] for one in view["steps"]] == ["held"] * len(steps), view
        return [one["approval_id"] for one in view["steps"]]

    async def approval(self, approval_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/approvals/{approval_id}", headers=self.bearer("dee"))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def entries(self, code: str) -> list[dict[str, Any]]:
        with self.gateway.engine.connect() as connection:
            rows = connection.exec_driver_sql(f"SELECT body FROM entries WHERE type = '{code}' ORDER BY idx")
            return [json.loads(row) for row in rows.scalars().all()]


def bundle(directory: Path, message: str = "A person must look at this.", **obligations: Any) -> Path:
    """A policy that asks about everything."""
    duties = directory / "handrail" / "duties"
    duties.mkdir(parents=True, exist_ok=True)
    (directory / "handrail" / "decisions.rego").write_text(POLICY)
    (duties / "data.json").write_text(json.dumps({"message": message, "obligations": obligations}))
    return directory


@asynccontextmanager
async def world(
    home: Path,
    *,
    message: str = "A person must look at this.",
    duties: Any = None,
    verify: ssl.SSLContext | bool = True,
    **settings: Any,
) -> AsyncIterator[World]:
    """Start everything on ``localhost`` and stop it. The same home again is a restart.

    Args:
        verify: by what the world's own client believes a gateway with ``server.tls``.
    """
    sent: list[dict[str, Any]] = []

    async def deliver(request: Request) -> JSONResponse:
        sent.append(await request.json())
        return JSONResponse({"sent": True})

    home.mkdir(parents=True, exist_ok=True)
    policy = bundle(home / "policy", message, **(duties or {}))
    upstream = Starlette(routes=[Route("/send", deliver, methods=["POST"])])
    below, listener = _listener(home / "upstream.port"), _listener(home / "gateway.port")
    async with _served(uvicorn.Config(upstream, log_config=None), below):
        action = {
            "method": "POST",
            "path": "/send",
            "args_schema": SCHEMA,
            "side_effects": "external",
            "description": "Sends one message.",
            "args": {"/to": "recipient", "/links/*": "url"},
        }
        hand = {
            "adapter": "http",
            "base_url": f"http://127.0.0.1:{below.getsockname()[1]}",
            "private_network": True,
            "actions": {"send": action},
        }
        scheme = "https" if settings.get("server", {}).get("tls") else "http"
        url = f"{scheme}://localhost:{listener.getsockname()[1]}"
        server = {"port": 0, "public_url": url, **settings.pop("server", {})}
        configured = Settings(
            home=home / "home",
            server=server,
            policy={"bundle": policy},
            hands={"mail": hand, **settings.pop("hands", {})},
            **settings,
        )
        gateway = build(configured)
        async with (
            _served(uvicorn_config(create_app(gateway, pages(gateway)), configured, tls=gateway.tls), listener),
            httpx2.AsyncClient(base_url=url, timeout=30, verify=verify) as http,
        ):
            assert (await http.get("/healthz")).status_code == 200
            keys, brain = await _people(gateway, home)
            yield World(gateway, url, http, keys, brain, sent)


def _listener(file: Path) -> socket.socket:
    """A socket on a port of this world's own, the same after a restart."""
    if not file.exists():
        file.write_text(str(free_port()))
    return socket.create_server(("127.0.0.1", int(file.read_text())))


@asynccontextmanager
async def _served(config: uvicorn.Config, listener: socket.socket) -> AsyncIterator[None]:
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
        listener.close()


async def _people(gateway: Gateway, home: Path) -> tuple[dict[str, str], Brain]:
    file = home / "people.json"
    if file.exists():
        return json.loads(file.read_text()), Brain()
    made = await gateway.directory.bootstrap([NewPrincipal(name, [role]) for name, role in PEOPLE.items()])
    keys = {str(one["principal"]["id"]): str(one["api_key"]["token"]) for one in made}
    file.write_text(json.dumps(keys))
    root, brain = await gateway.directory.principal("default", "root"), Brain()
    public = {**brain.key.as_dict(private=False), "kid": brain.kid, "alg": "Ed25519"}
    await gateway.directory.add_issuer(root, "brain", public, ["bot"])
    await gateway.hands.settled()
    offered = gateway.hands.describe_one("default", "mail")["offered_digest"]
    await gateway.hands.pin("mail", offered, root)
    return keys, brain


CHALLENGE = bytes(range(32))


async def person(here: World, who: str) -> Principal:
    return await here.gateway.directory.principal("default", who)


async def pseudonym(here: World, who: str) -> str:
    return (await person(here, who)).pseudonym


async def enrol(here: World, key: Authenticator, who: str = "bob", ticket: str | None = None) -> SecurityKey:
    party = here.gateway.approvals.party
    assert party is not None
    key.party = party
    directory = here.gateway.directory
    if ticket is None:
        ticket = (await directory.offer_enrolment(await person(here, "root"), who))["ticket"]
    client_data, data = key.registration(CHALLENGE)
    registered = verify_registration(client_data, data, challenge=CHALLENGE, party=party)
    return await directory.enrol(await person(here, who), ticket, registered, party)


async def asserted(here: World, key: Authenticator, approval_id: str, who: str = "bob", **changes: Any) -> Assertion:
    answer = changes.pop("answer", Answer.APPROVE)
    payload, _ = await here.gateway.approvals.challenge(approval_id, await person(here, who), answer)
    members = changes.pop("members", {})
    if members:
        payload = json.dumps({**json.loads(payload), **members}, sort_keys=True, separators=(",", ":")).encode()
    return key.sign(payload, **changes)
