"""What is kept of sessions and of their tool uses, and what the connector needs of the store that keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.ports.log import Guard, Unless, Write


class State(StrEnum):
    """How a session stands."""

    FOLLOWING = "following"
    BYPASSED = "bypassed"
    """Something of it went past the gateway, or can: nothing of it is let go any more."""
    ENDED = "ended"
    RELEASED = "released"
    """An operator let it go; nobody here follows it."""

    @property
    def followed(self) -> bool:
        """Whether somebody here reads its events."""
        return self in {State.FOLLOWING, State.BYPASSED}


class UseState(StrEnum):
    """How far a tool use came."""

    JUDGED = "judged"
    """Its plan was signed, and may be on record."""
    ANSWERING = "answering"
    """Its answer is on record and may have been sent."""
    ANSWERED = "answered"
    """The service took it."""
    AMBIGUOUS = "ambiguous"
    """The answer was sent, and whether the service has it nobody knows yet."""
    OVER = "over"
    """The service does not wait for it any more, or somebody else answered it."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session; the columns of ``managed_sessions``."""

    connector: str
    session_id: str
    tenant: str
    subject: str
    agent_id: str
    context_id: str
    state: State
    adopted_at: float
    since: str


@dataclass(frozen=True, slots=True)
class UseRecord:
    """A tool use; the columns of ``managed_uses``."""

    connector: str
    session_id: str
    event_id: str
    plan_id: str
    signed_at: float
    state: UseState
    verdict: str = ""
    reported: bool = False


class Records(Protocol):
    """Rows of sessions and tool uses. Builders of writes do no I/O: the log's writer carries them."""

    owner: str

    def insert_session(self, session: SessionRecord) -> Guard:
        """A session that was not known. Raises ``request.conflict`` (``agents.followed``) where it was."""

    def save_session(self, session: SessionRecord) -> Write:
        """What it is now."""

    def take(self, session: SessionRecord, now: float, until: float) -> tuple[Sequence[Unless], Write]:
        """Follow it, or go on following it, until then (seconds since the epoch). Raises ``Overtaken`` where another
        gateway follows it now, or nobody is to."""

    def leave(self, session: SessionRecord, now: float) -> Write:
        """Leave it to the other gateways at once, if this one follows it."""

    def drop(self, session: SessionRecord) -> Write:
        """Nobody follows it any more."""

    def unless_lost(self, session: SessionRecord, now: float) -> Sequence[Unless]:
        """Unless this gateway does not follow it any more."""

    def insert_use(self, use: UseRecord) -> Guard:
        """A tool use that was not known. Raises ``Overtaken`` where it was."""

    def save_use(self, use: UseRecord) -> Write:
        """What it is now."""

    async def session(self, connector: str, session_id: str) -> SessionRecord | None:
        """Raises ``log.unavailable``; ``gateway.internal`` for a row that is not as it was left."""

    async def sessions(self, tenant: str | None = None) -> Sequence[SessionRecord]:
        """All that are sound, newest first."""

    async def free(self, connector: str, now: float, limit: int) -> Sequence[SessionRecord]:
        """Sessions to be followed that no gateway follows now."""

    async def uses(self, connector: str, session_id: str) -> Sequence[UseRecord]:
        """The tool uses of a session. Raises as :meth:`session`."""
