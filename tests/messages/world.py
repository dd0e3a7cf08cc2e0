"""A real gateway between a client and the stand-in for the Messages API: directory, log, policy, hands and sockets."""

import json
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anthropic
import httpx2
import orjson

import policies
from gateway.app import build
from gateway.connector import signed_plan
from gateway.entries import EntryType
from gateway.ports.undelivered import MCP_ISSUER
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from tests.anthropic_api.server import KEY, StandIn
from tests.web.conftest import serving

MODEL: Final = "claude-opus-4-6"
TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
TOOLS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Read": {"side_effects": "none", "args_schema": TEXTS, "description": "Reads a file."},
    "Bash": {"side_effects": "irreversible", "args_schema": TEXTS, "description": "Runs a command."},
}
"""What the client runs: ``Read`` is allowed by the shipped policy, and about ``Bash`` a person is asked."""
PEOPLE: Final = {
    "admin": ["security_admin"],
    "op": ["operator"],
    "pat": ["approver"],
    "bot": ["agent"],
    "rival": ["agent"],
    "eve": ["auditor"],
}


@dataclass
class World:
    """A gateway that serves.

    Attributes:
        url: of the gateway.
        keys: principal -> API key.
        api: what stands behind it.
    """

    gateway: Gateway
    url: str
    http: httpx2.AsyncClient
    keys: Mapping[str, str]
    api: StandIn

    @property
    def base_url(self) -> str:
        """What a client is given in place of the API's."""
        return f"{self.url}/anthropic"

    def client(self, who: str = "bot", **options: Any) -> anthropic.AsyncAnthropic:
        """The SDK with nothing changed but URL and key."""
        return anthropic.AsyncAnthropic(base_url=self.base_url, api_key=self.keys[who], max_retries=0, **options)

    def direct(self, **options: Any) -> anthropic.AsyncAnthropic:
        """The SDK without a gateway."""
        return anthropic.AsyncAnthropic(base_url=self.api.url, api_key=KEY, max_retries=0, **options)

    async def post(
        self, body: Any, who: str = "bot", path: str = "/anthropic/v1/messages", **headers: str
    ) -> httpx2.Response:
        """One request as bytes on the wire; ``_`` in the name of a header is ``-``."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(
            path,
            content=content,
            headers={"x-api-key": self.keys[who], "content-type": "application/json", **named},
        )

    async def json(self, method: str, path: str, who: str, body: Any = None, expect: int = 200) -> Any:
        """One request to the gateway's own API."""
        headers = {"authorization": f"Bearer {self.keys[who]}"}
        answer = await self.http.request(method, path, headers=headers, json=body)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def plan(self, who: str, action: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The steps of a plan that another way in than the Messages API signs for somebody."""
        gateway = self.gateway
        caller = await gateway.directory.authenticate(self.keys[who], time.time())
        plan = signed_plan(MCP_ISSUER, gateway.keyset, gateway.settings, caller, "ctx", [action], now=time.time())
        return list((await gateway.pipeline.submit(plan, wait_seconds=20))["steps"])

    async def entries(self, *kinds: EntryType) -> list[dict[str, Any]]:
        """What is on record, of some types, in order."""
        page = await self.json("GET", "/v1/audit/entries?limit=1000", "eve")
        found = [one.get("entry", one) for one in page["entries"]]
        return [one for one in found if one["type"] in {str(kind) for kind in kinds}]

    async def approve(self, text: str) -> str:
        """Approve what a text asks to; the id of the approval."""
        approval = text.split("/approvals/", 1)[1].split(maxsplit=1)[0].rstrip(".,]")
        return await self.approve_id(approval)

    async def approve_id(self, approval: str) -> str:
        """Approve a request; its id."""
        await self.json("POST", f"/v1/approvals/{approval}", "pat", {"answer": "approve"})
        return approval


def asking(text: str = "hello", **changes: Any) -> dict[str, Any]:
    """The body of a request for a message."""
    return {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **changes}


def hands(api: StandIn, tools: Mapping[str, Mapping[str, Any]] = TOOLS, **model: Any) -> dict[str, Any]:
    """The hands of a gateway before the stand-in."""
    secret = {"place": "header", "parameter": "x-api-key", "store": "sealed"}
    return {
        "claude": {
            "adapter": "anthropic",
            "base_url": api.url,
            "private_network": True,
            "secrets": {"key": secret},
            **model,
        },
        "code": {"adapter": "client", "actions": {name: dict(word) for name, word in tools.items()}},
    }


@asynccontextmanager
async def world(
    home: Path,
    api: StandIn,
    *,
    settings: Mapping[str, Any] | None = None,
    tools: Mapping[str, Mapping[str, Any]] = TOOLS,
    model: Mapping[str, Any] | None = None,
    pinned: bool = True,
    keys: Mapping[str, str] | None = None,
    granted: Mapping[str, Sequence[str]] | None = None,
    more: Mapping[str, Any] | None = None,
) -> AsyncIterator[World]:
    """A gateway in a fresh home, with its people, its hands pinned and the key of the stand-in sealed.

    Args:
        keys: of the people of a home that is not fresh any more.
        granted: hand -> actions that agents may use though they change something, beside ``tools``.
        more: hands beside these two; they are not pinned.
    """
    rules = home / "policies"
    policy = {"bundle": rules if rules.exists() else bundle(rules, {"code": sorted(tools), **(granted or {})})}
    changes = {"anthropic": {"ask_hold_seconds": 0.0}, "policy": policy, **(settings or {})}
    offered = {**hands(api, tools, **(model or {})), **(more or {})}
    built = build(Settings(home=home, server={"port": 0}, hands=offered, **changes))
    async with serving(create_app(built), built.settings) as port:
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
            assert (await http.get("/readyz")).status_code == 200
            fresh = keys is None
            if keys is None:
                people = await built.directory.bootstrap([NewPrincipal(name, roles) for name, roles in PEOPLE.items()])
                keys = {one["principal"]["id"]: str(one["api_key"]["token"]) for one in people}
            ready = World(built, url, http, keys, api)
            await built.hands.settled()
            if pinned and fresh:
                for hand in ("claude", "code"):
                    offered = await ready.json("GET", f"/v1/hands/{hand}", "op")
                    await ready.json("POST", f"/v1/hands/{hand}/pin", "op", {"digest": offered["offered_digest"]})
                if built.settings.hands["claude"].secrets:
                    await set_key(ready)
            yield ready


def bundle(directory: Path, granted: Mapping[str, Sequence[str]]) -> Path:
    """The shipped policies with a grant for what agents run: about what changes something a person is asked."""
    shutil.copytree(Path(policies.__file__).parent, directory, ignore=shutil.ignore_patterns("__pycache__"))
    grants = directory / "handrail" / "grants" / "data.json"
    table = [{"roles": ["agent"], "hand": hand, "actions": list(actions)} for hand, actions in granted.items()]
    grants.write_text(json.dumps({**json.loads(grants.read_text()), "table": table}))
    return directory


async def set_key(ready: World) -> None:
    """Seal the stand-in's key for the hand."""
    await ready.json("POST", "/v1/secrets", "admin", {"name": "key", "value": KEY}, 201)
