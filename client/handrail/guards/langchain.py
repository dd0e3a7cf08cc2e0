"""Middleware of LangChain's agents (``pip install handrail-client[langchain-agents]``): every tool of an agent is
judged before it is called, and reported after, those too that somebody else wrote.

::

    agent = create_agent(model, tools, middleware=[GuardMiddleware(guard)])

Judged is the tool that runs, whatever the model or another middleware called it, with the arguments that it gets: as
its schema reads them, defaults among them. What stands after this in the list could still change a judged call, so it
comes last.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from langchain.agents.middleware import AgentMiddleware, ToolCallRequest
from langchain.messages import ToolMessage
from langchain_core.tools import BaseTool, Tool
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError, create_model

from handrail.guard import NOT_MADE, Denied, Guard, text_of

Result: TypeAlias = Any
"""A ``ToolMessage``, or a ``Command`` to the graph."""
_VARIADIC: Final = frozenset({"args", "kwargs"})
"""What schemas made from functions call ``*args`` and ``**kwargs``; the framework passes no default of these."""
_OF_THE_FRAMEWORK: Final = frozenset({"config", "run_manager", "callbacks"})


class GuardMiddleware(AgentMiddleware[Any, Any]):  # type: ignore[misc]  # mypy does not see the framework
    """Each call of a tool is an action of the guard's hand. Where it may not be made, the model reads why."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Result]) -> Result:
        """See ``AgentMiddleware``."""
        try:
            tool, args, request = _resolved(request)
            made = self._guard.decide(tool, args)
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
        try:
            tool, args, request = _resolved(request)
            made = await self._guard.decide_async(tool, args)
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


def _resolved(request: ToolCallRequest) -> tuple[str, dict[str, Any], ToolCallRequest]:
    """The name of the tool that runs, the arguments that it gets, and the request with each default in it that would be
    another one when the tool reads its arguments again (``default_factory``).

    Raises:
        Denied: the tool's schema does not take them, or they have no form in JSON.
    """
    call, tool = request.tool_call, request.tool
    if tool is None:
        return call["name"], call["args"], request
    if isinstance(tool, Tool) or isinstance(tool.args_schema, dict):
        return tool.name, call["args"], request  # the framework reads nothing into them
    schema, injected = _schema_of(tool)
    try:
        read = schema.model_validate({name: value for name, value in call["args"].items() if name not in injected})
        args = read.model_dump(mode="json", exclude={*injected, *(_VARIADIC - read.model_fields_set)})
    except ValidationError as error:
        why = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise Denied(f"{tool.name} does not take these arguments: {why}. {NOT_MADE}") from None
    except ValueError:
        raise Denied(f"{tool.name} takes arguments that are no JSON: nobody can judge them. {NOT_MADE}") from None
    if any(isinstance(getattr(read, name), SecretStr | SecretBytes) for name in schema.model_fields):
        raise Denied(f"{tool.name} takes a secret, which its JSON does not say: nobody can judge it. {NOT_MADE}")
    drawn = {
        field.alias or name: getattr(read, name)
        for name, field in schema.model_fields.items()
        if field.default_factory is not None and name not in read.model_fields_set
    }
    if drawn:
        request = request.override(tool_call={**call, "args": {**call["args"], **drawn}})
    return tool.name, args, request


def _schema_of(tool: BaseTool) -> tuple[type[BaseModel], frozenset[str]]:
    """By what a tool reads its arguments, and which of them the framework fills itself."""
    schema: Any = tool.get_input_schema()
    told: Any = tool.tool_call_schema
    if not issubclass(schema, BaseModel):
        raise Denied(f"{tool.name} has a schema of pydantic 1, which the guard cannot read. {NOT_MADE}")
    injected = schema.model_fields.keys() - told.model_fields.keys()
    if tool.args_schema is None:
        injected |= _OF_THE_FRAMEWORK & schema.model_fields.keys()
    return _without(schema, frozenset(injected)), frozenset(injected)


@functools.lru_cache(maxsize=256)
def _without(schema: type[BaseModel], injected: frozenset[str]) -> type[BaseModel]:
    """The schema, which asks for nothing that the framework fills; what it does with the others stays."""
    if not injected:
        return schema
    left_out: dict[str, Any] = dict.fromkeys(injected, (Any, None))
    return create_model(schema.__name__, __base__=schema, **left_out)


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
