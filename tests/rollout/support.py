"""A whole gateway in this process (real log, rows, keys, policy and an HTTP hand), two people who change its policy,
and agents that sign plans."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.app import build
from gateway.model import EMPTY, Principal, UnverifiedPlan
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.two_person import Kind
from gateway.web.asgi import create_app
from tests.pipeline.house import ORIGIN, Brain, step
from tests.policy.support import write
from tests.web.conftest import serving

RULES = """package handrail

# METADATA
# custom:
#   severity: low
decisions contains {"step": s.id, "effect": "allow", "reasons": [{"code": "test.known", "message": "Known."}]} if {
	some s in input.steps
	input.hands[s.hand].actions[s.action]
}

# METADATA
# custom:
#   severity: high
decisions contains {"step": s.id, "effect": "deny", "reasons": [{"code": "test.write", "message": "No writing."}]} if {
	some s in input.steps
	s.action == "write"
}

# METADATA
# custom:
#   severity: critical
decisions contains {"step": s.id, "effect": "deny", "reasons": [{"code": "test.erase", "message": "Never."}]} if {
	some s in input.steps
	s.action == "erase"
}

decisions contains {"step": s.id, "effect": "deny", "reasons": [{"code": "test.silent", "message": "No."}]} if {
	some s in input.steps
	s.action == "odd"
}

# METADATA
# custom:
#   severity: medium
decisions contains {
	"step": s.id, "effect": "ask", "reasons": [{"code": "test.ask", "message": "Ask."}],
	"obligations": {"approver_role": "approver"},
} if {
	some s in input.steps
	s.action == "change"
}

decisions contains {"step": s.id, "effect": "deny", "reasons": [{"code": "test.unknown", "message": "Unknown."}]} if {
	some s in input.steps
	id := s.id
	not known[id]
}

known contains s.id if {
	some s in input.steps
	input.hands[s.hand].actions[s.action]
}
"""
ACTIONS = ("read", "write", "erase", "odd", "change")
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": False}


@dataclass
class Place:
    """A running gateway and the people around it."""

    gateway: Gateway
    brain: Brain
    people: Mapping[str, Principal]
    tokens: Mapping[str, dict[str, str]]
    http: httpx2.AsyncClient
    bundle: Path
    served: list[str] = field(default_factory=list)

    async def plan(
        self, *actions: dict[str, Any], who: str = "ada", wait: float = 20.0, **claims: Any
    ) -> dict[str, Any]:
        """Sign and submit; wait until it is done or nothing moves."""
        raw = self.brain.sign(self.brain.payload(*actions, sub=who, **claims))
        return await self.gateway.pipeline.submit(UnverifiedPlan(raw, self.people[who], time.time()), wait_seconds=wait)

    async def do(self, action: str, who: str = "ada") -> dict[str, Any]:
        """One step; its view."""
        view = await self.plan(step("s", action, "tool"), who=who)
        return view["steps"][0]

    async def two_people(self, kind: Kind, document: dict[str, Any]) -> dict[str, Any]:
        """Ann proposes, Oli activates."""
        made = await self.gateway.proposals.propose(self.people["ann"], kind, document)
        return await self.gateway.proposals.activate(
            made["id"], self.people["oli"], document_sha256=made["document_sha256"]
        )

    async def get(self, path: str, who: str = "oli") -> Any:
        answer = await self.http.get(path, headers=self.tokens[who])
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def metrics(self) -> str:
        return (await self.http.get("/metrics", headers=self.tokens["oli"])).text

    def entries(self, *types: str) -> list[dict[str, Any]]:
        with self.gateway.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT body FROM entries ORDER BY idx").scalars().all()
        return [entry for entry in map(json.loads, rows) if not types or entry["type"] in types]


def settings(
    home: Path, bundle: Path, upstream: int, rollout: Mapping[str, Any], url: str | None = None, **policy: Any
) -> Settings:
    actions = {
        name: {"method": "POST", "path": f"/{name}", "args_schema": SCHEMA, "side_effects": "reversible"}
        for name in ACTIONS
    }
    hand = {"adapter": "http", "base_url": f"http://127.0.0.1:{upstream}", "private_network": True, "actions": actions}
    return Settings(
        home=home,
        server={"port": 0},
        log={"origin": ORIGIN},
        policy={
            "bundle": bundle,
            "workers": 1,
            "deadline_milliseconds": 2000,
            "reload_interval_seconds": 3600,
            **policy,
        },
        database={"url": url},
        rollout=dict(rollout),
        hands={"tool": hand, "other": hand},
    )


@asynccontextmanager
async def open_place(
    directory: Path,
    *,
    rules: str = RULES,
    brain: Brain | None = None,
    agents: int = 2,
    rollout: Mapping[str, Any] = EMPTY,
    url: str | None = None,
    **policy: Any,
) -> AsyncIterator[Place]:
    """Opening the same directory again, with the same brain, is a restart; with another one's database, ``url``, and a
    copy of its home, it is a second gateway."""
    served: list[str] = []

    async def tool(request: Request) -> JSONResponse:
        served.append(request.url.path.strip("/"))
        return JSONResponse({"done": request.url.path})

    brain = brain or Brain()
    bundle = directory / "bundle"
    if not bundle.exists():
        write(bundle, {"rules.rego": rules})
    upstream = Starlette(routes=[Route("/{path:path}", tool, methods=["POST"])])
    async with serving(upstream, Settings(server={"port": 0})) as below:
        gateway = build(settings(directory / "home", bundle, below, rollout, url, **policy))
        async with (
            serving(create_app(gateway), gateway.settings) as port,
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
        ):
            assert (await http.get("/healthz")).status_code == 200
            people, tokens = await _populate(gateway, brain, directory, agents)
            yield Place(gateway, brain, people, tokens, http, bundle, served)


async def _populate(
    gateway: Gateway, brain: Brain, directory: Path, agents: int
) -> tuple[dict[str, Principal], dict[str, dict[str, str]]]:
    roles = {"adm": ["security_admin"], "ann": ["author"], "oli": ["operator"], "bob": ["approver"], "ada": ["agent"]}
    roles |= {f"agent{number}": ["agent"] for number in range(agents)}
    kept = directory / "tokens.json"
    first = not kept.exists()
    if first:
        added = await gateway.directory.bootstrap([NewPrincipal(name, given) for name, given in roles.items()])
        kept.write_text(json.dumps({view["principal"]["id"]: view["api_key"]["token"] for view in added}))
    tokens = json.loads(kept.read_text())
    people = {name: await gateway.directory.authenticate(token, time.time()) for name, token in tokens.items()}
    if first:
        jwk = {name: value for name, value in brain.key.as_dict(private=False).items() if name in {"kty", "crv", "x"}}
        speaks_for = [name for name, given in roles.items() if given == ["agent"]]
        await gateway.directory.add_issuer(people["adm"], brain.issuer, jwk, speaks_for)
    await gateway.hands.settled()
    for hand in ("tool", "other"):
        offered = await gateway.hands.offer(hand)  # the tool's port is another after a restart
        await gateway.hands.pin(hand, offered.digest, people["oli"])
    headers = {name: {"authorization": f"Bearer {token}"} for name, token in tokens.items()}
    return people, headers
