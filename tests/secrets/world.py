"""A real gateway whose hand names secrets, and the API behind that hand, which does with them as it likes."""

import base64
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import orjson
from handrail import Plan, Signer, SigningKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateway.app import build
from gateway.model import Principal, UnverifiedPlan
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from tests.until import until
from tests.web.conftest import serving

SCHEMA = {"type": "object", "properties": {"how": {"type": "string"}}, "additionalProperties": False}
ACTION = {"method": "GET", "path": "/call", "args_schema": SCHEMA, "side_effects": "none", "idempotent": True}


@dataclass
class Api:
    """What the API was sent.

    Attributes:
        meanwhile: is awaited while a call of the API is under way.
    """

    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def call(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        self.targets.append(str(request.url))
        if self.meanwhile is not None:
            await self.meanwhile()
        got = request.headers.get("authorization") or request.headers.get("x-api-key") or request.query_params["key"]
        value = got.removeprefix("Bearer ")
        return echoed(request.query_params.get("how", "none"), value)


def echoed(how: str, value: str) -> Response:
    """An answer with the secret in it, in one of many spellings."""
    raw = value.encode()
    wrapped = base64.encodebytes(b"prefix " + raw * 3).decode()
    texts = {
        "none": "ok",
        "raw": f"you sent {value}, twice {value}",
        "base64": base64.b64encode(raw).decode(),
        "base64 offset": "x=" + base64.b64encode(b"a" + raw + b"bc").decode(),
        "base64url": base64.urlsafe_b64encode(b"ab" + raw).decode().rstrip("="),
        "base64 lines": wrapped,
        "url": quote(value, safe=""),
        "url lower": quote(value, safe="").lower() if "%" in quote(value, safe="") else quote(value),
        "url all": "".join(f"%{byte:02x}" for byte in raw),
        "url twice": quote(quote(value, safe=""), safe=""),
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "json": orjson.dumps({"sent": value}).decode(),
        "unicode": "".join(f"\\u{ord(one):04x}" for one in value),
        "html": "".join(f"&#{ord(one)};" for one in value),
    }
    if how in texts:
        return PlainTextResponse(texts[how])
    return {
        "structured": JSONResponse({"sent": value, "deep": [{"a": value}], value: 1}),
        "error": PlainTextResponse(f"bad key {value}", 401),
        "blob": Response(b"\x00\xff" + raw + b"\x01", media_type="application/octet-stream"),
        "header": PlainTextResponse("ok", headers={"content-type": f"text/{value.split('-', maxsplit=1)[0]}"}),
    }[how]


HOWS = [
    "raw", "base64", "base64 offset", "base64url", "base64 lines", "url", "url all", "url twice", "hex", "HEX", "json",
    "unicode", "html", "structured", "error", "blob",
]  # fmt: skip


@dataclass
class World:
    """A gateway with its people.

    Attributes:
        tokens: principal -> the header that logs it in.
    """

    gateway: Gateway
    url: str
    api: Api
    signer: Signer
    people: Mapping[str, Principal]
    tokens: Mapping[str, dict[str, str]]

    async def call(self, how: str = "none", hand: str = "crm", action: str = "call", **args: str) -> dict[str, Any]:
        """One step of the hand; its view."""
        plan = Plan()
        plan.step(hand, action, {"how": how, **args})
        raw = self.signer.sign(plan).encode()
        view = await self.gateway.pipeline.submit(UnverifiedPlan(raw, self.people["bot"], time.time()), wait_seconds=30)
        return {**view["steps"][0], "plan_id": view["plan_id"]}

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Entries of a type, oldest first."""
        with self.gateway.engine.connect() as connection:
            bodies = connection.exec_driver_sql("SELECT body FROM entries ORDER BY idx").scalars().all()
        return [entry for body in bodies if (entry := orjson.loads(bytes(body)))["type"] == kind]


@asynccontextmanager
async def opened_api() -> AsyncIterator[Api]:
    """The API, on a port of its own."""
    api = Api()
    async with serving(Starlette(routes=[Route("/call", api.call)]), Settings(server={"port": 0})) as port:
        api.url = f"http://127.0.0.1:{port}"
        yield api


def hand(api: Api, secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the hand."""
    return {
        "adapter": "http",
        "base_url": api.url,
        "private_network": True,
        "secrets": dict(secrets),
        "actions": {"call": {**ACTION, "description": "Calls."}},
    }


@asynccontextmanager
async def opened(home: Path, api: Api, named: Mapping[str, Any], **settings: Any) -> AsyncIterator[World]:
    """A running gateway; its hand is pinned. ``crm``: settings of that hand, in place of the API's own."""
    from gateway.web.asgi import create_app

    hands = {"crm": settings.pop("crm", None) or hand(api, named)}
    gateway = build(Settings(home=home, server={"port": 0}, hands=hands, **settings))
    async with serving(create_app(gateway), gateway.settings) as port:
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(timeout=30) as http:

            async def ready() -> bool:
                return (await http.get(f"{url}/readyz")).status_code == 200

            await until(ready)  # a hand that runs a program is asked first what it offers
        yield await _peopled(gateway, url, api)


async def _peopled(gateway: Gateway, url: str, api: Api) -> World:
    people = await gateway.directory.bootstrap(
        [
            NewPrincipal("admin", ["security_admin"]),
            NewPrincipal("op", ["operator"]),
            NewPrincipal("eve", ["auditor"]),
            NewPrincipal("bot", ["agent"]),
        ]
    )
    tokens = {one["principal"]["id"]: {"authorization": f"Bearer {one['api_key']['token']}"} for one in people}
    found = {name: await gateway.directory.principal("default", name) for name in tokens}
    key = SigningKey.generate()
    await gateway.directory.add_issuer(found["admin"], "brain", key.public.jwk(), ["bot"], attests_request=False)
    await gateway.hands.settled()
    offered = await gateway.hands.offer("crm")
    await gateway.hands.pin("crm", offered.digest, found["op"])
    return World(gateway, url, api, Signer("brain", key, gateway.log.origin, "default", "bot"), found, tokens)


@asynccontextmanager
async def joined(
    directory: Path, first: World, api: Api, named: Mapping[str, Any], **settings: Any
) -> AsyncIterator[World]:
    """A second gateway of the same database, with the first one's people and keys."""
    from gateway.web.asgi import create_app

    home, shared = directory / "two", first.gateway.settings
    home.mkdir()
    for name in ("master.key", "root.key"):
        shutil.copy(shared.home / name, home / name)
    for name in ("keys", "epochs"):
        (home / name).symlink_to(shared.home / name)
    hands = {"crm": hand(api, named)}
    gateway = build(Settings(home=home, server={"port": 0}, hands=hands, **settings))
    async with serving(create_app(gateway), gateway.settings) as port:
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(timeout=30) as http:
            assert (await http.get(f"{url}/readyz")).status_code == 200
        await gateway.hands.settled()
        yield World(gateway, url, api, first.signer, first.people, first.tokens)
