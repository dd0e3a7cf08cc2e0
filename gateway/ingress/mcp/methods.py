"""Resources, prompts and completion at the MCP ingress.

``resources/list``, ``resources/read``, ``prompts/get`` and ``completion/complete`` become one-step plans, as calls of
tools do. Prompts and templates are listed as they were pinned, as tools are: their server is not asked. What a caller
may not see, what no hand has and what a server does not know are answered with the same words.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import structlog
from mcp import MCPError, types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from pydantic import BaseModel, ValidationError

from gateway.errors import HandrailError
from gateway.ingress.mcp.failures import Failed, error_of, no_resource, refusal
from gateway.ingress.mcp.listeners import Listed
from gateway.ingress.mcp.parking import Target
from gateway.ingress.mcp.requests import Asks, context_id, guarded, hand_of, scope_of
from gateway.ingress.mcp.results import told
from gateway.ingress.mcp.talks import Params, Talks, require_able
from gateway.ingress.mcp.tasks import capabilities as of_tasks
from gateway.ingress.mcp.uris import inward, outward, outward_block, outward_contents
from gateway.manifest import Manifest
from gateway.mcp_methods import (
    CODE_FACT,
    METHODS,
    PROMPTS,
    RESOURCE_METHODS,
    TEMPLATES,
    McpMethod,
    is_method,
)
from gateway.model import Principal, StepStatus
from gateway.reasons import TEXTS, Reason
from gateway.tool_names import tool_name

_log = structlog.get_logger(__name__)

LISTS_AT_ONCE: Final = 8
"""Hands of which one request lists resources at the same time."""
LEFT_OUT: Final = "handrail/left_out"
"""``_meta`` member of a list: hand -> code of the reason why nothing of it is there."""

_METHODS: ContextVar[frozenset[McpMethod]] = ContextVar("methods of the endpoint", default=frozenset())
_LOGS: ContextVar[bool] = ContextVar("whether servers of the endpoint may log", default=False)

ResultT = TypeVar("ResultT", bound=BaseModel)


def offered(manifests: Sequence[Manifest]) -> frozenset[McpMethod]:
    """The methods that some hand has."""
    return frozenset(McpMethod(name) for manifest in manifests for name in _of(manifest))


def declare(methods: frozenset[McpMethod], *, logs: bool) -> None:
    """What a server that greets a client in this context says it can do."""
    _METHODS.set(methods)
    _LOGS.set(logs)


class GovernedServer(Server[Any]):
    """The SDK's server, which says of itself what the caller may use."""

    def get_capabilities(self, *args: Any, **named: Any) -> types.ServerCapabilities:
        """Without what no hand of the endpoint has for this caller."""
        capabilities = super().get_capabilities(*args, **named)
        methods = _METHODS.get()
        absent = {
            "resources": (RESOURCE_METHODS | {McpMethod.RESOURCES_SUBSCRIBE}).isdisjoint(methods),
            "prompts": McpMethod.PROMPTS_GET not in methods,
            "completions": McpMethod.COMPLETION_COMPLETE not in methods,
            "logging": not _LOGS.get(),
        }
        update = {name: None for name, missing in absent.items() if missing}
        told = capabilities.model_copy(update={**update, **of_tasks(named.get("protocol_version"))})
        for lists in (told.tools, told.prompts):
            if lists is not None:
                lists.list_changed = True  # sessions are told of the lists that they were given
        if told.resources is not None:
            # Resources are listed by asking their server each time: nobody here knows when that would say others.
            watched = bool(told.resources.subscribe) and McpMethod.RESOURCES_SUBSCRIBE in methods
            told.resources = told.resources.model_copy(update={"subscribe": watched, "list_changed": False})
        return told


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Who asks, and where.

    Attributes:
        hands: id -> manifest, of the hands that the caller may use here and that have the method.
        alone: whether it is the endpoint of one hand, where names and URIs are the server's own.
    """

    ctx: ServerRequestContext[Any]
    caller: Principal
    hands: Mapping[str, Manifest]
    alone: bool

    def located(self, uri: str) -> tuple[str, str] | None:
        """Hand and own URI of a URI that a client names; ``None`` where no hand here has it."""
        if self.alone:
            return next(((hand, uri) for hand in self.hands), None)
        found = inward(uri)
        return found if found is not None and found[0] in self.hands else None

    def uri(self, hand: str, uri: str) -> str:
        """A server's URI as this endpoint names it."""
        return uri if self.alone else outward(hand, uri)

    def prompts(self) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
        """Name -> hand and prompt. A name claimed twice is nobody's."""
        named = [
            (tool_name(hand, prompt["name"], alone=self.alone), hand, prompt)
            for hand, manifest in self.hands.items()
            for prompt in _pinned(manifest, McpMethod.PROMPTS_GET, PROMPTS)
        ]
        claims = Counter(name for name, _, _ in named)
        for name in sorted(name for name, count in claims.items() if count > 1):
            _log.warning("two prompts claim one name; neither is offered", prompt=name)
        return {name: (hand, prompt) for name, hand, prompt in named if claims[name] == 1}


class Ingress(Asks, Protocol):
    """What these handlers ask of the ingress."""

    async def listed(self, ctx: ServerRequestContext[Any], listed: Listed) -> None:
        """A client was given a list."""

    @property
    def talks(self) -> Talks:
        """The calls whose clients can be talked to."""


class Methods:
    """The handlers of these methods."""

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress

    # --- lists -------------------------------------------------------------------------------------------------------

    async def list_resources(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """The resources of every hand that tells them to this caller now, each asked by a plan of its own. At a hand's
        own endpoint a refusal is the answer; at that of all hands the others' are."""
        with guarded("resources/list"):
            endpoint = self._endpoint(ctx, params, *RESOURCE_METHODS)
            hands = [hand for hand, one in endpoint.hands.items() if McpMethod.RESOURCES_LIST in one.actions]
            context, gate = context_id(ctx, endpoint.caller), asyncio.Semaphore(LISTS_AT_ONCE)

            async def one(hand: str) -> list[types.Resource] | Failed:
                async with gate:
                    try:
                        found = await self._result(
                            endpoint, hand, McpMethod.RESOURCES_LIST, {}, context, types.ListResourcesResult
                        )
                    except Failed as failed:
                        return failed
                return [
                    item.model_copy(update={"uri": endpoint.uri(hand, item.uri), "icons": None})
                    for item in found.resources
                ]

            lists = dict(zip(hands, await asyncio.gather(*map(one, hands)), strict=True))
            left_out = {hand: found for hand, found in lists.items() if isinstance(found, Failed)}
            if endpoint.alone and left_out:
                raise error_of(left_out.popitem()[1])
            found = [item for items in lists.values() if not isinstance(items, Failed) for item in items]
            meta = {LEFT_OUT: {hand: failed.code for hand, failed in left_out.items()}} if left_out else None
            return types.ListResourcesResult(resources=found, _meta=meta, ttl_ms=0, cache_scope="private")

    async def list_templates(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """The templates that were pinned, of hands whose resources the caller may read."""
        with guarded("resources/templates/list"):
            endpoint = self._endpoint(ctx, params, *RESOURCE_METHODS)
            hidden = await self._ingress.hidden(endpoint.caller, [*endpoint.hands.values()])
            templates = [
                types.ResourceTemplate.model_validate(
                    {**one, "uriTemplate": endpoint.uri(hand, one["uriTemplate"])}, by_name=False
                )
                for hand, manifest in endpoint.hands.items()
                if McpMethod.RESOURCES_READ not in hidden.get(hand, ())
                for one in _pinned(manifest, McpMethod.RESOURCES_READ, TEMPLATES)
            ]
            return types.ListResourceTemplatesResult(resource_templates=templates, ttl_ms=0, cache_scope="private")

    async def list_prompts(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        """The prompts that were pinned, of hands of which the caller may get any."""
        with guarded("prompts/list"):
            endpoint = self._endpoint(ctx, params, McpMethod.PROMPTS_GET)
            await self._ingress.listed(ctx, Listed.PROMPTS)
            hidden = await self._ingress.hidden(endpoint.caller, [*endpoint.hands.values()])
            prompts = [
                types.Prompt.model_validate({**prompt, "name": name}, by_name=False)
                for name, (hand, prompt) in endpoint.prompts().items()
                if McpMethod.PROMPTS_GET not in hidden.get(hand, ())
            ]
            return types.ListPromptsResult(prompts=prompts, ttl_ms=0, cache_scope="private")

    # --- one of them -------------------------------------------------------------------------------------------------

    async def read_resource(
        self, ctx: ServerRequestContext[Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult | types.InputRequiredResult:
        """One resource."""
        with guarded("resources/read"):
            endpoint = self._endpoint(ctx, None, McpMethod.RESOURCES_READ)
            located = endpoint.located(params.uri)
            if located is None:
                self._ingress.count(endpoint.caller, Reason.SCHEMA_UNKNOWN_ACTION)
                raise no_resource(ctx, params.uri)
            hand, uri = located
            try:
                found = await self._talked(
                    endpoint, hand, McpMethod.RESOURCES_READ, {"uri": uri}, params, types.ReadResourceResult
                )
            except Failed as failed:
                raise (no_resource(ctx, params.uri) if failed.by_the_params else error_of(failed)) from None
            if isinstance(found, types.InputRequiredResult):
                return found
            contents = found.contents if endpoint.alone else [outward_contents(hand, one) for one in found.contents]
            return types.ReadResourceResult(contents=contents, ttl_ms=0, cache_scope="private")

    async def get_prompt(
        self, ctx: ServerRequestContext[Any], params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        """One prompt, filled in."""
        with guarded("prompts/get"):
            endpoint = self._endpoint(ctx, None, McpMethod.PROMPTS_GET)
            hand, prompt = self._prompt(endpoint, params.name)
            arguments = {} if params.arguments is None else {"arguments": params.arguments}
            asked = {"name": prompt["name"], **arguments}
            try:
                found = await self._talked(endpoint, hand, McpMethod.PROMPTS_GET, asked, params, types.GetPromptResult)
            except Failed as failed:
                raise error_of(failed) from None
            if isinstance(found, types.InputRequiredResult):
                return found
            messages = found.messages
            if not endpoint.alone:
                messages = [one.model_copy(update={"content": outward_block(hand, one.content)}) for one in messages]
            return types.GetPromptResult(description=found.description, messages=messages)

    async def complete(
        self, ctx: ServerRequestContext[Any], params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        """Values for an argument of a prompt, or of a template."""
        with guarded("completion/complete"):
            endpoint = self._endpoint(ctx, None, McpMethod.COMPLETION_COMPLETE)
            if isinstance(params.ref, types.PromptReference):
                hand, prompt = self._prompt(endpoint, params.ref.name)
                ref = {"type": params.ref.type, "name": prompt["name"]}
            else:
                located = endpoint.located(params.ref.uri)
                if located is None or McpMethod.RESOURCES_READ not in endpoint.hands[located[0]].actions:
                    self._ingress.count(endpoint.caller, Reason.SCHEMA_UNKNOWN_ACTION)
                    raise MCPError(types.INVALID_PARAMS, "Unknown reference")
                hand, uri = located
                ref = {"type": params.ref.type, "uri": uri}
            asked: dict[str, Any] = {"ref": ref, "argument": params.argument.model_dump()}
            if params.context is not None:
                asked["context"] = params.context.model_dump(exclude_none=True)
            context = context_id(ctx, endpoint.caller)
            try:
                found = await self._result(
                    endpoint, hand, McpMethod.COMPLETION_COMPLETE, asked, context, types.CompleteResult
                )
            except Failed as failed:
                raise error_of(failed) from None
            return types.CompleteResult(completion=found.completion)

    def placed(self, ctx: ServerRequestContext[Any], hand: str, result: types.CallToolResult) -> types.CallToolResult:
        """The result of a hand's tool, with links that can be followed at this endpoint."""
        endpoint = self._ingress.manifests(self._ingress.caller(ctx), hand_of(scope_of(ctx)))
        reads = any(one.hand == hand and McpMethod.RESOURCES_READ in _of(one) for one in endpoint)
        if hand_of(scope_of(ctx)) is not None or not reads:
            return result
        return result.model_copy(update={"content": [outward_block(hand, block) for block in result.content]})

    # --- inside ------------------------------------------------------------------------------------------------------

    def _endpoint(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None, *methods: McpMethod
    ) -> _Endpoint:
        """The endpoint as the caller may use it for one of the methods.

        Raises:
            MCPError: a cursor, for there is one page; no hand here has any of the methods.
        """
        if params is not None and params.cursor is not None:
            raise MCPError(types.INVALID_PARAMS, "Invalid cursor")
        caller, hand = self._ingress.caller(ctx), hand_of(scope_of(ctx))
        having = {
            manifest.hand: manifest
            for manifest in self._ingress.manifests(caller, hand)
            if not _of(manifest).isdisjoint(methods)
        }
        if not having:
            self._ingress.count(caller, Reason.SCHEMA_UNKNOWN_ACTION)
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found")
        return _Endpoint(ctx, caller, having, alone=hand is not None)

    def _prompt(self, endpoint: _Endpoint, name: str) -> tuple[str, Mapping[str, Any]]:
        """Hand and prompt of a name. Raises ``MCPError`` where there is none."""
        found = endpoint.prompts().get(name)
        if found is None:
            self._ingress.count(endpoint.caller, Reason.SCHEMA_UNKNOWN_ACTION)
            raise MCPError(types.INVALID_PARAMS, "Unknown prompt")
        return found

    async def _result(
        self,
        endpoint: _Endpoint,
        hand: str,
        method: McpMethod,
        arguments: Mapping[str, Any],
        context: str,
        kind: type[ResultT],
    ) -> ResultT:
        """What a plan of one step gives.

        Raises:
            Failed: it gives nothing, or, since policy took something out, nothing that the protocol knows.
        """
        try:
            view = await self._ingress.submit(endpoint.caller, hand, method.value, arguments, context)
        except HandrailError as error:
            raise refusal(error) from None
        return self._given(view, kind, repeatable=False)

    async def _talked(
        self,
        endpoint: _Endpoint,
        hand: str,
        method: McpMethod,
        arguments: Mapping[str, Any],
        params: Params,
        kind: type[ResultT],
    ) -> ResultT | types.InputRequiredResult:
        """The same of a method whose server may ask the client something before it answers; or what it asks.

        Raises:
            Failed: as above.
            MCPError: see :meth:`Talks.call`.
        """
        target = Target(endpoint.caller, hand, method.value, arguments)
        try:
            view = await self._ingress.talks.call(
                endpoint.ctx, target, context_id(endpoint.ctx, endpoint.caller), params
            )
        except HandrailError as error:
            raise refusal(error) from None
        if isinstance(view, types.InputRequiredResult):
            return view
        require_able(endpoint.ctx, view, endpoint.hands[hand])
        return self._given(view, kind)

    def _given(self, view: Mapping[str, Any], kind: type[ResultT], *, repeatable: bool = True) -> ResultT:
        step = view["steps"][0]
        if StepStatus(step["status"]) is not StepStatus.SUCCEEDED:
            why = step.get("error") or {}
            lines = told(view, self._ingress.public_url, repeatable=repeatable)
            raise Failed(why.get("code", step["status"]), lines, why.get(CODE_FACT))
        try:
            return kind.model_validate((step.get("result") or {}).get("structured"), by_name=False)
        except ValidationError:
            reason = Reason.HAND_PROTOCOL
            raise Failed(str(reason), [f"{reason}: {TEXTS[reason]}"]) from None


def _of(manifest: Manifest) -> frozenset[str]:
    return frozenset(name for name in manifest.actions if name in METHODS and is_method(manifest.adapter, name))


def _pinned(manifest: Manifest, method: McpMethod, member: str) -> Iterator[Mapping[str, Any]]:
    action = manifest.actions.get(method)
    if action is not None and is_method(manifest.adapter, method):
        yield from action.annotations.get(member, ())
