"""A real gateway with a hand that knows customers, behind a real server, on each kind of database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.app import build
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from tests.until import until
from tests.web.conftest import serving

PEOPLE = {
    "admin": "security_admin",
    "other-admin": "security_admin",
    "op": "operator",
    "auditor": "auditor",
    "officer": "privacy_officer",
    "bot": "agent",
    "jo.agent": "agent",
}


@dataclass
class World:
    """A gateway and who may call it."""

    gateway: Gateway
    url: str
    http: httpx2.AsyncClient
    keys: dict[str, dict[str, str]]

    async def json(self, method: str, path: str, who: str, body: Any = None, expect: int = 200) -> Any:
        answer = await self.send(method, path, who, body)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def send(self, method: str, path: str, who: str, body: Any = None) -> httpx2.Response:
        headers = self.keys[who] | ({"content-type": "application/json"} if body is not None else {})
        content = None if body is None else orjson.dumps(body)
        return await self.http.request(method, path, headers=headers, content=content)

    async def note(self, who: str, customer: str, text: str, friend: str = "") -> str:
        """Have a note written about a customer; what the tool answered, as text."""
        async with (
            httpx2.AsyncClient(headers=self.keys[who], timeout=30) as http,
            Client(streamable_http_client(f"{self.url}/mcp", http_client=http)) as client,
        ):
            args = {"customer": customer, "text": text, **({"friend": friend} if friend else {})}
            result = await client.call_tool("crm__note", args)
            assert not result.is_error, result.content
            return str(result.content)

    async def erase(self, person: str, who: str = "officer", **more: Any) -> dict[str, Any]:
        """Erase a person and wait until it is done."""
        found = await self.json("POST", "/v1/privacy/erasures", who, {"person": person, **more}, 202)

        async def done() -> bool:
            nonlocal found
            found = await self.json("GET", f"/v1/privacy/erasures/{found['erasure_id']}", who)
            return found["state"] == "done"

        await until(done)
        return found


async def crm(request: Request) -> JSONResponse:
    """The hand's side: it knows a little more of each customer."""
    customer = request.query_params["customer"]
    return JSONResponse({"customer": customer, "phone": f"phone of {customer}", "heard": request.query_params["text"]})


HAND = {
    "adapter": "http",
    "private_network": True,
    "actions": {
        "note": {
            "method": "GET",
            "path": "/note",
            "side_effects": "none",
            "idempotent": True,
            "description": "Writes a note about a customer.",
            "data_subjects": ["/customer", "/friend"],
            "args_schema": {
                "type": "object",
                "properties": {name: {"type": "string", "maxLength": 200} for name in ("customer", "text", "friend")},
                "required": ["customer", "text"],
                "additionalProperties": False,
            },
        }
    },
}


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    async with serving(Starlette(routes=[Route("/note", crm)]), Settings(server={"port": 0})) as port:
        yield port


@asynccontextmanager
async def running(
    home: Path, below: int, keys: dict[str, dict[str, str]] | None = None, *, pin: bool = True, **settings: Any
) -> AsyncIterator[World]:
    """A gateway in ``home``; with ``keys`` it is one more, or a restart. Without ``pin`` its hand is pinned already."""
    hand = {**HAND, "base_url": f"http://127.0.0.1:{below}"}
    gateway = build(Settings(home=home, server={"port": 0}, hands={"crm": hand}, **settings))
    async with serving(create_app(gateway), gateway.settings) as port:
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
            assert (await http.get("/readyz")).status_code == 200
            if keys is None:
                people = await gateway.directory.bootstrap(
                    [NewPrincipal(name, [role]) for name, role in PEOPLE.items()]
                )
                keys = {
                    one["principal"]["id"]: {"authorization": f"Bearer {one['api_key']['token']}"} for one in people
                }
            await gateway.hands.settled()
            world = World(gateway, url, http, keys)
            offered = await world.json("GET", "/v1/hands/crm", "op") if pin else {"state": "pinned"}
            if offered["state"] != "pinned":
                await world.json("POST", "/v1/hands/crm/pin", "op", {"digest": offered["offered_digest"]})
            yield world


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings of an empty database of each kind."""
    return {} if request.param == "sqlite" else {"database": {"url": request.getfixturevalue("postgres_url")}}


@pytest.fixture
async def world(tmp_path: Path, database: dict[str, Any]) -> AsyncIterator[World]:
    async with upstream() as below, running(tmp_path / "home", below, **database) as built:
        yield built
