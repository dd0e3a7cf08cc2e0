"""Events of a session, read strictly: what the connector acts on, and nothing else of them.

The SDK builds its models without looking at the values, so that an event of tomorrow is no error today. What is acted
on here was looked at: an id that is an id, an input that is an object. An event that is not as it should be is
:class:`Unread`, and so is one of a type that nobody here knows; whatever waits on such a one is never answered.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Ids become the names of steps."""
SESSION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
NAME_MAX_CHARACTERS: Final = 128
MOMENT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class Kind(StrEnum):
    """Whose tool it is."""

    TOOLSET = "agent.tool_use"
    """Anthropic's own: bash, files, the web."""
    MCP = "agent.mcp_tool_use"
    """Of an MCP server that Anthropic calls."""
    CUSTOM = "agent.custom_tool_use"
    """Nobody's there: whoever follows the session runs it."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """An agent calls a tool.

    Attributes:
        permission: what the service made of its own permission policy: ``ask``, ``allow``, ``deny``, or a word that is
            new; ``None`` for a custom tool, which has none.
        server: of an MCP tool.
        at: when, by the service's clock: RFC 3339 in UTC with six digits of a second, so that texts sort as moments do.
    """

    id: str
    kind: Kind
    name: str
    input: Mapping[str, Any]
    at: str
    permission: str | None = None
    server: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """Somebody with a key of the workspace answered a tool use: this gateway, or not.

    Attributes:
        allowed: of a confirmation; ``None`` where it is a result.
    """

    id: str
    use_id: str
    allowed: bool | None
    at: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a tool that the service ran."""

    id: str
    use_id: str
    content: tuple[Mapping[str, Any], ...]
    is_error: bool
    at: str


@dataclass(frozen=True, slots=True)
class Idle:
    """The session, or a thread of it, waits.

    Attributes:
        waits_for: ids of the tool uses that it is blocked on; empty where a turn has ended.
    """

    id: str
    waits_for: tuple[str, ...]
    at: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more comes."""

    id: str
    at: str


@dataclass(frozen=True, slots=True)
class Updated:
    """The session was changed.

    Attributes:
        agent: its whole agent as it is now, where that changed.
    """

    id: str
    agent: Mapping[str, Any] | None
    at: str


@dataclass(frozen=True, slots=True)
class Unread:
    """An event that nothing is done about.

    Attributes:
        type: as it says, at most 64 characters; empty where it says none.
        broken: it is of a type that is known, and not as such events are.
    """

    id: str
    type: str
    broken: bool
    at: str = ""


Event = ToolUse | Answered | ToolResult | Idle | Ended | Updated | Unread

_RESULTS: Final = {"agent.tool_result": "tool_use_id", "agent.mcp_tool_result": "mcp_tool_use_id"}
_ANSWERS: Final = {
    "user.tool_confirmation": "tool_use_id",
    "user.custom_tool_result": "custom_tool_use_id",
    "user.tool_result": "tool_use_id",
}
_IDLE: Final = frozenset({"session.status_idle", "session.thread_status_idle"})
_ENDED: Final = frozenset({"session.status_terminated", "session.deleted"})
_USES: Final = frozenset(str(kind) for kind in Kind)
_KNOWN: Final = frozenset({*_USES, *_RESULTS, *_ANSWERS, *_IDLE, *_ENDED, "session.updated"})


def read(document: Mapping[str, Any]) -> Event:
    """The event in a document of the events API."""
    kind = document.get("type")
    if not isinstance(kind, str):
        return Unread(_shown(document.get("id")), "", broken=True)
    if kind not in _KNOWN:
        return Unread(_shown(document.get("id")), kind[:64], broken=False, at=_moment(document))
    try:
        return _read(kind, document)
    except (KeyError, TypeError, ValueError):
        return Unread(_shown(document.get("id")), kind, broken=True, at=_moment(document))


def _read(kind: str, document: Mapping[str, Any]) -> Event:
    id_, at = _id(document["id"]), _moment(document)
    if kind in _USES:
        return _tool_use(Kind(kind), id_, at, document)
    if kind in _ANSWERS:
        allowed = _verdict(document["result"]) if kind == "user.tool_confirmation" else None
        return Answered(id_, _id(document[_ANSWERS[kind]]), allowed, at)
    if kind in _RESULTS:
        content = document.get("content") or []
        if not isinstance(content, list) or not all(isinstance(block, Mapping) for block in content):
            raise ValueError("content")
        return ToolResult(id_, _id(document[_RESULTS[kind]]), tuple(content), document.get("is_error") is True, at)
    if kind in _IDLE:
        reason = document["stop_reason"]
        waits = reason["event_ids"] if reason["type"] == "requires_action" else []
        if not isinstance(waits, list):
            raise ValueError("event_ids")
        return Idle(id_, tuple(dict.fromkeys(_id(one) for one in waits)), at)
    if kind in _ENDED:
        return Ended(id_, at)
    agent = document.get("agent")
    if agent is not None and not isinstance(agent, Mapping):
        raise ValueError("agent")
    return Updated(id_, agent, at)


def _tool_use(kind: Kind, id_: str, at: str, document: Mapping[str, Any]) -> ToolUse:
    given, permission = document["input"], document.get("evaluated_permission")
    if not at:
        raise ValueError("processed_at")
    if not isinstance(given, dict) or not (permission is None or isinstance(permission, str)):
        raise ValueError("input")
    server = _name(document["mcp_server_name"]) if kind is Kind.MCP else None
    return ToolUse(id_, kind, _name(document["name"]), given, at, permission, server)


def _id(value: Any) -> str:
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise ValueError("id")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= NAME_MAX_CHARACTERS:
        raise ValueError("name")
    return value


def _verdict(value: Any) -> bool:
    """A word that nobody knows counts as the one that lets go."""
    if not isinstance(value, str):
        raise TypeError("result")
    return value != "deny"


def _moment(document: Mapping[str, Any]) -> str:
    """``processed_at`` in one form; empty where there is none yet: the event waits at the service."""
    at = document.get("processed_at")
    try:
        moment = at if isinstance(at, datetime) else datetime.fromisoformat(at)  # type: ignore[arg-type]
        return moment.astimezone(UTC).strftime(MOMENT) if moment.tzinfo is not None else ""
    except (TypeError, ValueError, OverflowError):
        return ""


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""
