"""A talker behind a whole gateway, and clients of either era that can be asked."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import (
    CreateMessageResult,
    ElicitResult,
    ErrorData,
    ListRootsResult,
    LoggingMessageNotificationParams,
    Root,
    TextContent,
)

from tests.mcp_conformance.legs import HAND, governed

WATCHES = ("resources/list", "resources/read", "resources/subscribe")
QUESTIONS = ("elicitation/create", "sampling/createMessage", "roots/list")
MCP = {"progress": True, "logging": True, "elicitation_hosts": ["login.example.com"]}


@dataclass
class Person:
    """Who is asked at a client, and what they were asked and told.

    Attributes:
        answers: to elicitations and to the model, one after the other; the last one stays.
    """

    name: str = "Ada"
    reply: str = "42"
    asked: list[Any] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)
    progress: list[tuple[float, float | None, str | None]] = field(default_factory=list)
    logged: list[LoggingMessageNotificationParams] = field(default_factory=list)

    async def elicit(self, _: Any, params: Any) -> ElicitResult | ErrorData:
        self.asked.append(params)
        return ElicitResult(action="accept", content=None if params.mode == "url" else {"name": self.name})

    async def sample(self, _: Any, params: Any) -> CreateMessageResult | ErrorData:
        self.asked.append(params)
        return CreateMessageResult(role="assistant", content=TextContent(text=self.reply), model="m")

    async def roots(self, _: Any) -> ListRootsResult | ErrorData:
        self.asked.append("roots")
        return ListRootsResult(roots=[Root.model_validate({"uri": "file:///work"})])

    async def log(self, params: LoggingMessageNotificationParams) -> None:
        self.logged.append(params)

    async def hear(self, message: Any) -> None:
        self.heard.append(message)

    async def report(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress.append((progress, total, message))


def hand(url: str, **more: Any) -> dict[str, Any]:
    """The declaration of a hand whose server may say everything."""
    actions = {name: {"side_effects": "none", "deadline_seconds": 20.0} for name in (*QUESTIONS, *WATCHES)}
    return {"adapter": "mcp", "url": url, "private_network": True, "actions": actions, "mcp": MCP, **more}


@contextlib.asynccontextmanager
async def talking(url: str, home: Any, policy: str = "", **more: Any) -> AsyncIterator[tuple[str, Mapping[str, str]]]:
    """Endpoint of the hand at a gateway, and the headers of its caller.

    Args:
        policy: a further module.
    """
    modules = {"questions.rego": policy} if policy else {}
    async with governed({HAND: hand(url, **more)}, home, modules) as (gateway, key):
        yield f"{gateway}/mcp/{HAND}", {"authorization": f"Bearer {key}"}


@contextlib.asynccontextmanager
async def client(
    endpoint: tuple[str, Mapping[str, str]], mode: str, person: Person, *able: str, log_level: Any = None
) -> AsyncIterator[Client]:
    """A client that can be asked what ``able`` names, by default everything."""
    able = able or ("elicit", "sample", "roots")
    callbacks = {"elicit": "elicitation_callback", "sample": "sampling_callback", "roots": "list_roots_callback"}
    options = {callbacks[one]: getattr(person, one) for one in able if one in callbacks}
    url, headers = endpoint
    async with (
        httpx2.AsyncClient(headers=dict(headers), timeout=30) as http,
        Client(
            streamable_http_client(url, http_client=http),
            mode=mode,
            logging_callback=person.log,
            message_handler=person.hear,
            log_level=log_level,
            **options,
        ) as made,
    ):
        yield made


def text(result: Any) -> str:
    """What a tool's result says."""
    return "\n".join(block.text for block in result.content)
