"""A server of the SDK's that makes a task of every call: asked to in 2025-11-25, by itself in 2026-07-28."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp import MCPError, types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.message import ServerMessageMetadata

EXTENSION = "io.modelcontextprotocol/tasks"
FORM = {
    "mode": "form",
    "message": "What is your name?",
    "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}},
}
NOW = "2026-07-28T00:00:00Z"
TOOLS = ("wait", "name", "fail", "stop", "add")


class Made(Exception):
    """A task, for which the SDK's table of results has no place in a session."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self.result = result


async def unless_made(ctx: ServerRequestContext[Any], call_next: CallNext) -> HandlerResult:
    """Middleware: answers with the task."""
    try:
        return await call_next(ctx)
    except Made as made:
        return made.result


class UpdateTaskParams(types.RequestParams):
    """Of ``tasks/update``."""

    task_id: str
    input_responses: dict[str, Any]


@dataclass
class Kept:
    """A task, and what is known of it."""

    tool: str
    status: str = "working"
    answers: dict[str, Any] = field(default_factory=dict)


class Tasker:
    """The server, and what it saw.

    Attributes:
        tasks: by id, in the order in which they were made.
        asked: the methods that were asked about tasks.
        wanted: what each call said of the task that it asked for.
        release: sets ``wait`` free.
        deaf: how many of the next questions about tasks are answered with an error of the server.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, Kept] = {}
        self.asked: list[str] = []
        self.wanted: list[int | None] = []
        self.release = asyncio.Event()

    def server(self) -> Server[Any]:
        """A fresh server of these tools."""
        server = _Server("tasker", on_list_tools=self._list)
        server.middleware.append(unless_made)
        server.add_request_handler("tools/call", types.CallToolRequestParams, self._call)
        server.add_request_handler("tasks/get", types.GetTaskRequestParams, self._get)
        server.add_request_handler("tasks/result", types.GetTaskPayloadRequestParams, self._result)
        server.add_request_handler("tasks/cancel", types.CancelTaskRequestParams, self._cancel)
        server.add_request_handler("tasks/update", UpdateTaskParams, self._update)
        return server

    async def _list(self, ctx: ServerRequestContext[Any], _: Any) -> types.ListToolsResult:
        execution = None if _modern(ctx) else types.ToolExecution(task_support="required")
        schema = {"type": "object", "properties": {}}
        tools = [
            types.Tool(name=name, description=name, input_schema=schema, execution=execution) for name in TOOLS[:-1]
        ]
        return types.ListToolsResult(tools=[*tools, types.Tool(name="add", description="add", input_schema=schema)])

    async def _call(self, ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        if params.name == "add":
            return types.CallToolResult(content=[types.TextContent(text="added")])
        if not _modern(ctx) and params.task is None:
            raise MCPError(types.METHOD_NOT_FOUND, "This tool is a task")
        self.wanted.append(None if params.task is None else params.task.ttl)
        task_id = f"t{len(self.tasks)}"
        status = {"name": "input_required", "fail": "failed", "stop": "cancelled"}.get(params.name, "working")
        self.tasks[task_id] = Kept(params.name, status)
        if _modern(ctx):
            return {"resultType": "task", **self._shown(ctx, task_id)}
        raise Made({"task": self._shown(ctx, task_id)})

    async def _get(self, ctx: ServerRequestContext[Any], params: types.GetTaskRequestParams) -> dict[str, Any]:
        task = self._of("tasks/get", params.task_id)
        if task.tool == "wait" and self.release.is_set() and task.status == "working":
            task.status = "completed"
        shown = self._shown(ctx, params.task_id)
        if not _modern(ctx):
            return shown
        if task.status == "input_required":
            shown["inputRequests"] = {"q": {"method": "elicitation/create", "params": FORM}}
        elif task.status == "failed":
            shown["error"] = {"code": -32603, "message": "broken"}
        elif task.status == "completed":
            shown["result"] = {"resultType": "complete", **_text(_said(task))}
        return {"resultType": "complete", **shown}

    async def _result(self, ctx: ServerRequestContext[Any], params: types.GetTaskPayloadRequestParams) -> Any:
        task = self._of("tasks/result", params.task_id)
        if task.status == "input_required":
            request = types.ElicitRequest.model_validate({"method": "elicitation/create", "params": FORM})
            metadata = ServerMessageMetadata(related_request_id=ctx.request_id)
            answer = await ctx.session.send_request(request, types.ElicitResult, metadata=metadata)
            task.answers["q"] = answer.model_dump(mode="json", exclude_none=True)
            task.status = "completed"
        if task.status == "failed":
            raise MCPError(types.INTERNAL_ERROR, "broken")
        return _text(_said(task))

    async def _update(self, ctx: ServerRequestContext[Any], params: UpdateTaskParams) -> dict[str, Any]:
        task = self._of("tasks/update", params.task_id)
        task.answers |= params.input_responses
        task.status = "completed"
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any], params: types.CancelTaskRequestParams) -> dict[str, Any]:
        task = self._of("tasks/cancel", params.task_id)
        if task.status in {"completed", "failed", "cancelled"}:
            raise MCPError(types.INVALID_PARAMS, "The task is over")
        task.status = "cancelled"
        return {"resultType": "complete"} if _modern(ctx) else self._shown(ctx, params.task_id)

    def _of(self, method: str, task_id: str) -> Kept:
        self.asked.append(method)
        if task_id not in self.tasks:
            raise MCPError(types.INVALID_PARAMS, "Task not found")
        return self.tasks[task_id]

    def _shown(self, ctx: ServerRequestContext[Any], task_id: str) -> dict[str, Any]:
        times = {"createdAt": NOW, "lastUpdatedAt": NOW}
        more = {"ttlMs": None, "pollIntervalMs": 1} if _modern(ctx) else {"ttl": None, "pollInterval": 1}
        return {"taskId": task_id, "status": self.tasks[task_id].status, **times, **more}


class _Server(Server[Any]):
    def get_capabilities(self, *args: Any, **named: Any) -> types.ServerCapabilities:
        """With what says that it knows tasks."""
        has = super().get_capabilities(*args, **named)
        has.extensions = {EXTENSION: {}}
        calls = types.ServerTasksRequestsCapability(tools=types.TasksToolsCapability(call=types.TasksCallCapability()))
        has.tasks = types.ServerTasksCapability(cancel=types.TasksCancelCapability(), requests=calls)
        return has


def _modern(ctx: ServerRequestContext[Any]) -> bool:
    return ctx.protocol_version == "2026-07-28"


def _said(task: Kept) -> str:
    if task.tool != "name":
        return "waited"
    answer: Mapping[str, Any] = task.answers["q"]
    return f"{answer['action']} {(answer.get('content') or {}).get('name')}"


def _text(said: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}]}
