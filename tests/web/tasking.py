"""Clients that know tasks: of a session of 2025-11-25, and of the extension of 2026-07-28."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2

from gateway.ingress.mcp.tasks import EXTENSION
from tests.web.counting import Place, call, post, stateless
from tests.web.rpc import JSON_RPC

KNOWS: dict[str, Any] = {"extensions": {EXTENSION: {}}}


@dataclass
class Session:
    """A session of one principal at one endpoint."""

    at: Place
    who: str
    path: str
    headers: dict[str, str]
    greeting: dict[str, Any]
    numbers: Iterator[int] = field(default_factory=lambda: count(2))

    async def request(self, method: str, at: Place | None = None, **params: Any) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": next(self.numbers), "method": method, "params": params}
        return await post(at or self.at, body, self.who, self.headers, self.path)

    async def call(self, tool: str, *, task: Any = None, meta: Any = None, **arguments: Any) -> dict[str, Any]:
        more = {} if meta is None else {"_meta": meta}
        return await self.request("tools/call", name=tool, arguments=arguments, task=task or {}, **more)

    async def task(self, tool: str = "box__add", **arguments: Any) -> dict[str, Any]:
        """What is said of the task that a call became."""
        return dict((await self.call(tool, **arguments))["result"]["task"])

    async def get(self, task_id: str) -> dict[str, Any]:
        return dict((await self.request("tasks/get", taskId=task_id))["result"])

    async def result(self, task_id: str) -> dict[str, Any]:
        return await self.request("tasks/result", taskId=task_id)

    async def cancel(self, task_id: str) -> dict[str, Any]:
        return await self.request("tasks/cancel", taskId=task_id)


async def session(at: Place, who: str = "bot", path: str = "/mcp", version: str = "2025-11-25") -> Session:
    hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    sent = {"authorization": f"Bearer {at.keys[who]}", **JSON_RPC}
    async with httpx2.AsyncClient(timeout=60) as http:
        answer = await http.post(at.url + path, json=body, headers=sent)
        headers = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": version}
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        (await http.post(at.url + path, json=ready, headers={**sent, **headers})).raise_for_status()
    [data] = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return Session(at, who, path, headers, httpx2.Response(200, text=data).json()["result"])


async def extended(at: Place, tool: str = "box__add", **arguments: Any) -> dict[str, Any]:
    """The result of a call by a client of the extension."""
    return dict((await call(at, tool, capabilities=KNOWS, **arguments))["result"])


async def ask(
    at: Place, method: str, who: str = "bot", capabilities: dict[str, Any] | None = None, **params: Any
) -> dict[str, Any]:
    """The answer to one message of a stateless client, of the extension unless other capabilities are given."""
    able = KNOWS if capabilities is None else capabilities
    body = {"jsonrpc": "2.0", "id": 3, "method": method, "params": {**params, "_meta": stateless(able)}}
    return await post(at, body, who, {"mcp-protocol-version": "2026-07-28", "mcp-method": method})
