"""From a server's tool list to a manifest: every page, bounded, and only what can be checked."""

import re
from typing import Final

from mcp import Client
from mcp_types import PaginatedRequestParams, Tool

from gateway.errors import Refused
from gateway.manifest import ActionManifest, Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters import annotate
from hand_adapters.contract import HandError
from hand_adapters.schemas import SchemaError

LISTING_MAX_BYTES: Final = 4_194_304
"""Largest page of a tool list."""
PAGES_MAX: Final = 64
TOOLS_MAX: Final = 512
TEXT_MAX: Final = 65_536
"""Characters of instructions or of one description."""
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


async def tools(client: Client) -> list[Tool]:
    """Every tool the server lists.

    Raises:
        HandError: ``hand.protocol``, not executed: endless or repeated pages, too many tools, one name twice.
        mcp.MCPError: the server answered with an error or the connection ended.
        pydantic.ValidationError: a page that is none.
    """
    found: list[Tool] = []
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(PAGES_MAX):
        page = await client.session.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
        found += page.tools
        cursor = page.next_cursor
        if len(found) > TOOLS_MAX or cursor in seen:
            break
        if not cursor:
            return checked(found)
        seen.add(cursor)
    raise _protocol("the tool list does not end")


def checked(found: list[Tool]) -> list[Tool]:
    """Tools that can be told apart, and are not too many.

    Raises:
        HandError: ``hand.protocol``, not executed.
    """
    if len(found) > TOOLS_MAX:
        raise _protocol("too many tools")
    if len({tool.name for tool in found}) != len(found):
        raise _protocol("one tool name twice")
    return found


def manifest(
    hand_id: str, settings: HandSettings, offered: list[Tool], instructions: str | None
) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest, and a sentence for each tool that was left out and each declared action nobody offers.

    Raises:
        HandError: ``hand.protocol``, not executed: instructions beyond measure, or no canonical form.
    """
    notes: list[str] = []
    actions: list[ActionManifest] = []
    for tool in offered:
        try:
            actions.append(_action(settings, tool))
        except SchemaError as exc:
            name = tool.name if _NAME.fullmatch(tool.name) else "?"
            notes.append(f"Tool {name} is left out: its schema {exc.detail}.")
    unknown = sorted(set(settings.actions) - {action.name for action in actions})
    notes += [f"Action {name} is declared, and the server does not offer it." for name in unknown]
    if len(instructions or "") > TEXT_MAX:
        raise _protocol("instructions beyond measure")
    try:
        return annotate.manifest(hand_id, settings, actions, instructions=instructions or ""), tuple(notes)
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
