"""Which permission policies an agent needs at Anthropic so that nothing of it gets past the gateway. Pure.

A toolset and each of its tools has a policy there: ``always_allow`` (the default of Anthropic's own toolset),
``always_ask`` or ``auto``, with which the service itself judges. The gateway is asked under ``always_ask`` alone. A
custom tool has none: nobody runs it but who follows the session.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.managed_agents.mapping import Mapped, Tools

ASKING: Final = "always_ask"
ALL: Final = "*"
"""Every tool of a toolset that has no word of its own."""
DISABLED: Final = "disabled"
COORDINATOR: Final = "coordinator"
"""The one form of several agents whose members can be looked at."""
_WITHOUT_TOOLS: Final = frozenset({"advisor", "self"})


@dataclass(frozen=True, slots=True)
class Word:
    """A permission policy as it stands.

    Attributes:
        toolset: ``toolset``, or the name of the MCP server.
        tool: its name; ``*`` for all others.
        policy: what the service does now; ``disabled`` where the tool cannot be called.
        to: where its calls go here; ``None`` for all others of a toolset.
    """

    toolset: str
    tool: str
    policy: str
    to: Mapped | None

    @property
    def open(self) -> bool:
        """Whether calls go past the gateway."""
        return self.policy not in {ASKING, DISABLED}


@dataclass(frozen=True, slots=True)
class Needs:
    """What an agent needs.

    Attributes:
        words: every policy that it has, in order.
        custom: name of a custom tool -> hand and action, or why calls of it are denied.
        others: ids of agents that it hands work to and whose tools are not said here.
        unknown: what nobody here knows, so that it cannot be said whether anything goes past.
    """

    words: tuple[Word, ...]
    custom: Mapping[str, Mapped]
    others: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def open(self) -> tuple[Word, ...]:
        """What goes past the gateway."""
        return tuple(word for word in self.words if word.open)

    @property
    def closed(self) -> bool:
        """Whether nothing goes past."""
        return not self.open and not self.unknown


def needs(agent: Mapping[str, Any], tools: Tools) -> Needs:
    """What an agent's policies are, and where its calls go.

    Args:
        agent: as the agents API has it, or a session's snapshot of it.
    """
    words: list[Word] = []
    custom: dict[str, Mapped] = {}
    unknown: list[str] = []
    crew = _mapping(agent.get("multiagent"))
    others: list[str] = []
    if crew and crew.get("type") != COORDINATOR:
        unknown.append(f"multiagent {crew.get('type')}")
    for one in _list(crew.get("agents")):
        if isinstance(one.get("tools"), list):
            inner = needs({**one, "multiagent": None}, tools)
            words += inner.words
            custom |= inner.custom
            unknown += inner.unknown
        elif one.get("type") == "agent" and isinstance(one.get("id"), str):
            others.append(one["id"])
        elif one.get("type") not in _WITHOUT_TOOLS:
            unknown.append(f"multiagent {one.get('type')}")
    for tool in _list(agent.get("tools")):
        kind = str(tool.get("type"))
        if kind == "custom":
            custom[str(tool.get("name"))] = tools.custom(str(tool.get("name")))
        elif kind.startswith("agent_toolset_"):
            words += [word for word in _words("toolset", tool, tools.toolset) if word.tool not in tools.here]
        elif kind == "mcp_toolset":
            server = str(tool.get("mcp_server_name"))
            words += _words(server, tool, lambda name, server=server: tools.mcp(server, name))
        else:
            unknown.append(kind)
    return Needs(tuple(dict.fromkeys(words)), custom, tuple(dict.fromkeys(others)), tuple(dict.fromkeys(unknown)))


def asking(agent: Mapping[str, Any], here: Collection[str]) -> list[dict[str, Any]]:
    """The agent's ``tools`` with ``always_ask`` wherever a call would go past; else as they are.

    Args:
        here: tools of the toolset that are run here, whose policies stay as they are.
    """
    return [_asking(tool, here) for tool in _list(agent.get("tools"))]


def _asking(tool: Mapping[str, Any], here: Collection[str]) -> dict[str, Any]:
    kind = str(tool.get("type"))
    if kind != "mcp_toolset" and not kind.startswith("agent_toolset_"):
        return dict(tool)
    ask = {"type": ASKING}
    default = {**_mapping(tool.get("default_config")), "permission_policy": ask}
    configs = []
    for config in _list(tool.get("configs")):
        kept = kind != "mcp_toolset" and config.get("name") in here
        configs.append(dict(config) if kept else {**config, "permission_policy": ask})
    return {**tool, "default_config": default, "configs": configs}


def _words(toolset: str, tool: Mapping[str, Any], mapped: Any) -> list[Word]:
    found = [_word(toolset, ALL, _mapping(tool.get("default_config")), None)]
    for config in _list(tool.get("configs")):
        name = str(config.get("name"))
        found.append(_word(toolset, name, config, mapped(name)))
    return found


def _word(toolset: str, tool: str, config: Mapping[str, Any], to: Mapped | None) -> Word:
    """A policy that is not said counts as the one that lets go."""
    policy = str(_mapping(config.get("permission_policy")).get("type", "always_allow"))
    return Word(toolset, tool, DISABLED if config.get("enabled") is False else policy, to)


def _list(value: Any) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
