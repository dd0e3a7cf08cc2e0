"""Real gateways before a tool that counts its calls and can be made to wait, and clients of MCP that may break off."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
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
from gateway.ingress.mcp import McpIngress
from gateway.model import Answer
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from tests.web.conftest import serving
from tests.web.rpc import JSON_RPC

POLICY = """package handrail

decisions contains decision if {
	some step in input.steps
	input.hands[step.hand].actions[step.action]
	step.action != "send"
	decision := {"step": step.id, "effect": "allow", "reasons": [], "obligations": {}}
}

decisions contains decision if {
	some step in input.steps
	step.action == "send"
	reasons := [{"code": "test.asked", "message": "People are asked."}]
	decision := {"step": step.id, "effect": "ask", "reasons": reasons, "obligations": {}}
}
"""
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
EVERYTHING: dict[str, Any] = {"elicitation": {"url": {}}}


@dataclass
class Tool:
    """Counts what arrives; while it is closed, a call waits."""

    calls: list[Any] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def answer(self, request: Request) -> JSONResponse:
        self.calls.append(await request.json())
        await self.open.wait()
        return JSONResponse({"call": len(self.calls)})

    def action(self, path: str) -> dict[str, Any]:
        return {"method": "POST", "path": path, "args_schema": SCHEMA, "side_effects": "external", "description": path}


@asynccontextmanager
async def counting() -> AsyncIterator[Tool]:
    tool = Tool()
    tool.open.set()
    app = Starlette(routes=[Route("/{path:path}", tool.answer, methods=["POST"])])
    async with serving(app, Settings(server={"port": 0})) as port:
        tool.url = f"http://127.0.0.1:{port}"
        yield tool


@dataclass
class Place:
    """One gateway at work, and the keys of ``bot``, ``rival`` and ``boss``, who approves."""

    gateway: Gateway
    url: str
    keys: Mapping[str, str]
    ingress: McpIngress

    async def approve(self, approval_id: str, answer: Answer = Answer.APPROVE) -> None:
        boss = await self.gateway.directory.principal("default", "boss")
        await self.gateway.approvals.answer(approval_id, boss, answer=answer)

    async def open_requests(self) -> list[str]:
        boss = await self.gateway.directory.principal("default", "boss")
        listed = await self.gateway.approvals.list(boss, status=None, limit=100)
        return [one["id"] for one in listed["approvals"]]


@asynccontextmanager
async def place(
    home: Path,
    tool: Tool,
    known: Mapping[str, str] | None = None,
    also: Sequence[str] = (),
    tenant: str = "",
    **settings: Any,
) -> AsyncIterator[Place]:
    """A gateway; the first one of its database makes the principals and pins the hand, others are given the keys.

    Args:
        also: further hands with the same actions.
        tenant: another one, for which the hands are declared and pinned, too; the key of its own ``bot`` is
            ``<tenant>/bot``.
    """
    policy = home.parent / "policy"
    (policy / "handrail").mkdir(parents=True, exist_ok=True)
    (policy / "handrail" / "decisions.rego").write_text(POLICY)
    hand = {
        "adapter": "http",
        "base_url": tool.url,
        "private_network": True,
        "actions": {"add": tool.action("/add"), "send": tool.action("/send")},
        "tenants": ["default", *([tenant] if tenant else [])],
    }
    hands = dict.fromkeys(("box", *also), hand)
    server = {"port": 0, **settings.pop("server", {})}
    built = build(Settings(home=home, server=server, policy={"bundle": policy}, hands=hands, **settings))
    app = create_app(built)
    async with serving(app, built.settings) as port:
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(timeout=60) as http:
            (await http.get(f"{url}/healthz")).raise_for_status()
        await built.hands.settled()
        keys = dict(known or {})
        if known is None:
            people = [("bot", "agent"), ("rival", "agent"), ("boss", "approver"), ("root", "security_admin")]
            made = await built.directory.bootstrap([NewPrincipal(name, [role]) for name, role in people])
            keys = {str(one["principal"]["id"]): str(one["api_key"]["token"]) for one in made}
            roots = [await built.directory.principal("default", "root")]
            if tenant:
                theirs = [NewPrincipal("bot", ["agent"]), NewPrincipal("root", ["security_admin"])]
                bot, _ = await built.directory.bootstrap(theirs, tenant)
                keys[f"{tenant}/bot"] = str(bot["api_key"]["token"])
                roots.append(await built.directory.principal(tenant, "root"))
            for root in roots:
                for one in hands:
                    await built.hands.pin(one, built.hands.describe_one("default", one)["offered_digest"], root)
        yield Place(built, url, keys, app.state.mcp)


@asynccontextmanager
async def two_places(tmp_path: Path, tool: Tool, url: str) -> AsyncIterator[tuple[Place, Place]]:
    """Two gateways of one PostgreSQL."""
    first = tmp_path / "first"
    common: dict[str, Any] = {
        "database": {"url": url},
        "keys": {
            "store": "database",
            "master_key_file": first / "master.key",
            "root_file": first / "root.key",
        },
        "privacy": {"epochs": first / "epochs"},
    }
    async with (
        place(first, tool, **common) as here,
        place(tmp_path / "second", tool, here.keys, **common) as there,
    ):
        yield here, there


def stateless(capabilities: Mapping[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    """What a message of the era without handshake says of its client."""
    return {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
        **meta,
    }


async def call(
    at: Place,
    tool: str = "box__add",
    who: str = "bot",
    *,
    capabilities: Mapping[str, Any] | None = None,
    responses: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """The JSON-RPC answer to one call of a stateless client."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments, "_meta": stateless(capabilities, **(meta or {}))}
    if responses is not None:
        params["inputResponses"] = responses
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    era = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": tool}
    return await post(at, body, who, era)


async def post(
    at: Place, body: Any, who: str = "bot", headers: Mapping[str, str] | None = None, path: str = "/mcp"
) -> dict[str, Any]:
    """One message to an endpoint, by default that of all hands; the answer, whichever way it comes."""
    sent = {"authorization": f"Bearer {at.keys[who]}", **JSON_RPC, **(headers or {})}
    async with httpx2.AsyncClient(timeout=100) as http:
        answer = await http.post(at.url + path, json=body, headers=sent)
    if answer.headers["content-type"].startswith("text/event-stream"):
        data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
        return dict(json.loads(data[-1]))
    return dict(answer.json())


def text_of(answer: Mapping[str, Any]) -> str:
    return "\n".join(block["text"] for block in answer["result"]["content"])
