"""A gateway with brains behind the stand-in of the Messages API; a desk of tools that answer, wait or are denied."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import func, select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from audit.tables import entries
from gateway.app import build
from gateway.model import Principal, Shown
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from tests.anthropic_api.server import StandIn
from tests.until import until
from tests.web.conftest import serving

ROOT = Path(__file__).resolve().parents[2]
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
PEOPLE = {"root": "security_admin", "op": "operator", "bot": "agent", "rival": "agent", "bob": "approver"}
KEY = "claude-key"


@dataclass
class Desk:
    """The tools' other end.

    Attributes:
        calls: path and body of each call.
        hold: while it is not set, ``/slow`` does not answer.
        says: what ``/look`` answers.
    """

    calls: list[tuple[str, Any]] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    says: Any = field(default_factory=lambda: {"seen": True})
    url: str = ""

    async def handle(self, request: Request) -> JSONResponse:
        self.calls.append((request.url.path, await request.json()))
        if request.url.path == "/slow":
            self.reached.set()
            await self.hold.wait()
        return JSONResponse(self.says)

    def hand(self) -> dict[str, Any]:
        """Its declaration."""

        def action(name: str, effects: str) -> dict[str, Any]:
            return {
                "method": "POST",
                "path": f"/{name}",
                "args_schema": TEXT,
                "side_effects": effects,
                "description": f"{name} at the desk",
            }

        actions = {
            "look": action("look", "none"),
            "slow": action("slow", "none"),
            "keep": action("keep", "reversible"),  # a person is asked
            "send": action("send", "external"),  # denied: no grant allows it
        }
        return {"adapter": "http", "base_url": self.url, "private_network": True, "actions": actions}


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    """A desk that serves."""
    one = Desk()
    app = Starlette(routes=[Route("/{name}", one.handle, methods=["POST"])])
    async with serving(app, Settings(server={"port": 0})) as port:
        one.url = f"http://127.0.0.1:{port}"
        yield one
        one.hold.set()


def model_hand(url: str, **more: Any) -> dict[str, Any]:
    """The declaration of a model's hand."""
    secret = {KEY: {"place": "header", "parameter": "x-api-key"}}
    return {
        "adapter": "anthropic",
        "base_url": url,
        "private_network": True,
        "secrets": secret,
        **more,
    }


@dataclass
class World:
    gateway: Gateway
    url: str
    http: httpx2.AsyncClient
    keys: dict[str, str]
    api: StandIn
    desk: Desk

    async def json(self, method: str, path: str, body: Any = None, *, who: str = "bot", expect: int = 200) -> Any:
        headers = {"authorization": f"Bearer {self.keys[who]}"}
        answer = await self.http.request(method, path, headers=headers, json=body)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def begin(self, prompt: str = "Look at the desk.", *, who: str = "bot", **more: Any) -> str:
        view = await self.json("POST", "/v1/runs", {"prompt": prompt, **more}, who=who, expect=202)
        return str(view["run_id"])

    async def ended(self, run_id: str) -> dict[str, Any]:
        return await self.reaches(run_id, "done", "failed", "cancelled")

    async def reaches(self, run_id: str, *statuses: str) -> dict[str, Any]:
        async def there() -> Any:
            view = await self.json("GET", f"/v1/runs/{run_id}")
            return view if view["status"] in statuses else None

        return dict(await until(there))

    async def run(self, prompt: str = "Look at the desk.", **more: Any) -> dict[str, Any]:
        return await self.ended(await self.begin(prompt, **more))

    async def events(self, run_id: str, after: int = 0) -> list[tuple[int, str, Any]]:
        """What the gateway tells of a run from an event on, until its end."""
        headers = {"authorization": f"Bearer {self.keys['bot']}", "last-event-id": str(after)}
        answer = await self.http.get(f"/v1/runs/{run_id}/events", headers=headers)
        found = []
        for block in answer.text.split("\n\n"):
            said = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "data" in said:
                found.append((int(said["id"]), said["event"], json.loads(said["data"])))
        return found

    def recorded(self, kind: str) -> list[dict[str, Any]]:
        with self.gateway.engine.connect() as connection:
            found = connection.execute(select(entries.c.body).where(entries.c.type == kind).order_by(entries.c.idx))
            return [json.loads(body) for body in found.scalars()]

    def count(self, kind: str) -> int:
        with self.gateway.engine.connect() as connection:
            query = select(func.count()).select_from(entries).where(entries.c.type == kind)
            return int(connection.execute(query).scalar_one())

    def shown(self, who: str = "bot") -> Shown:
        """By what somebody calls."""
        return Shown(key_id=self.keys[who].split("_")[1])

    async def person(self, name: str) -> Principal:
        return await self.gateway.directory.principal("default", name)


def rules(home: Path) -> Path:
    """The shipped policies, and a grant: agents may keep things at the desk, where a person agrees."""
    directory = home / "policies"
    if not directory.exists():
        shutil.copytree(ROOT / "policies", directory)
        grants = directory / "handrail" / "grants" / "data.json"
        grant = {"roles": ["agent"], "hand": "desk", "actions": ["keep"]}
        grants.write_text(json.dumps({**json.loads(grants.read_text()), "table": [grant]}))
    return directory


def settings_of(home: Path, api: StandIn, at: Desk, **more: Any) -> Settings:
    """Of a gateway with the brain ``claude`` and the desk."""
    if "like" in more:
        _share(more.pop("like"), home)
    hands = {"claude": model_hand(api.url), "desk": at.hand(), **more.pop("hands", {})}
    brains = more.pop("brains", {"claude": {"model": "claude-opus-4-6"}})
    policy = {"bundle": rules(home)}
    return Settings(home=home, server={"port": 0}, policy=policy, hands=hands, brains=brains, **more)


@asynccontextmanager
async def world(home: Path, api: StandIn, at: Desk, **more: Any) -> AsyncIterator[World]:
    """A gateway that serves, with its people and its hands pinned. The same home again is a restart.

    Args:
        more: of its settings; ``like``: the home of another gateway whose keys it shares, as of one database.
    """
    settings = settings_of(home, api, at, **more)
    gateway = build(settings)
    async with serving(create_app(gateway), settings) as port:
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
            assert (await http.get("/readyz")).status_code == 200
            keys = await _people(gateway, home)
            yield World(gateway, url, http, keys, api, at)


def _share(other: Path, home: Path) -> None:
    home.mkdir()
    for name in ("master.key", "root.key", "people.json"):
        shutil.copy(other / name, home / name)
    for name in ("keys", "epochs"):
        (home / name).symlink_to(other / name)


async def _people(gateway: Gateway, home: Path) -> dict[str, str]:
    file = home / "people.json"
    await gateway.hands.settled()
    if file.exists():
        return dict(json.loads(file.read_text()))
    made = await gateway.directory.bootstrap([NewPrincipal(name, [role]) for name, role in PEOPLE.items()])
    keys = {str(one["principal"]["id"]): str(one["api_key"]["token"]) for one in made}
    file.write_text(json.dumps(keys))
    root = await gateway.directory.principal("default", "root")
    for hand in gateway.settings.hands:
        offer = await gateway.hands.offer(hand)
        await gateway.hands.pin(hand, offer.digest, root)
    await gateway.secrets.set(root, KEY, StandIn().key)
    return keys


def sent(api: StandIn, number: int = -1) -> Mapping[str, Any]:
    """The body of a request to the model."""
    return dict(api.asked[number].json)
