"""Methods of MCP beside ``tools/call`` as actions of a hand: what a manifest says of them, and how one is run.

Prompts and templates are texts that a server chose and models or people read: they are pinned with the manifest, as
descriptions of tools are. Resources are data: they come as results.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
from mcp import Client
from mcp_types import (
    CompleteRequest,
    CompleteRequestParams,
    CompleteResult,
    GetPromptRequest,
    GetPromptRequestParams,
    GetPromptResult,
    ListResourcesRequest,
    ListResourcesResult,
    PaginatedRequestParams,
    Prompt,
    ReadResourceRequest,
    ReadResourceRequestParams,
    ReadResourceResult,
    ResourceTemplate,
)
from mcp_types import Request as McpRequest
from pydantic import BaseModel, ConfigDict

from gateway.calls import HandCall, HandResult
from gateway.manifest import ActionManifest, ArgumentRole
from gateway.mcp_methods import HOSTS, PROMPTS, TEMPLATES, McpMethod, McpQuestion
from gateway.reasons import Reason
from gateway.settings import ActionSettings
from hand_adapters import annotate
from hand_adapters.mcp.rounds import Asked, Round

URI_MAX_CHARACTERS: Final = 4096
"""From 2026-07-28 a URI is a header as well, and servers take some 8 KiB of these."""
PAGES_MAX: Final = 64
COMPLETIONS_MAX: Final = 100
"""Values of one completion (MCP, completion)."""

_DESCRIPTIONS: Final = {
    McpMethod.RESOURCES_LIST: "Lists the server's resources.",
    McpMethod.RESOURCES_READ: "Reads a resource of the server.",
    McpMethod.RESOURCES_SUBSCRIBE: "Has the server say when a resource changes.",
    McpMethod.PROMPTS_GET: "Gets one of the server's prompts, filled in.",
    McpMethod.COMPLETION_COMPLETE: "Completes an argument of a prompt or of a resource template.",
    McpQuestion.SAMPLING: "The server asks the client's model.",
    McpQuestion.ELICITATION: "The server asks the person at the client.",
    McpQuestion.ROOTS: "The server asks which directories the client works in.",
}
_ANYTHING: Final = {"type": "object", "additionalProperties": True}
_TEXT: Final = {"type": "string", "maxLength": 65_536}
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT}
_URI: Final = {"type": "string", "minLength": 1, "maxLength": URI_MAX_CHARACTERS}


class _Answer(BaseModel):
    """A result as the server wrote it."""

    model_config = ConfigDict(extra="allow")


class Faulty(Exception):
    """The server's answer cannot be taken.

    Attributes:
        reason, detail: why.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def texts(prompts: Sequence[Prompt], templates: Sequence[ResourceTemplate]) -> Iterator[str]:
    """What a server says in prompts' and templates' own words."""
    for prompt in prompts:
        yield from (prompt.name, prompt.title or "", prompt.description or "")
        for argument in prompt.arguments or ():
            yield from (argument.name, argument.title or "", argument.description or "")
    for template in templates:
        yield from (template.uri_template, template.name, template.title or "", template.description or "")


def action(
    method: McpMethod,
    declared: ActionSettings,
    prompts: Sequence[Prompt] | None,
    templates: Sequence[ResourceTemplate] | None,
    *,
    completes: bool,
) -> list[ActionManifest]:
    """The action that a declared method becomes; none where the server has no such method, or no prompt to get.

    Raises:
        SchemaError: the declaration speaks of an argument that there is not.
    """
    annotations: dict[str, Any] = {}
    roles: dict[str, ArgumentRole] = {}
    if method is McpMethod.PROMPTS_GET:
        if not prompts:
            return []
        annotations[PROMPTS] = [_prompt(prompt) for prompt in sorted(prompts, key=lambda one: one.name)]
        schema = _object({"name": {"enum": [one["name"] for one in annotations[PROMPTS]]}, "arguments": _TEXTS}, "name")
    elif method is McpMethod.COMPLETION_COMPLETE:
        if not completes:
            return []
        schema = _COMPLETION
    elif templates is None:
        return []
    elif method is McpMethod.RESOURCES_LIST:
        schema = _object({})
    elif method is McpMethod.RESOURCES_SUBSCRIBE:
        # Whether the server does it is seen when it is asked: it says one thing in one era, and another in the other.
        schema = _object({"uri": _URI}, "uri")
        roles["/uri"] = ArgumentRole.RESOURCE
    else:
        annotations[TEMPLATES] = [_template(one) for one in sorted(templates, key=lambda one: one.uri_template)]
        schema = _object({"uri": _URI}, "uri")
        roles["/uri"] = ArgumentRole.RESOURCE
    made = annotate.action(
        method.value, declared, args_schema=schema, description=_DESCRIPTIONS[method], annotations=annotations
    )
    return [replace(made, roles=dict(sorted((roles | dict(made.roles)).items())))]


def question(asked: McpQuestion, declared: ActionSettings, hosts: Sequence[str]) -> ActionManifest:
    """The action that a declared question of the server's becomes: ``{request}`` when it is asked, ``{request,
    response}`` when it is answered.

    Args:
        hosts: where the server may send a person to.

    Raises:
        SchemaError: the declaration speaks of an argument that there is not.
    """
    annotations = {HOSTS: sorted(hosts)} if asked is McpQuestion.ELICITATION else {}
    schema = _object({"request": _ANYTHING, "response": _ANYTHING}, "request")
    return annotate.action(
        asked.value, declared, args_schema=schema, description=_DESCRIPTIONS[asked], annotations=annotations
    )


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_COMPLETION: Final = _object(
    {
        "ref": _object({"type": {"enum": ["ref/prompt", "ref/resource"]}, "name": _TEXT, "uri": _URI}, "type"),
        "argument": _object({"name": _TEXT, "value": _TEXT}, "name", "value"),
        "context": _object({"arguments": _TEXTS}),
    },
    "ref",
    "argument",
)


def _prompt(prompt: Prompt) -> dict[str, Any]:
    return _told(
        prompt,
        {"name", "title", "description"},
        arguments=[_told(one, {"name", "title", "description", "required"}) for one in prompt.arguments or ()],
    )


def _template(template: ResourceTemplate) -> dict[str, Any]:
    return _told(template, {"uri_template", "name", "title", "description", "mime_type"})


def _told(model: BaseModel, members: set[str], **more: Any) -> dict[str, Any]:
    """The members that are shown. Icons are not: whoever shows one asks a stranger for it."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True, include=members) | more


async def run(client: Client, call: HandCall, again: Round | None = None) -> HandResult | Asked:
    """Ask what a call of such an action asks, and take of the answer what the method gives.

    Raises:
        Faulty: an answer of the wrong type or size, one that is not finished, or a list that does not end.
        mcp.MCPError: the server answered with an error or the connection ended.
        pydantic.ValidationError: the answer is off the protocol.
    """
    method = McpMethod(call.action)
    if method is McpMethod.RESOURCES_LIST:
        return HandResult((), {"resources": await _resources(client, call.result_max_bytes)})
    params, request, result, members = _ASKED[method]
    beside = {} if again is None else again.params()
    asked = request(params=params.model_validate({**call.args, **beside}, by_name=False))
    answer = await _ask(client, asked, result)
    if isinstance(answer, Asked):
        return answer
    given = {name: answer[name] for name in members if name in answer}
    if method is McpMethod.COMPLETION_COMPLETE and len(given["completion"]["values"]) > COMPLETIONS_MAX:
        raise Faulty(Reason.HAND_PROTOCOL, "too many completions")
    return HandResult((), given)


_ASKED: Final[Mapping[McpMethod, tuple[type[BaseModel], Callable[..., McpRequest[Any, Any]], type[BaseModel], Any]]] = {
    McpMethod.RESOURCES_READ: (ReadResourceRequestParams, ReadResourceRequest, ReadResourceResult, ("contents",)),
    McpMethod.PROMPTS_GET: (GetPromptRequestParams, GetPromptRequest, GetPromptResult, ("description", "messages")),
    McpMethod.COMPLETION_COMPLETE: (CompleteRequestParams, CompleteRequest, CompleteResult, ("completion",)),
}
"""Method -> its params, its request, its result, and the members of that which are the hand's to give. Cursors, caching
hints and ``_meta`` are of the connection."""


async def _resources(client: Client, max_bytes: int) -> list[Any]:
    """Every resource, on every page."""
    found: list[Any] = []
    size = 0
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(PAGES_MAX):
        params = PaginatedRequestParams(cursor=cursor) if cursor else None
        page = await _ask(client, ListResourcesRequest(params=params), ListResourcesResult)
        if isinstance(page, Asked):
            raise Faulty(Reason.HAND_PROTOCOL, "a question instead of a list")
        size += len(orjson.dumps(page["resources"]))
        if size > max_bytes:
            raise Faulty(Reason.HAND_RESULT_TOO_LARGE, "answer")
        found += page["resources"]
        cursor = page.get("nextCursor")
        if not cursor:
            return found
        if cursor in seen:
            break
        seen.add(cursor)
    raise Faulty(Reason.HAND_PROTOCOL, "the resource list does not end")


async def _ask(client: Client, request: McpRequest[Any, Any], result: type[BaseModel]) -> dict[str, Any] | Asked:
    """The answer as the server wrote it, once it is known to be one; or the question that it is instead."""
    answer = (await client.session.send_request(request, _Answer)).model_extra or {}
    kind = answer.get("resultType", "complete")
    if kind == "input_required":
        return Asked.model_validate(answer, by_name=False)
    if kind != "complete":
        raise Faulty(Reason.HAND_PROTOCOL, "not a finished result")
    result.model_validate(answer, by_name=False)
    return answer
