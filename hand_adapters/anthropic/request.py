"""What a request to the Messages API asks for beside an answer: things that the provider does itself, where nobody here
decides on them any more. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.errors import Refused
from gateway.pointers import pointer
from gateway.reasons import Reason
from gateway.settings import ModelSettings

_HARMLESS: Final = ("bash_", "text_editor_", "memory_", "computer_", "tool_search_tool_")
"""Tools of the provider's own schemas that the client runs, and the search through the request's own tools."""


def facts(args: Mapping[str, Any], allowed: ModelSettings) -> dict[str, Any]:
    """What policies see of a request as ``analysis``: ``{model, max_tokens, tools, server_tools, mcp_servers,
    url_sources, betas, fields}``; ``tools`` has the names of tools that the client runs, ``fields`` the members of the
    body.

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
    for place, url in _urls(args):
        fetched += 1
        if not allowed.url_sources:
            raise _refused("URL that the provider fetches", "url_sources", *place)
        if not isinstance(url, str):
            raise _refused("URL that is no text", "url_sources", *place)
    return {
        "model": args["model"],
        "max_tokens": args.get("max_tokens"),
        "tools": sorted(set(names)),
        "server_tools": sorted(set(server)),
        "mcp_servers": sorted(set(servers)),
        "url_sources": fetched,
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


def _urls(args: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Where the request has a ``source`` of the type ``url``, and which: in messages, in results of tools within them,
    in the system prompt."""
    pending: list[tuple[tuple[str | int, ...], Any]] = [((name,), args.get(name)) for name in ("messages", "system")]
    while pending:
        place, value = pending.pop()
        if isinstance(value, Mapping):
            if value.get("type") == "url" and "url" in value:
                yield place, value["url"]
            # What a tool was called with is data of the conversation, and no block.
            inner = () if value.get("type") in {"tool_use", "server_tool_use"} else value.items()
            pending += [((*place, name), one) for name, one in inner]
        elif isinstance(value, list):
            pending += [((*place, number), one) for number, one in enumerate(value)]


def _refused(what: str, setting: str, *place: str | int) -> Refused:
    why = f"A {what}, which the operator has not listed ({setting})."
    return Refused(Reason.SCHEMA_ANALYSIS, what, pointer=pointer(place), problem="provider_acts", why=why)
