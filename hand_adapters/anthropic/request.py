"""What a request to the Messages API asks for beside an answer: things that the provider does itself, where nobody here
decides on them any more. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.errors import Refused
from gateway.messages_api.blocks import CALLS
from gateway.pointers import pointer
from gateway.reasons import Reason
from gateway.settings import ModelSettings

_HARMLESS: Final = ("bash_", "text_editor_", "memory_", "computer_", "tool_search_tool_")
"""Tools of the provider's own schemas that the client runs, and the search through the request's own tools."""

_INPUT: Final = "input"
_TOLD_BACK: Final = (
    "code_execution_output",
    "bash_code_execution_output",
    "char_location",
    "page_location",
    "content_block_location",
    "search_result_location",
    "web_search_result_location",
)
"""What the provider itself said about files, in results and citations: repeated, it reads none."""


def facts(args: Mapping[str, Any], allowed: ModelSettings) -> dict[str, Any]:
    """What policies see of a request as ``analysis``: ``{model, max_tokens, tools, server_tools, mcp_servers,
    url_sources, kept, betas, fields}``; ``tools`` has the names of tools that the client runs, ``kept`` the kinds of
    things at the provider that it names, ``fields`` the members of the body.

    Raises:
        Refused: ``schema.analysis``: the request asks for something by the provider that the operator has not listed.
    """
    names: list[str] = []
    server: list[str] = []
    for number, tool in enumerate(args.get("tools") or ()):
        kind = tool.get("type", "custom")
        if kind == "custom" or (isinstance(kind, str) and kind.startswith(_HARMLESS)):
            names.append(str(tool.get("name", "")))
        elif kind in allowed.server_tools:
            server.append(kind)
        else:
            raise _refused("tool that the provider runs", "server_tools", "tools", number)
    servers: list[str] = []
    for number, one in enumerate(args.get("mcp_servers") or ()):
        url = one.get("url")
        if url not in allowed.mcp_servers:
            raise _refused("MCP server that the provider calls", "mcp_servers", "mcp_servers", number)
        servers.append(url)
    fetched = 0
    kept: set[str] = set()
    for place, kind in _kept(args):
        if kind not in allowed.kept:
            raise _refused("thing kept at the provider for whoever has its id", f'kept = ["{kind}"]', *place)
        kept.add(kind)
    for place, block in _blocks(args):
        if block.get("type") == "url" and "url" in block:
            fetched += 1
            if not allowed.url_sources:
                raise _refused("URL that the provider fetches", "url_sources", *place)
            if not isinstance(block["url"], str):
                raise _refused("URL that is no text", "url_sources", *place)
    return {
        "model": args["model"],
        "max_tokens": args.get("max_tokens"),
        "tools": sorted(set(names)),
        "server_tools": sorted(set(server)),
        "mcp_servers": sorted(set(servers)),
        "url_sources": fetched,
        "kept": sorted(kept),
        "betas": list(args.get("betas", ())),
        "fields": sorted(args),
    }


def params(one: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request in one of a batch. Raises ``schema.analysis`` where there is none."""
    found = one.get("params")
    sound = isinstance(found, Mapping) and isinstance(found.get("model"), str)
    if (
        not isinstance(found, Mapping)
        or not sound
        or not all(isinstance(value, Mapping) for name in ("tools", "mcp_servers") for value in found.get(name) or ())
    ):
        raise Refused(Reason.SCHEMA_ANALYSIS, "no request", pointer="/requests", problem="no_request")
    return found


def _kept(args: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where the request names something that the provider keeps, and of which kind. One key reaches what all its users
    keep there, so that an id is all that it takes to read another caller's."""
    if args.get("thread") is not None:
        yield ("thread",), "threads"
    container = args.get("container")
    if isinstance(container, Mapping):
        for number, skill in enumerate(container.get("skills") or ()):
            if not isinstance(skill, Mapping) or skill.get("type") != "anthropic":
                yield ("container", "skills", number), "skills"
        container = container.get("id")
    if container is not None:
        yield ("container",), "containers"
    for place, block in _blocks(args):
        if block.get("file_id") is not None and block.get("type") not in _TOLD_BACK:
            yield place, "files"


def _blocks(args: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    """Blocks, sources and whatever else is an object, and where: in messages, in results of tools within them, in the
    system prompt."""
    pending: list[tuple[tuple[str | int, ...], Any]] = [((name,), args.get(name)) for name in ("messages", "system")]
    while pending:
        place, value = pending.pop()
        if isinstance(value, Mapping):
            yield place, value
            # What a tool was called with is data of the conversation, and no block. All else beside it is looked at,
            # whatever type its sender gave it.
            data = _INPUT if value.get("type") in CALLS else None
            pending += [((*place, name), one) for name, one in value.items() if name != data]
        elif isinstance(value, list):
            pending += [((*place, number), one) for number, one in enumerate(value)]


def _refused(what: str, setting: str, *place: str | int) -> Refused:
    why = f"A {what}, which the operator has not listed ({setting})."
    return Refused(Reason.SCHEMA_ANALYSIS, what, pointer=pointer(place), problem="provider_acts", why=why)
