"""One session as its events tell of it, in whatever order and how often they come. No I/O, no clock.

Events are told apart by their ids. What is forgotten is only what needs no memory: an event that comes again changes
nothing. A tool use that was answered by somebody else, or that the service let go without asking, is a *bypass*.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gateway.managed_agents.events import (
    Answered,
    Ended,
    Event,
    Idle,
    Kind,
    ToolResult,
    ToolUse,
    Unread,
    Updated,
)

ASK: Final = "ask"
DENY: Final = "deny"


class Cause(StrEnum):
    """How something got past the gateway, or could."""

    LET_GO = "let_go"
    """The service ran a tool without asking: its permission policy is not ``always_ask`` any more."""
    ANSWERED_ELSEWHERE = "answered_elsewhere"
    """Another client of the workspace let a held tool go, or gave a custom tool's result."""
    POLICY = "policy"
    """The session's permission policies let tools go without asking, and none has yet."""


@dataclass(frozen=True, slots=True)
class Bypass:
    """Something that got past, once.

    Attributes:
        event_id: of the tool use; of the update, where policies changed; empty at the beginning.
    """

    cause: Cause
    event_id: str
    tool: str


@dataclass(slots=True)
class Conversation:
    """What is known of a session.

    Attributes:
        runs_here: names of the toolset's tools that are run here and not by the service (a self-hosted environment):
            its permission policy lets nothing go, because nobody there runs them.
        newest: the latest moment that any event names, as the service writes it; where listing goes on from.
    """

    runs_here: frozenset[str] = frozenset()
    uses: dict[str, ToolUse] = field(default_factory=dict)
    answered: dict[str, list[Answered]] = field(default_factory=dict)
    results: dict[str, ToolResult] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    """Everything that the session ever said it waits for."""
    agents: list[Updated] = field(default_factory=list)
    ended: bool = False
    resting: bool = False
    """Whether the last turn is over, and nothing happened since."""
    newest: str = ""
    unknown: int = 0
    """Events of types that nobody here knows."""
    broken: int = 0
    """Events that are not as their type is."""
    _seen: set[str] = field(default_factory=set)
    _unread: set[str] = field(default_factory=set)

    def hear(self, event: Event) -> bool:
        """Take an event in; whether it is a new one. An event without an id that can be told apart is none."""
        if isinstance(event, Unread):
            return self._leave(event)
        if event.id in self._seen:
            return False
        self._seen.add(event.id)
        if not isinstance(event, Answered):
            self.resting = isinstance(event, Idle) and not event.waits_for
        self.newest = max(self.newest, event.at)
        match event:
            case ToolUse():
                self.uses[event.id] = event
            case Answered():
                self.answered.setdefault(event.use_id, []).append(event)
            case ToolResult():
                self.results.setdefault(event.use_id, event)
            case Idle():
                self.blocked.update(event.waits_for)
            case Updated():
                if event.agent is not None:
                    self.agents.append(event)
            case Ended():
                self.ended = True
        return True

    def _leave(self, event: Unread) -> bool:
        """Count it. It takes nobody's place: the same event may come again as it should be."""
        if event.id in self._unread:
            return False
        self.resting = False
        self.unknown += not event.broken
        self.broken += event.broken
        if event.id:
            self._unread.add(event.id)
        return True

    def unseen(self) -> set[str]:
        """What the session waits for and was not told of: events that are late, or that nobody here can read."""
        return {one for one in self.blocked if one not in self.uses and one not in self.answered}

    def waiting(self, known: Collection[str]) -> list[ToolUse]:
        """Tool uses that the session waits for, nobody answered, and that are not ``known``, in their order."""
        return [
            use
            for use in sorted(self.uses.values(), key=lambda use: (use.at, use.id))
            if use.id in self.blocked and use.id not in self.answered and use.id not in known and not self.decided(use)
        ]

    def decided(self, use: ToolUse) -> bool:
        """Whether the service decided itself, so that there is nothing to answer."""
        return use.kind is not Kind.CUSTOM and use.permission == DENY

    def bypasses(self, let_go: Collection[str], denied: Collection[str], since: str) -> list[Bypass]:
        """What got past since a moment.

        Args:
            let_go: tool uses that this gateway let go or gave a result of, or may have.
            denied: those that it denied, or may have; of a custom tool, that is a result too.
            since: events up to this moment, as the service writes it, are from before the adoption.
        """
        found = []
        for use in self.uses.values():
            if use.at <= since:
                continue
            here = use.kind is Kind.TOOLSET and use.name in self.runs_here
            if use.kind is not Kind.CUSTOM and not here and use.permission not in {ASK, DENY}:
                found.append(Bypass(Cause.LET_GO, use.id, use.name))
            elif use.id not in let_go and any(
                one.allowed is True or (one.allowed is None and use.id not in denied)
                for one in self.answered.get(use.id, ())
            ):
                found.append(Bypass(Cause.ANSWERED_ELSEWHERE, use.id, use.name))
        return found

    def hear_all(self, events: Iterable[Event]) -> int:
        """Take events in; how many are new."""
        return sum(self.hear(event) for event in events)
