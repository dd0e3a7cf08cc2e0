"""Middleware of LangChain's agents (``pip install handrail-client[langchain-agents]``): every tool of an agent is
judged before it is called, and reported after, those too that somebody else wrote.

::

    agent = create_agent(model, tools, middleware=[GuardMiddleware(guard)])

What stands after it in the list could still change a call that was judged, so it comes last.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from langchain.agents.middleware import AgentMiddleware, ToolCallRequest
from langchain.messages import ToolMessage

from handrail.guard import Denied, Guard, text_of

Result: TypeAlias = Any
"""A ``ToolMessage``, or a ``Command`` to the graph."""


class GuardMiddleware(AgentMiddleware[Any, Any]):  # type: ignore[misc]  # mypy does not see the framework
    """Each call of a tool is an action of the guard's hand. Where it may not be made, the model reads why."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Result]) -> Result:
        """See ``AgentMiddleware``."""
        call = request.tool_call
        try:
            made = self._guard.decide(call["name"], call["args"])
        except Denied as denied:
            return _told(request, denied)
        try:
            result = handler(request)
        except BaseException as error:
            self._guard.report(made, type(error).__name__, failed=True)
            raise
        text, failed = _came(result)
        self._guard.report(made, text, failed=failed)
        return result

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Result]]
    ) -> Result:
        """See ``AgentMiddleware``."""
        call = request.tool_call
        try:
            made = await self._guard.decide_async(call["name"], call["args"])
        except Denied as denied:
            return _told(request, denied)
        try:
            result = await handler(request)
        except BaseException as error:
            await asyncio.shield(self._guard.report_async(made, type(error).__name__, failed=True))
            raise
        text, failed = _came(result)
        await self._guard.report_async(made, text, failed=failed)
        return result


def _told(request: ToolCallRequest, denied: Denied) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(content=str(denied), name=call["name"], tool_call_id=call["id"] or "", status="error")


def _came(result: Result) -> tuple[str, bool]:
    """What a tool gave, and whether it says that it failed: of a command to the graph what the model reads of it."""
    update = getattr(result, "update", None)
    said = update.get("messages", ()) if isinstance(update, dict) else (result,)
    messages = [one for one in said if isinstance(one, ToolMessage)]
    if not messages:
        return type(result).__name__, False
    return "\n".join(text_of(one.content) for one in messages), any(one.status == "error" for one in messages)
