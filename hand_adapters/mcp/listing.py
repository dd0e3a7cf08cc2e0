"""From what a server lists to a manifest: every page, bounded, and only what can be checked."""

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from mcp import Client, MCPError
from mcp_types import METHOD_NOT_FOUND, PaginatedRequestParams, PaginatedResult, Prompt, ResourceTemplate, Tool

from gateway.errors import Refused
from gateway.manifest import ActionManifest, Manifest
from gateway.mcp_methods import METHODS, RESOURCE_METHODS, McpMethod, McpQuestion
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters import annotate
from hand_adapters.contract import HandError
from hand_adapters.mcp import methods
from hand_adapters.schemas import SchemaError

LISTING_MAX_BYTES: Final = 4_194_304
"""Largest page of a list."""
PAGES_MAX: Final = 64
TOOLS_MAX: Final = 512
"""Also the most prompts, and the most resource templates."""
TEXT_MAX: Final = 65_536
"""Characters of instructions or of one description."""
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")

_OF_RESOURCES: Final = RESOURCE_METHODS | {McpMethod.RESOURCES_SUBSCRIBE}

PageT = TypeVar("PageT", bound=PaginatedResult)
ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server says that it has.

    Attributes:
        prompts, templates: ``None`` of a server that has no prompts, or no resources, or was not asked for them.
        completions: whether it completes arguments.
    """

    tools: Sequence[Tool]
    instructions: str = ""
    prompts: Sequence[Prompt] | None = None
    templates: Sequence[ResourceTemplate] | None = None
    completions: bool = False


class Described(NamedTuple):
    """What a server offers, and which of its tools it runs as tasks alone."""

    manifest: Manifest
    as_tasks: frozenset[str]


async def offer(client: Client, wanted: Collection[str] = METHODS) -> Offer:
    """Every tool that the server lists, and the prompts and the templates that go with the ``wanted`` methods.

    Raises:
        HandError: ``hand.protocol``, not executed: endless or repeated pages, too many, one name twice.
        mcp.MCPError: the server answered with an error or the connection ended.
        pydantic.ValidationError: a page that is none.
    """
    session = client.session
    has = session.server_capabilities
    prompts: Sequence[Prompt] | None = None
    templates: Sequence[ResourceTemplate] | None = None
    try:
        tools = await _every(lambda params: session.list_tools(params=params), lambda page: page.tools, "tool")
    except MCPError as exc:
        if exc.code != METHOD_NOT_FOUND or has is None or has.tools is not None:
            raise
        tools = []
    if McpMethod.PROMPTS_GET in wanted and has is not None and has.prompts is not None:
        prompts = await _every(lambda params: session.list_prompts(params=params), lambda page: page.prompts, "prompt")
    if not _OF_RESOURCES.isdisjoint(wanted) and has is not None and has.resources is not None:
        try:
            templates = await _every(
                lambda params: session.list_resource_templates(params=params),
                lambda page: page.resource_templates,
                "template",
            )
        except MCPError as exc:
            if exc.code != METHOD_NOT_FOUND:
                raise
            templates = []
    completes = has is not None and has.completions is not None
    return checked(Offer(tools, session.instructions or "", prompts, templates, completes))


async def _every(
    ask: Callable[[PaginatedRequestParams | None], Awaitable[PageT]], items: Callable[[PageT], list[ItemT]], what: str
) -> list[ItemT]:
    found: list[ItemT] = []
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(PAGES_MAX):
        page = await ask(PaginatedRequestParams(cursor=cursor) if cursor else None)
        found += items(page)
        cursor = page.next_cursor
        if len(found) > TOOLS_MAX or cursor in seen:
            break
        if not cursor:
            return found
        seen.add(cursor)
    raise _protocol(f"the {what} list does not end")


def checked(offered: Offer) -> Offer:
    """An offer whose parts can be told apart, and are not too many.

    Raises:
        HandError: ``hand.protocol``, not executed.
    """
    for what, names in (
        ("tool", [tool.name for tool in offered.tools]),
        ("prompt", [prompt.name for prompt in offered.prompts or ()]),
        ("template", [template.uri_template for template in offered.templates or ()]),
    ):
        if len(names) > TOOLS_MAX:
            raise _protocol(f"too many {what}s")
        if len(set(names)) != len(names):
            raise _protocol(f"one {what} name twice")
    return offered


def as_tasks(offered: Offer) -> frozenset[str]:
    """The tools that their server runs as tasks and in no other way (2025-11-25)."""
    required = (tool for tool in offered.tools if tool.execution and tool.execution.task_support == "required")
    return frozenset(tool.name for tool in required)


def manifest(hand_id: str, settings: HandSettings, offered: Offer) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest, and a sentence for each tool that was left out and each declared action nobody offers.

    Raises:
        HandError: ``hand.protocol``, not executed: texts beyond measure, or no canonical form.
    """
    notes: list[str] = []
    actions: list[ActionManifest] = []
    for tool in offered.tools:
        try:
            actions.append(_action(settings, tool))
        except SchemaError as exc:
            name = tool.name if _NAME.fullmatch(tool.name) else "?"
            notes.append(f"Tool {name} is left out: its schema {exc.detail}.")
    texts = [offered.instructions, *methods.texts(offered.prompts or (), offered.templates or ())]
    if any(len(text) > TEXT_MAX for text in texts):
        raise _protocol("texts beyond measure")
    for method in (known for known in McpMethod if known in settings.actions):
        try:
            actions += methods.action(
                method,
                settings.actions[method],
                offered.prompts,
                offered.templates,
                completes=offered.completions,
            )
        except SchemaError as exc:
            notes.append(f"Method {method} is left out: {exc.detail}.")
    for asked in (one for one in McpQuestion if one in settings.actions):
        try:
            actions.append(methods.question(asked, settings.actions[asked], settings.mcp.elicitation_hosts))
        except SchemaError as exc:
            notes.append(f"Question {asked} is left out: {exc.detail}.")
    unknown = sorted(set(settings.actions) - {action.name for action in actions})
    notes += [f"Action {name} is declared, and the server does not offer it." for name in unknown]
    try:
        return annotate.manifest(hand_id, settings, actions, instructions=offered.instructions), tuple(notes)
    except Refused as refused:
        raise _protocol(refused.detail) from None


def _action(settings: HandSettings, tool: Tool) -> ActionManifest:
    if not _NAME.fullmatch(tool.name) or len(tool.description or "") > TEXT_MAX:
        raise SchemaError("is fine, but its name or description is not")
    claims = tool.annotations.model_dump(by_alias=True, mode="json", exclude_none=True) if tool.annotations else {}
    return annotate.action(
        tool.name,
        settings.actions.get(tool.name),
        args_schema=tool.input_schema,
        result_schema=tool.output_schema,
        description=tool.description or "",
        title=tool.title,
        annotations=claims,
    )


def _protocol(detail: str) -> HandError:
    return HandError(Reason.HAND_PROTOCOL, HandFailure.NOT_EXECUTED, detail)
