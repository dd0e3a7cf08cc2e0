"""A real gateway beside the stand-in for Anthropic's sessions API."""

import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.app import build
from gateway.managed_agents.follower import Follower
from gateway.model import EMPTY, Answer, Principal
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from tests.approvals.world import _listener, _served
from tests.managed_agents.stand_in import ASK, KEY, Session, StandIn, custom, mcp_toolset, toolset
from tests.until import until
from tests.web.conftest import serving

POLICY: Final = """package handrail

decisions contains decision if {
	some step in input.steps
	effect := effects[step.action]
	decision := {
		"step": step.id,
		"effect": effect,
		"reasons": [{"code": "test.rule", "message": sprintf("It is %v.", [effect])}],
		"obligations": {},
	}
}

effects := {
	"read": "allow", "bash": "allow", "look": "allow", "big": "allow", "run": "allow",
	"send": "ask", "write": "ask", "merge": "ask",
	"wipe": "deny", "edit": "deny",
}
"""
ANYTHING: Final = {"type": "object", "additionalProperties": True}
PEOPLE: Final = {
    "helper": "agent",
    "bob": "approver",
    "op": "operator",
    "root": "security_admin",
    "dee": "auditor",
}
AGENT: Final = "agent_1"
NOTHING: Final = {"side_effects": "none", "description": "Runs a command."}
ACTIONS: Final = ("read", "send", "wipe", "big")


@dataclass
class Crm:
    """A system of the operator's own, which the hand ``crm`` asks."""

    url: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)

    async def take(self, request: Request) -> JSONResponse:
        self.calls.append((request.url.path, await request.json()))
        if request.url.path == "/big":
            return JSONResponse({"text": "x" * 20_000})
        return JSONResponse({"answered": request.url.path, "with": self.calls[-1][1]})


@dataclass
class World:
    """What a test touches."""

    gateway: Gateway
    service: StandIn
    url: str
    keys: Mapping[str, str]
    people: Mapping[str, Principal]
    crm: "Crm"

    @property
    def calls(self) -> list[tuple[str, Any]]:
        """What the CRM was asked for."""
        return self.crm.calls

    def session(self, session_id: str = "sesn_1", agent: str = AGENT) -> Session:
        """A session there whose agent asks about everything."""
        if agent not in self.service.agents:
            tools = (toolset(ASK), mcp_toolset("github", ASK), custom("crm__read"))
            self.service.agent(agent, *tools)
        return self.service.session(agent, session_id)

    async def follow(self, session: Session) -> Follower:
        """Have a session followed, and wait until its stream is open."""
        opened = self.service.opened
        await self.gateway.managed_agents.follow(self.people["op"], "cloud", session.id)
        await until(lambda: self.service.opened > opened and session.streams)
        return await self.follower(session)

    async def follower(self, session: Session) -> Follower:
        """Who follows a session here."""
        followers = self.gateway.managed_agents.connectors["cloud"]._followers
        await until(lambda: session.id in followers)
        return followers[session.id][0]

    async def answers(self, session: Session, use_id: str) -> list[dict[str, Any]]:
        """What the service took for a tool use, once there is something, and this gateway knows that it took it."""
        await until(lambda: self.service.answers(session, use_id))
        await self.state(session, use_id, "answered")
        return self.service.answers(session, use_id)

    async def state(self, session: Session, use_id: str, *states: str) -> dict[str, Any]:
        """A tool use as the gateway shows it, once it is in one of the states."""

        async def look() -> Any:
            shown = await self.gateway.managed_agents.show(self.people["op"], "cloud", session.id)
            return next((u for u in shown["tool_uses"] if u["event_id"] == use_id and u["state"] in states), None)

        found: dict[str, Any] = await until(look)
        return found

    async def shown(self, session: Session) -> dict[str, Any]:
        """A session as the gateway shows it."""
        return await self.gateway.managed_agents.show(self.people["op"], "cloud", session.id)

    async def plan_of(self, session: Session, use_id: str) -> dict[str, Any]:
        """The plan that a tool use became, once it is on record."""
        row = None

        async def look() -> Any:
            nonlocal row
            shown = await self.gateway.managed_agents.show(self.people["op"], "cloud", session.id)
            row = next((u for u in shown["tool_uses"] if u["event_id"] == use_id and u["plan_id"]), None)
            return row and (await self.gateway.pipeline.revive(row["plan_id"])) is not None

        await until(look)
        assert row is not None
        plan = await self.gateway.pipeline.load(row["plan_id"])
        return plan.view()

    async def approve(self, session: Session, use_id: str, answer: Answer = Answer.APPROVE) -> None:
        """Have a person answer what is held."""

        async def held() -> Any:
            plan = await self.plan_of(session, use_id)
            return next(
                (s.get("approval_id") for s in plan["steps"] if s["id"] == use_id and s["status"] == "held"), None
            )

        approval = await until(held)
        shown = {"authorization": f"Bearer {self.keys['bob']}"}
        async with httpx2.AsyncClient(base_url=self.url, timeout=60) as http:
            said = await http.post(f"/v1/approvals/{approval}", headers=shown, json={"answer": str(answer)})
            assert said.status_code == 200, said.text

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        """Entries of these types, oldest first."""
        with self.gateway.engine.connect() as connection:
            bodies = connection.exec_driver_sql("SELECT body FROM entries ORDER BY idx").scalars().all()
        return [entry for body in bodies if (entry := orjson.loads(bytes(body)))["type"] in kinds]

    def count(self, metric: str, *labels: str) -> float:
        """A metric of the connector."""
        counter = getattr(self.gateway.metrics, metric).labels("cloud", *labels)
        return float(counter._value.get())


@asynccontextmanager
async def opened(
    home: Path,
    service: StandIn,
    *,
    like: Path | None = None,
    crm: Crm | None = None,
    url: str | None = None,
    clock: Callable[[], float] | None = None,
    policy: str = POLICY,
    more_hands: Mapping[str, Mapping[str, Any]] = EMPTY,
    **changes: Any,
) -> AsyncIterator[World]:
    """A running gateway. The same home again is a restart.

    Args:
        like: home of another gateway whose database and keys this one shares.
        crm: that gateway's CRM.
        url: of a database that is none of the home's own.
        more_hands: beside those that all have.
        changes: of the connector's settings.
    """
    home.mkdir(parents=True, exist_ok=True)
    rules = home / "policy" / "handrail"
    rules.mkdir(parents=True, exist_ok=True)
    (rules / "decisions.rego").write_text(policy)
    async with _crm(home) if crm is None else contextlib.nullcontext(crm) as asked:
        declared = {"args_schema": ANYTHING, "side_effects": "none", "description": "One."}
        hands = {
            "crm": {
                "adapter": "http",
                "base_url": asked.url,
                "private_network": True,
                "actions": {name: {**declared, "method": "POST", "path": f"/{name}"} for name in ACTIONS},
            },
            "claude": {"adapter": "client", "actions": dict.fromkeys(("bash", "read", "write", "edit"), declared)},
            "github": {"adapter": "client", "actions": dict.fromkeys(("look", "merge"), declared)},
        }
        if "environment" in changes:
            text = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
            run = {"argv": ("sh", "-c", "{command}"), "args_schema": text, "deadline_seconds": 600, **NOTHING}
            hands["shell"] = {"adapter": "process", "actions": {"run": run, "wipe": run}}
        hands |= more_hands
        connector = {
            "on_behalf_of": "helper",
            "api_key": "anthropic",
            "url": service.url,
            "private_network": True,
            "toolset_hand": "claude",
            "mcp_hands": {"github": "github"},
            "discover_seconds": 0.05,
            "timeout_seconds": 1.0,
            **changes,
        }
        if like is not None:
            (home / "home").mkdir(exist_ok=True)
            for name in ("master.key", "root.key"):
                shutil.copy(like / "home" / name, home / "home" / name)
            for name in ("keys", "epochs"):
                if not (home / "home" / name).exists():
                    (home / "home" / name).symlink_to(like / "home" / name)
        database = {} if url is None else {"url": url}
        if like is not None and url is None:
            database = {"url": f"sqlite:///{like / 'home' / 'handrail.db'}"}
        configured = Settings(
            home=home / "home",
            database=database,
            server={"port": 0},
            policy={"bundle": home / "policy"},
            hands=hands,
            managed_agents={"cloud": connector},
        )
        gateway = build(configured) if clock is None else build(configured, clock)
        for one in gateway.managed_agents.connectors.values():
            one.parts.pace_seconds = 0.02
        async with serving(create_app(gateway), configured) as port:
            async with httpx2.AsyncClient(timeout=60) as http:
                assert (await http.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
            people, keys = await _people(gateway, (like or home) / "people.json", hands)
            yield World(gateway, service, f"http://127.0.0.1:{port}", keys, people, asked)


@asynccontextmanager
async def _crm(home: Path) -> AsyncIterator[Crm]:
    crm = Crm()
    app = Starlette(routes=[Route(f"/{name}", crm.take, methods=["POST"]) for name in ACTIONS])
    listener = _listener(home / "crm.port")
    async with _served(uvicorn.Config(app, log_config=None), listener):
        crm.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield crm


async def _people(
    gateway: Gateway, file: Path, hands: Mapping[str, Any]
) -> tuple[dict[str, Principal], dict[str, str]]:
    if not file.exists():
        made = await gateway.directory.bootstrap([NewPrincipal(name, [role]) for name, role in PEOPLE.items()])
        file.write_text(json.dumps({one["principal"]["id"]: str(one["api_key"]["token"]) for one in made}))
        root = await gateway.directory.principal("default", "root")
        await gateway.secrets.set(root, "anthropic", KEY)
        await gateway.hands.settled()
        op = await gateway.directory.principal("default", "op")
        await gateway.secrets.set(root, "environment", KEY)
        for hand in hands:
            await gateway.hands.pin(hand, (await gateway.hands.offer(hand)).digest, op)
    keys = json.loads(file.read_text())
    await gateway.hands.settled()
    return {name: await gateway.directory.principal("default", name) for name in keys}, keys
