"""The same asked twice with the ``anthropic`` SDK, directly and through a gateway, and what came of each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from anthropic import APIError, APIStatusError, AsyncAnthropic
from pydantic import BaseModel

from tests.anthropic_api.answers import Scripted
from tests.anthropic_api.server import StandIn
from tests.messages.world import World, world

TOOLS: Final = {
    name: {"side_effects": "none", "args_schema": {"type": "object", "additionalProperties": True}}
    for name in ("Bash", "Read")
}
"""The shipped policy allows both: this is about what passes, not about what does not."""
_MODEL: Final = {"actions": {name: {"side_effects": "none"} for name in ("batches.cancel", "batches.delete")}}
"""Likewise."""
Ask: TypeAlias = Callable[[AsyncAnthropic], Awaitable[Any]]
_TOLD: Final = ("retry-after", "x-should-retry", "anthropic-ratelimit-requests-remaining", "anthropic-organization-id")
"""Headers of an error by which clients go."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two clients of one SDK."""

    api: StandIn
    world: World
    direct: AsyncAnthropic
    governed: AsyncAnthropic

    async def both(self, ask: Ask, *script: Scripted) -> tuple[Any, Any]:
        """What ``ask`` gives directly and through the gateway, each time after this was scripted; errors as what they
        say. The ids of requests, which differ, are compared to those that the API gave.
        """
        return await self._one(self.direct, ask, script), await self._one(self.governed, ask, script)

    async def _one(self, client: AsyncAnthropic, ask: Ask, script: tuple[Scripted, ...]) -> Any:
        before = len(self.api.requests)
        self.api.queue.clear()
        self.api.script(*script)
        try:
            found = shown(await ask(client))
        except APIError as error:
            found = _error(error, [one.answered_as for one in self.api.requests[before:]])
        return found


def shown(value: Any) -> Any:
    """What the SDK parsed, as data that can be compared."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [shown(one) for one in value]
    return value


def _error(error: APIError, answered_as: list[str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {"class": type(error).__name__, "message": error.message}
    if isinstance(error, APIStatusError):
        body = error.body if isinstance(error.body, dict) else {}
        found |= {
            "status": error.status_code,
            "type": error.type,
            "error": body.get("error"),
            "headers": {name: error.response.headers.get(name) for name in _TOLD},
            "requests": len(answered_as),
            "its own": error.request_id == answered_as[-1] if answered_as else None,
        }
    return found


@asynccontextmanager
async def paired(api: StandIn, home: Path, retries: int = 0) -> AsyncIterator[Pair]:
    """Both clients, and the gateway between.

    Args:
        home: an empty folder.
        retries: how often the SDK asks again by itself.
    """
    async with (
        world(home, api, tools=TOOLS, model=_MODEL) as ready,
        AsyncAnthropic(base_url=api.url, api_key=api.key, max_retries=retries) as direct,
        AsyncAnthropic(base_url=ready.base_url, api_key=ready.keys["bot"], max_retries=retries) as through,
    ):
        yield Pair(api, ready, direct, through)
