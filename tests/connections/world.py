"""A real gateway, a real authorization server, and an API that says whose token it was sent."""

import base64
import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import orjson
import uvicorn
from handrail import Plan, Signer, SigningKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.app import build
from gateway.console.routes import pages
from gateway.model import Principal, UnverifiedPlan
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from gateway.web.server import uvicorn_config
from tests.approvals.world import _listener, _served
from tests.identity.real import AUDIENCE, SECRET, RealProvider, log_in, running
from tests.identity.town import FIRST
from tests.ports import free_port
from tests.web.conftest import serving

SCHEMA: Final = {"type": "object", "properties": {"how": {"type": "string"}}, "additionalProperties": False}
ACTION: Final = {
    "method": "GET",
    "path": "/whoami",
    "args_schema": SCHEMA,
    "side_effects": "none",
    "idempotent": True,
    "description": "Says whose token it was sent.",
}
PEOPLE: Final = {
    "ann": "agent",
    "bob": "agent",
    "bot": "agent",
    "root": "security_admin",
    "op": "operator",
    "eve": "auditor",
    "cy": "approver",
    "pia": "privacy_officer",
}
HUB: Final = {
    "client_id": "hub",
    "client_secret": SECRET,
    "token_endpoint_auth_method": "client_secret_basic",
    "grant_types": ["authorization_code", "refresh_token"],
}


@dataclass
class Api:
    """What the API was sent.

    Attributes:
        meanwhile: is awaited while a call of the API is under way.
    """

    url: str = ""
    tokens: list[str] = field(default_factory=list)
    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def whoami(self, request: Request) -> Response:
        token = request.headers["authorization"].removeprefix("Bearer ")
        self.tokens.append(token)
        if self.meanwhile is not None:
            await self.meanwhile()
        echo = {"echo": token} if request.query_params.get("how") == "echo" else {}
        return JSONResponse({"sub": claims(token)["sub"], **echo})


def claims(token: str) -> dict[str, Any]:
    """What a JWT says; of a server that the test runs itself."""
    return dict(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")))


@dataclass
class World:
    """A gateway with its people."""

    gateway: Gateway
    url: str
    api: Api
    provider: RealProvider
    key: SigningKey
    people: Mapping[str, Principal]
    keys: Mapping[str, str]

    def bearer(self, who: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[who]}"}

    async def call(
        self, who: str, how: str = "none", *, caller: str | None = None, hand: str = "hub"
    ) -> dict[str, Any]:
        """One step of the hand in somebody's name; its view."""
        plan = Plan()
        plan.step(hand, "whoami", {"how": how})
        signer = Signer("brain", self.key, self.gateway.log.origin, "default", who)
        unverified = UnverifiedPlan(signer.sign(plan).encode(), self.people[caller or who], time.time())
        view = await self.gateway.pipeline.submit(unverified, wait_seconds=30)
        return {**view["steps"][0], "plan_id": view["plan_id"]}

    async def whose(self, who: str, **more: Any) -> str:
        """Whose token the API was sent for a call in somebody's name; the code of the failure where it failed."""
        step = await self.call(who, **more)
        return str(step["error"]["code"] if step["status"] == "failed" else step["result"]["structured"]["sub"])

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        """Entries of these types, oldest first."""
        with self.gateway.engine.connect() as connection:
            bodies = connection.exec_driver_sql("SELECT body FROM entries ORDER BY idx").scalars().all()
        return [entry for body in bodies if (entry := orjson.loads(bytes(body)))["type"] in kinds]

    async def states(self, *people: str) -> list[str]:
        """How the connection stands for each."""
        found = []
        async with web(self.url) as http:
            for who in people:
                answer = await http.get("/v1/connections/hub", headers=self.bearer(who))
                assert answer.status_code == 200, answer.text
                found.append(str(answer.json()["state"]))
        return found

    # --- a person at a browser ---------------------------------------------------------------------------------------

    def form(self, browser: httpx2.AsyncClient, path: str, **fields: str) -> Any:
        """Send a form as a page of ours does."""
        headers = {"origin": self.url, "sec-fetch-site": "same-origin"}
        return browser.post(f"{self.url}{path}", data=fields, headers=headers)

    async def enter(self, browser: httpx2.AsyncClient, who: str) -> httpx2.Response:
        """Log in to the pages with an API key."""
        entered: httpx2.Response = await self.form(browser, "/login", api_key=self.keys[who], next="/connections")
        return entered

    async def begin(self, browser: httpx2.AsyncClient, name: str = "hub") -> str:
        """Ask for a consent; the URL at the service."""
        page = await browser.get(f"{self.url}/connections")
        assert page.status_code == 200, page.text
        csrf = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
        assert csrf
        onward = await self.form(browser, f"/connections/{name}", csrf_token=csrf[1])
        assert onward.status_code == 200, onward.text
        link = re.search(r'<a href="([^"]+)" class="button primary"', onward.text)
        assert link, onward.text
        return link[1].replace("&amp;", "&")

    async def consented(self, url: str, account: str) -> str:
        """Go through the service's pages with an account there: the URL that leads back."""
        async with web() as elsewhere:
            return await log_in(elsewhere, url, None, account)

    async def connect(self, who: str, account: str | None = None) -> httpx2.Response:
        """All of it, in a browser of their own; the last page."""
        async with web() as browser:
            assert (await self.enter(browser, who)).status_code == 303
            return await browser.get(await self.consented(await self.begin(browser), account or who))


def web(url: str = "") -> httpx2.AsyncClient:
    """A browser, or a client of the API."""
    return httpx2.AsyncClient(base_url=url, timeout=60)


@asynccontextmanager
async def server(home: Path, hub: Mapping[str, Any] = HUB, lifetime_seconds: int = 300) -> AsyncIterator[RealProvider]:
    """The authorization server, which knows two gateways below ``home``."""
    uris = [f"http://localhost:{port_of(home / name)}/connections/hub/callback" for name in ("one", "two")]
    clients = [{**hub, "redirect_uris": uris}]
    async with running(FIRST, clients=clients, lifetime_seconds=lifetime_seconds) as provider:
        yield provider


def port_of(home: Path) -> int:
    """The port of the gateway of a home."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "gateway.port"
    if not file.exists():
        file.write_text(str(free_port()))
    return int(file.read_text())


def connection(provider: RealProvider, api: Api, **changes: Any) -> dict[str, Any]:
    """Settings of the connection."""
    return {
        "title": "The Hub",
        "issuer": provider.issuer,
        "client_id": "hub",
        "client_secret": "hub-client",
        "scopes": ("openid", "handrail"),
        "resource": AUDIENCE,
        "targets": (api.url,),
        "private_network": True,
        "timeout_seconds": 30,
        **changes,
    }


def hands(api: Api) -> dict[str, Any]:
    """Settings of the hand."""
    secrets = {"hub-token": {"connection": "hub"}}
    declared = {"adapter": "http", "base_url": api.url, "private_network": True, "actions": {"whoami": ACTION}}
    return {"hub": {**declared, "secrets": secrets}}


@asynccontextmanager
async def opened_api() -> AsyncIterator[Api]:
    """The API, on a port of its own."""
    api = Api()
    async with serving(Starlette(routes=[Route("/whoami", api.whoami)]), Settings(server={"port": 0})) as port:
        api.url = f"http://127.0.0.1:{port}"
        yield api


@asynccontextmanager
async def opened(
    home: Path,
    api: Api,
    provider: RealProvider,
    changes: Mapping[str, Any] | None = None,
    secret: str = SECRET,
    **settings: Any,
) -> AsyncIterator[World]:
    """A running gateway with its pages; its hand is pinned."""
    async with _gateway(home, api, provider, changes, settings) as (gateway, url):
        made = await gateway.directory.bootstrap([NewPrincipal(name, [role]) for name, role in PEOPLE.items()])
        keys = {one["principal"]["id"]: str(one["api_key"]["token"]) for one in made}
        people = {name: await gateway.directory.principal("default", name) for name in keys}
        key = SigningKey.generate()
        await gateway.directory.add_issuer(people["root"], "brain", key.public.jwk(), ["ann", "bob"])
        await gateway.secrets.set(people["root"], "hub-client", secret)
        await gateway.hands.settled()
        await gateway.hands.pin("hub", (await gateway.hands.offer("hub")).digest, people["op"])
        yield World(gateway, url, api, provider, key, people, keys)


@asynccontextmanager
async def joined(
    home: Path, first: World, changes: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[World]:
    """A second gateway of the same database, with the first one's people and keys."""
    shared = first.gateway.settings.home
    (home / "home").mkdir(parents=True)
    for name in ("master.key", "root.key"):
        shutil.copy(shared / name, home / "home" / name)
    for name in ("keys", "epochs"):
        (home / "home" / name).symlink_to(shared / name)
    async with _gateway(home, first.api, first.provider, changes, settings) as (gateway, url):
        await gateway.hands.settled()
        yield World(gateway, url, first.api, first.provider, first.key, first.people, first.keys)


@asynccontextmanager
async def _gateway(
    home: Path, api: Api, provider: RealProvider, changes: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> AsyncIterator[tuple[Gateway, str]]:
    port_of(home)
    listener = _listener(home / "gateway.port")
    url = f"http://localhost:{listener.getsockname()[1]}"
    configured = Settings(
        home=home / "home",
        server={"port": 0, "public_url": url},
        connections={"hub": connection(provider, api, **(changes or {}))},
        hands=hands(api),
        **settings,
    )
    gateway = build(configured)
    config: uvicorn.Config = uvicorn_config(create_app(gateway, pages(gateway)), configured)
    async with _served(config, listener), web() as http:
        assert (await http.get(f"{url}/healthz")).status_code == 200
        yield gateway, url
