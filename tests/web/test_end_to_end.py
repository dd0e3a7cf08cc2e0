"""The web layer over the real gateway: real directory, keys, log, policy and an HTTP hand, behind a real server."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jsonschema_rs import Draft202012Validator
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.app import build
from gateway.canonical import b64url_encode
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from gateway.web.openapi import openapi
from gateway.web.routes import TABLE
from tests.web.conftest import serving

COMPONENTS = openapi(TABLE, "1.0", "http://127.0.0.1")["components"]


def check(schema: str, value: Any) -> None:
    Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": COMPONENTS}).validate(value)


@dataclass
class World:
    url: str
    http: httpx2.AsyncClient
    keys: dict[str, dict[str, str]]
    served: list[str]

    async def json(self, method: str, path: str, who: str, body: Any = None, expect: int = 200) -> Any:
        headers = self.keys[who] | ({"content-type": "application/json"} if body is not None else {})
        content = None if body is None else orjson.dumps(body)
        answer = await self.http.request(method, path, headers=headers, content=content)
        assert answer.status_code == expect, answer.text
        return answer.json()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as built:
        yield built


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[World]:
    served: list[str] = []

    async def weather(request: Request) -> JSONResponse:
        served.append(request.query_params["city"])
        return JSONResponse({"city": request.query_params["city"], "degrees": 7})

    upstream = Starlette(routes=[Route("/weather", weather)])
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 40}},
        "required": ["city"],
        "additionalProperties": False,
    }
    action = {"method": "GET", "path": "/weather", "args_schema": schema, "side_effects": "none", "idempotent": True}
    async with serving(upstream, Settings(server={"port": 0})) as below:
        hand = {
            "adapter": "http",
            "base_url": f"http://127.0.0.1:{below}",
            "private_network": True,
            "actions": {"look": {**action, "description": "Looks at the sky."}},
        }
        gateway = build(Settings(home=home, server={"port": 0}, hands={"sky": hand}))
        async with serving(create_app(gateway), gateway.settings) as port:
            url = f"http://127.0.0.1:{port}"
            async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
                assert (await http.get("/readyz")).status_code == 200
                people = await gateway.directory.bootstrap(
                    [
                        NewPrincipal("admin", ["security_admin"]),
                        NewPrincipal("op", ["operator"]),
                        NewPrincipal("eve", ["auditor"]),
                        NewPrincipal("bot", ["agent"]),
                        NewPrincipal("rival", ["agent"]),
                    ]
                )
                keys = {
                    person["principal"]["id"]: {"authorization": f"Bearer {person['api_key']['token']}"}
                    for person in people
                }
                await gateway.hands.settled()
                yield World(url, http, keys, served)


async def pin(world: World) -> None:
    offered = await world.json("GET", "/v1/hands/sky", "op")
    check("HandDetail", offered)
    pinned = await world.json("POST", "/v1/hands/sky/pin", "op", {"digest": offered["offered_digest"]})
    assert pinned["state"] == "pinned"


@asynccontextmanager
async def mcp_client(world: World, who: str, mode: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=world.keys[who], timeout=30) as http,
        Client(streamable_http_client(f"{world.url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_an_mcp_call_goes_the_one_way_and_leaves_its_evidence(world: World, mode: str) -> None:
    async with mcp_client(world, "bot", mode) as client:
        assert (await client.list_tools()).tools == [], "an unpinned hand is not listed"
    await pin(world)
    async with mcp_client(world, "bot", mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["sky__look"]
        result = await client.call_tool("sky__look", {"city": "Oslo"})
        off_schema = await client.call_tool("sky__look", {"city": 731, "surprise-731": True})
    assert not result.is_error, result.content
    assert "Oslo" in str(result.content)
    assert off_schema.is_error
    [told] = off_schema.content
    first, *problems = told.text.splitlines()
    assert first == "schema.args: The arguments do not match the action's schema."
    assert sorted(problems) == ['at "": additionalProperties', 'at "/city": type'], "and neither value nor foreign name"
    assert world.served == ["Oslo"], "what was off schema never left"
    page = await world.json("GET", "/v1/audit/entries?hand=sky&limit=1000", "eve")
    check("EntryPage", page)
    assert {"STPDSP", "STPEXE"} <= {entry["code"] for entry in page["entries"]}


async def test_a_signed_plan_is_run_shown_followed_and_proved_and_only_to_those_it_concerns(world: World) -> None:
    await pin(world)
    private = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(private.public_key().public_bytes_raw())}
    issuer = await world.json("POST", "/v1/issuers", "admin", {"id": "brain", "jwk": jwk}, 201)
    check("IssuerView", issuer)
    now = int(time.time())
    head = b64url_encode(orjson.dumps({"alg": "Ed25519", "kid": issuer["keys"][0]["kid"], "typ": "plan+jws"}))
    payload = {
        "v": 1, "iss": "brain", "sub": "bot", "aud": "handrail.local/log", "tenant": "default", "context_id": "c",
        "jti": "j", "nonce": "n", "iat": now, "exp": now + 60,
        "actions": [{"id": "a", "hand": "sky", "action": "look", "args": {"city": "Rome"}, "depends_on": []}],
    }  # fmt: skip
    text = f"{head}.{b64url_encode(orjson.dumps(payload))}"
    jws = f"{text}.{b64url_encode(private.sign(text.encode()))}"
    headers = world.keys["bot"] | {"content-type": "application/jose"}
    with_line_end = await world.http.post("/v1/plans?wait=20", content=f"{jws}\n", headers=headers)
    refusal = with_line_end.json()
    assert (with_line_end.status_code, refusal["code"], refusal["problem"]) == (
        400,
        "verify.malformed",
        "trailing_white_space",
    )
    answer = await world.http.post("/v1/plans?wait=20", content=jws, headers=headers)
    assert answer.status_code == 200, answer.text
    check("PlanView", answer.json())
    plan_id, [step] = answer.json()["plan_id"], answer.json()["steps"]
    assert step["status"] == "succeeded"
    again = await world.http.post("/v1/plans", content=jws, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "verify.replayed")

    check("PlanView", await world.json("GET", f"/v1/plans/{plan_id}", "bot"))
    check("ReceiptView", await world.json("GET", f"/v1/receipts/{step['receipt_id']}", "bot"))
    check("WhyView", await world.json("GET", f"/v1/plans/{plan_id}/steps/a/why", "eve"))
    events = await world.http.get(f"/v1/plans/{plan_id}/events", headers=world.keys["bot"])
    assert events.text.rstrip().endswith('event: done\ndata: {"status":"done"}')
    for path in (f"/v1/plans/{plan_id}", f"/v1/plans/{plan_id}/events", f"/v1/receipts/{step['receipt_id']}"):
        refusal = await world.json("GET", path, "rival", expect=404)
        assert refusal["code"] == "request.not_found"
    check("TrustView", await world.json("GET", "/v1/trust", "bot"))
    assert world.served == ["Rome"]


async def test_a_revoked_principal_is_turned_away(world: World) -> None:
    await world.json("GET", "/v1/me", "rival")
    check("PrincipalView", await world.json("DELETE", "/v1/principals/rival", "admin"))
    refusal = await world.json("GET", "/v1/me", "rival", expect=401)
    assert refusal["code"] == "auth.invalid"
