"""Whether what a server offers may be another thing than it was: what it announces, and what it does not."""

import asyncio
from collections.abc import Container
from contextlib import AsyncExitStack

from mcp import Client
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import Subscription, SubscriptionLost
from mcp_types import (
    PromptListChangedNotification,
    ResourceListChangedNotification,
    ServerCapabilities,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from gateway.mcp_methods import McpMethod


class Changes:
    """What one session's server says of changes."""

    def __init__(self, declared: Container[str], *, asks_each_time: bool) -> None:
        """
        Args:
            declared: the actions that the operator speaks of: what else than tools is watched.
            asks_each_time: the server is not trusted to say when its tools change.
        """
        self._declared = declared
        self._asks_each_time = asks_each_time
        self._stale = False
        self._always_stale = asks_each_time

    def stale(self) -> bool:
        """Whether to ask the server anew, once for each change that it announced."""
        stale, self._stale = self._stale or self._always_stale, False
        return stale

    async def watch(self, client: Client, stack: AsyncExitStack) -> None:
        """Watch a server of the stateless era from now until ``stack`` is left; others announce changes unasked."""
        capabilities = client.session.server_capabilities
        watched = self._watched(capabilities) if capabilities is not None else set()
        modern = client.session.protocol_version in MODERN_PROTOCOL_VERSIONS
        if not watched or not modern or self._asks_each_time:
            return
        subscription = await stack.enter_async_context(
            client.listen(
                tools_list_changed="tools_list_changed" in watched,
                prompts_list_changed="prompts_list_changed" in watched,
                resources_list_changed="resources_list_changed" in watched,
            )
        )
        self._always_stale = not all(getattr(subscription.honored, name) for name in watched)
        follower = asyncio.get_running_loop().create_task(self._follow(subscription))
        stack.callback(follower.cancel)

    async def heard(self, message: IncomingMessage) -> None:
        """The SDK's message handler."""
        of_prompts = isinstance(message, PromptListChangedNotification) and McpMethod.PROMPTS_GET in self._declared
        of_resources = (
            isinstance(message, ResourceListChangedNotification) and McpMethod.RESOURCES_READ in self._declared
        )
        if of_prompts or of_resources or isinstance(message, ToolListChangedNotification):
            self._stale = True

    def _watched(self, has: ServerCapabilities) -> set[str]:
        """Which changes of what is pinned the server says that it announces."""
        watched = {
            "tools_list_changed": has.tools is not None and has.tools.list_changed,
            "prompts_list_changed": McpMethod.PROMPTS_GET in self._declared
            and has.prompts is not None
            and has.prompts.list_changed,
            "resources_list_changed": McpMethod.RESOURCES_READ in self._declared
            and has.resources is not None
            and has.resources.list_changed,
        }
        return {name for name, announced in watched.items() if announced}

    async def _follow(self, subscription: Subscription) -> None:
        """Watch a stateless-era server for changes; where the watch is lost, ask before every call."""
        try:
            async for _ in subscription:
                self._stale = True
        except SubscriptionLost:
            self._always_stale = True
        self._always_stale = True
