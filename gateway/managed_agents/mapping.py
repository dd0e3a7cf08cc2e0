"""Which hand and action a tool of an agent is. The operator's settings say it; a tool's own words decide nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gateway.managed_agents.events import Kind, ToolUse
from gateway.tool_names import parts

_HAND: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_ACTION: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")


class Way(StrEnum):
    """How a tool use is served."""

    RELEASED = "released"
    """The service runs it; the gateway lets it go, or not."""
    RUN = "run"
    """A hand of the gateway runs it, and its result is sent."""
    DENIED = "denied"
    """It is nobody's."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """Where a tool use goes; without a hand it is denied."""

    way: Way
    hand: str = ""
    action: str = ""


NOBODYS: Final = Mapped(Way.DENIED)


@dataclass(frozen=True, slots=True)
class Tools:
    """The operator's word on the tools of a connector's agents.

    Attributes:
        toolset_hand: hand of the kind ``client`` whose actions are the tools of Anthropic's toolset.
        mcp_hands: MCP server -> hand of the kind ``client`` whose actions are its tools.
        custom_tools: custom tool -> ``hand.action``, where its name does not say it.
        here: tool of the toolset -> ``hand.action`` that runs it in a self-hosted environment.
    """

    toolset_hand: str | None = None
    mcp_hands: Mapping[str, str] = field(default_factory=dict)
    custom_tools: Mapping[str, str] = field(default_factory=dict)
    here: Mapping[str, str] = field(default_factory=dict)

    def of(self, use: ToolUse) -> Mapped:
        """Where a tool use goes."""
        if use.kind is Kind.CUSTOM:
            return self.custom(use.name)
        return self.toolset(use.name) if use.server is None else self.mcp(use.server, use.name)

    def toolset(self, name: str) -> Mapped:
        """Where a tool of Anthropic's toolset goes."""
        if name in self.here:
            return _run(*_dotted(self.here[name]))
        return _released(self.toolset_hand, name)

    def mcp(self, server: str, name: str) -> Mapped:
        """Where a tool of an MCP server goes that the service calls."""
        return _released(self.mcp_hands.get(server), name)

    def custom(self, name: str) -> Mapped:
        """Where a custom tool goes: as the settings say, else by its name ``<hand>__<action>``."""
        if name in self.custom_tools:
            return _run(*_dotted(self.custom_tools[name]))
        return _run(*parts(name))


def _released(hand: str | None, action: str) -> Mapped:
    if hand is None or _ACTION.fullmatch(action) is None:
        return NOBODYS
    return Mapped(Way.RELEASED, hand, action)


def _dotted(target: str) -> tuple[str, str]:
    """Hand and action as the settings name them."""
    hand, _, action = target.partition(".")
    return hand, action


def _run(hand: str, action: str) -> Mapped:
    if _HAND.fullmatch(hand) is None or _ACTION.fullmatch(action) is None:
        return NOBODYS
    return Mapped(Way.RUN, hand, action)
