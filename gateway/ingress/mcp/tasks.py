"""Calls of tools as tasks: ``tasks/*`` of MCP 2025-11-25, and what came after it, the extension
``io.modelcontextprotocol/tasks`` of 2026-07-28 (SEP-2663).

A task is the plan of its call, and has no state of its own: its id is the plan's, and what is said of it is read from
the plan's record each time. So it is there after a restart and at every gateway of the database. Whoever asks for it
has to be the plan's caller, at an endpoint that has the plan's hand.
"""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from mcp import MCPError, types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.types.methods import serialize_server_result
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS

from gateway.errors import HandrailError, Refused
from gateway.ingress.mcp.calls import Calls
from gateway.ingress.mcp.client_talk import abilities
from gateway.ingress.mcp.exchange import exchange_of, exchange_that_waits
from gateway.ingress.mcp.failures import REFUSED, error_of, refusal
from gateway.ingress.mcp.parking import Target
from gateway.ingress.mcp.quiet import Quiet
from gateway.ingress.mcp.reissues import Reissues, named
from gateway.ingress.mcp.requests import Asks, guarded, hand_of, scope_of
from gateway.ingress.mcp.results import answered, told
from gateway.ingress.mcp.talks import require_able
from gateway.manifest import Manifest
from gateway.mcp_methods import McpQuestion, is_method
from gateway.model import PlanStatus, StepStatus
from gateway.ports.undelivered import CALL, MCP_ISSUER, NAMED
from gateway.reasons import Reason
from gateway.state import PlanState
from gateway.times import format_time

EXTENSION: Final = "io.modelcontextprotocol/tasks"
RELATED: Final = "io.modelcontextprotocol/related-task"
"""``_meta`` member of what belongs to a task (2025-11-25, tasks, associating task-related messages)."""
TASKS_VERSION: Final = "2025-11-25"
"""The one revision that has tasks by itself."""
TASK_AFTER_SECONDS: Final = 2.0
"""How long a client of the extension waits for a call before it gets a task instead."""
CANCEL_WAIT_SECONDS: Final = 5.0
"""How long a call that was called off is given to end, before its client is told how it stands."""
POLL_MILLISECONDS: Final = {False: 1000, True: 5000}
"""Whether people are waited for -> how often a client is to ask."""
_ID: Final = re.compile(r"[0-9a-f]{64}")


class UpdateTaskRequestParams(types.RequestParams):
    """Params of ``tasks/update`` (SEP-2663)."""

    task_id: str
    input_responses: dict[str, Any]


class Made(Exception):
    """A task came of ``tools/call`` in a session, for which the SDK's table of results has no place.

    Attributes:
        result: ``CreateTaskResult``.
    """

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self.result = result


async def unless_made(ctx: ServerRequestContext[Any], call_next: CallNext) -> HandlerResult:
    """Middleware of the server: answers with the task that was made, and greets no session of an older revision with
    tasks."""
    try:
        result = await call_next(ctx)
    except Made as made:
        return made.result
    if ctx.method == "initialize" and isinstance(result, dict) and result["protocolVersion"] != TASKS_VERSION:
        result["capabilities"].pop("tasks", None)
    return result


class Ingress(Asks, Protocol):
    """What these handlers ask of the ingress."""

    @property
    def calls(self) -> Calls:
        """The calls under way."""

    @property
    def reissues(self) -> Reissues:
        """Which answers were delivered."""

    def placed(self, ctx: ServerRequestContext[Any], hand: str, result: types.CallToolResult) -> types.CallToolResult:
        """The result of a hand's tool, with links that can be followed at this endpoint."""


class Tasks:
    """Makes tasks, and answers ``tasks/*``."""

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress

    def register(self, server: Server[Any]) -> None:
        """Have a server answer these methods."""
        server.middleware.append(unless_made)
        server.add_request_handler("tasks/get", types.GetTaskRequestParams, self.get)
        server.add_request_handler("tasks/result", types.GetTaskPayloadRequestParams, self.result)
        server.add_request_handler("tasks/cancel", types.CancelTaskRequestParams, self.cancel)
        server.add_request_handler("tasks/update", UpdateTaskRequestParams, self.update)

    # --- instead of a result -----------------------------------------------------------------------------------------

    async def begin(self, ctx: ServerRequestContext[Any], target: Target, context_id: str) -> Made:
        """Begin a call that its client asked for as a task, or find the one that this one repeats.

        Raises:
            MCPError: the whole plan is refused.
        """
        key, exchange, reissues = named(ctx, target.caller), exchange_that_waits(ctx), self._ingress.reissues
        try:
            async with reissues.turn(target):
                plan_id = await self._again(target, context_id, key) or await self._start(target, context_id, key)
                reissues.waits(exchange, plan_id)
        except HandrailError as error:
            raise error_of(refusal(error)) from None
        plan = await self._plan(ctx, plan_id)
        shown = await self._shown(ctx, plan, await self._view(ctx, plan))
        reissues.has(exchange, plan_id)
        return Made({"task": shown})

    async def instead(self, ctx: ServerRequestContext[Any], view: Mapping[str, Any]) -> dict[str, Any] | None:
        """A task for a client of the extension, where its call goes on; ``None`` where the call is over, or the client
        knows no tasks."""
        if not _extended(ctx) or view["status"] == PlanStatus.DONE:
            return None
        plan = await self._plan(ctx, view["plan_id"])
        self._ingress.reissues.has(exchange_of(ctx), view["plan_id"])
        return {"resultType": "task", **await self._shown(ctx, plan, view)}

    async def _again(self, target: Target, context_id: str, key: str | None) -> str | None:
        call = await self._ingress.reissues.again(target, context_id, key, people=False)
        if call is not None and call.followed:
            call.view.cancel()
        return None if call is None else call.plan_id

    async def _start(self, target: Target, context_id: str, key: str | None) -> str:
        try:
            return await self._ingress.calls.start(
                target.caller, target.hand, target.action, target.arguments, context_id, Quiet(), key
            )
        except Refused as refused:
            # Another gateway had the idempotency key's call first.
            replayed = key is not None and refused.reason is Reason.VERIFY_REPLAYED
            first = await self._again(target, context_id, key) if replayed else None
            if first is None:
                raise
            return first

    # --- the methods -------------------------------------------------------------------------------------------------

    async def get(self, ctx: ServerRequestContext[Any], params: types.GetTaskRequestParams) -> dict[str, Any]:
        """How a task stands; with the extension, also what came of it."""
        with guarded("tasks/get"):
            _require(ctx, extended=True)
            plan = await self._plan(ctx, params.task_id)
            view = await self._view(ctx, plan)
            shown = await self._shown(ctx, plan, view)
            if not _extended(ctx) or shown["status"] in {"working", "cancelled"}:
                return shown
            try:
                return {**shown, "result": self._outcome(ctx, view)}
            except MCPError as error:
                failed = error.error.model_dump(by_alias=True, mode="json", exclude_none=True)
                return {**shown, "status": "failed", "error": failed}

    async def result(self, ctx: ServerRequestContext[Any], params: types.GetTaskPayloadRequestParams) -> dict[str, Any]:
        """What came of a task, for which the client waits as long as for a call."""
        with guarded("tasks/result"):
            _require(ctx, extended=False)
            plan = await self._plan(ctx, params.task_id)
            if plan.status is not PlanStatus.DONE:
                await self._done(ctx, plan, self._ingress.calls.patience_seconds)
            view = await self._view(ctx, plan)
            if view["status"] != PlanStatus.DONE:
                lines = [*told(view, self._ingress.public_url), "The task goes on: ask for its result again."]
                raise MCPError(REFUSED, "\n".join(lines))
            outcome = self._outcome(ctx, view)
            return {**outcome, "_meta": {**outcome.get("_meta", {}), RELATED: {"taskId": params.task_id}}}

    async def cancel(self, ctx: ServerRequestContext[Any], params: types.CancelTaskRequestParams) -> dict[str, Any]:
        """Take a call back: one that waits for people does not run any more, and the tool of one that runs at this
        gateway is told. The extension's answer says nothing of what came of that, and ``tasks/get`` does."""
        with guarded("tasks/cancel"):
            _require(ctx, extended=True)
            plan = await self._plan(ctx, params.task_id)
            over = plan.status is PlanStatus.DONE
            if not over and await self._ingress.calls.take_back(plan.plan.plan_id):
                await self._done(ctx, plan, CANCEL_WAIT_SECONDS)
            if _extended(ctx):
                return {}
            plan = await self._plan(ctx, params.task_id)
            shown = await self._shown(ctx, plan, await self._view(ctx, plan))
            if over:
                raise MCPError(types.INVALID_PARAMS, f"The task is over: {shown['status']}")
            if shown["status"] == "working":
                raise MCPError(REFUSED, "The call runs and could not be taken back. The task goes on.")
            return shown

    async def update(self, ctx: ServerRequestContext[Any], params: UpdateTaskRequestParams) -> dict[str, Any]:
        """Take note of answers. No task asks for any, so that none has an effect; least of all does one approve."""
        with guarded("tasks/update"):
            if not _modern(ctx):
                raise MCPError(types.METHOD_NOT_FOUND, "Method not found")
            _require(ctx, extended=True)
            await self._plan(ctx, params.task_id)
            return {}

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _plan(self, ctx: ServerRequestContext[Any], task_id: str) -> PlanState:
        """The plan of a task.

        Raises:
            MCPError: there is no such task, or not for this caller, or not at this endpoint: which is not said.
        """
        caller = self._ingress.caller(ctx)
        plan = await self._ingress.calls.load(task_id, caller) if _ID.fullmatch(task_id) else None
        hands = {one.hand: one for one in self._ingress.manifests(caller, hand_of(scope_of(ctx)))}
        if plan is None or not _is_call(plan, hands):
            raise _unknown()
        if (plan.plan.tenant, plan.plan.caller.pseudonym) != (caller.tenant, caller.pseudonym):
            raise _unknown()
        return plan

    async def _view(self, ctx: ServerRequestContext[Any], plan: PlanState) -> dict[str, Any]:
        return await self._ingress.calls.view(plan.plan.plan_id, self._ingress.caller(ctx))

    async def _done(self, ctx: ServerRequestContext[Any], plan: PlanState, seconds: float) -> None:
        """Wait until a plan is done, for so long."""
        call = self._ingress.calls.follow(plan.plan.plan_id, self._ingress.caller(ctx), people=True)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.shield(call.view)
        finally:
            call.view.cancel()

    def _outcome(self, ctx: ServerRequestContext[Any], view: Mapping[str, Any]) -> dict[str, Any]:
        """What the call would have been answered with.

        Raises:
            MCPError: that is an error of the protocol.
        """
        hand = view["steps"][0]["hand"]
        manifest = next(iter(self._ingress.manifests(self._ingress.caller(ctx), hand)), None)
        require_able(ctx, view, manifest)
        object_only = ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS
        result = answered(view, self._ingress.public_url, object_only=object_only)
        placed = self._ingress.placed(ctx, hand, result)
        document = placed.model_dump(by_alias=True, mode="json", exclude_none=True)
        return serialize_server_result("tools/call", ctx.protocol_version, document)

    async def _shown(self, ctx: ServerRequestContext[Any], plan: PlanState, view: Mapping[str, Any]) -> dict[str, Any]:
        """``Task`` in the words of the client's revision."""
        calls, later = self._ingress.calls, _modern(ctx)
        status = StepStatus(view["steps"][0]["status"])
        held = status is StepStatus.HELD
        shown = {
            "taskId": plan.plan.plan_id,
            "status": _status(status, is_error_complete=later),
            "createdAt": format_time(plan.plan.received_at),
            "lastUpdatedAt": format_time(await calls.changed_at(plan)),
            "ttlMs" if later else "ttl": calls.kept_milliseconds,
            "pollIntervalMs" if later else "pollInterval": POLL_MILLISECONDS[held],
        }
        if status is not StepStatus.SUCCEEDED:
            shown["statusMessage"] = "\n".join(told(view, self._ingress.public_url, repeatable=False))
        return shown


def as_task(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> bool:
    """Whether a client of a session asks for its call as a task."""
    return ctx.protocol_version == TASKS_VERSION and params.task is not None


def patience_of(ctx: ServerRequestContext[Any], manifest: Manifest | None) -> float | None:
    """How long a client waits before it gets a task; ``None``: as long as any. One that may be asked something on the
    way is not sent off before: nobody could ask it any more."""
    askable = manifest is not None and not {str(one) for one in McpQuestion}.isdisjoint(manifest.actions)
    if not _extended(ctx) or (askable and abilities(ctx.session.client_capabilities)):
        return None
    return TASK_AFTER_SECONDS


def capabilities(protocol_version: str | None) -> Mapping[str, Any]:
    """Members of ``ServerCapabilities`` that say so. There is no ``tasks/list``: a task is its holder's."""
    if protocol_version is not None and protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
        return {"extensions": {EXTENSION: {}}}
    calls = types.ServerTasksRequestsCapability(tools=types.TasksToolsCapability(call=types.TasksCallCapability()))
    return {"tasks": types.ServerTasksCapability(cancel=types.TasksCancelCapability(), requests=calls)}


def _modern(ctx: ServerRequestContext[Any]) -> bool:
    return ctx.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS


def _extended(ctx: ServerRequestContext[Any]) -> bool:
    """Whether this very request says that its client knows the extension."""
    able = ctx.session.client_capabilities
    return _modern(ctx) and able is not None and EXTENSION in (able.extensions or {})


def _require(ctx: ServerRequestContext[Any], *, extended: bool) -> None:
    """Raise ``MCPError`` where the client's revision has no such method, or its client did not say that it knows it.

    Args:
        extended: the extension has the method.
    """
    if ctx.protocol_version == TASKS_VERSION:
        return
    if not _modern(ctx) or not extended:
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found")
    if not _extended(ctx):
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "The client does not say that it knows tasks",
            {"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
        )


def _is_call(plan: PlanState, hands: Mapping[str, Manifest]) -> bool:
    """Whether a plan is a call of a tool that came through MCP, of one of these hands. A plan whose content was erased
    has no ``jti`` any more."""
    the, steps = plan.plan, list(plan)
    if the.issuer.id != MCP_ISSUER or not (the.jti == "" or the.jti.startswith((CALL, NAMED))) or len(steps) != 1:
        return False
    step = steps[0].step
    return step.hand in hands and not is_method(hands[step.hand].adapter, step.action)


def _status(status: StepStatus, *, is_error_complete: bool) -> str:
    if not status.final:
        return "working"
    if status is StepStatus.CANCELLED:
        return "cancelled"
    return "completed" if status is StepStatus.SUCCEEDED or is_error_complete else "failed"


def _unknown() -> MCPError:
    return MCPError(types.INVALID_PARAMS, "Task not found")
