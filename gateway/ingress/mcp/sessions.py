"""How many MCP sessions each principal has open, so that no principal can take them all.

The SDK counts sessions over all callers. This counts them by owner, from what goes through the ingress: a session is
open from the answer that names it until it is deleted, unknown to the SDK, or idle for longer than the SDK keeps it.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.errors import Unavailable
from gateway.reasons import Reason

SESSIONS_PER_PRINCIPAL_MAX: Final = 32

Owner = tuple[str, str]
"""Tenant and principal id."""


@dataclass(slots=True)
class _Session:
    owner: Owner
    hand: str | None
    used_at: float
    in_flight: int = 0


class Sessions:
    """The open sessions. Belongs to one event loop.

    Args:
        idle_seconds: after so long without a request in flight the SDK closes a session by itself.
        clock: monotonic seconds.
    """

    def __init__(self, idle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self._opening: Counter[Owner] = Counter()

    def begin_opening(self, owner: Owner) -> None:
        """Count a request that may open a session; :meth:`opened` or :meth:`not_opened` follows.

        Raises:
            Unavailable: ``gateway.overloaded``; every place of ``owner`` is taken by a session that is in use.
        """
        self._forget_idle()
        in_use = sum(session.owner == owner and session.in_flight > 0 for session in self._sessions.values())
        if in_use + self._opening[owner] >= SESSIONS_PER_PRINCIPAL_MAX:
            raise Unavailable(Reason.OVERLOADED, "MCP sessions of one principal", limit=SESSIONS_PER_PRINCIPAL_MAX)
        self._opening[owner] += 1

    def not_opened(self, owner: Owner) -> None:
        """The request of :meth:`begin_opening` is over and opened none."""
        self._opening[owner] -= 1
        if not self._opening[owner]:
            del self._opening[owner]

    def opened(self, session_id: str, owner: Owner, hand: str | None = None) -> list[tuple[str, str | None]]:
        """The request of :meth:`begin_opening` opened a session, and is in flight in it until :meth:`leave`.

        Args:
            hand: whose endpoint it is a session with; ``None`` for that of all hands.

        Returns:
            The sessions that ``owner`` now has too many, forgotten here and still to be closed, each with its hand:
            idle ones first, of those the one whose last use is oldest.
        """
        self.not_opened(owner)
        self._sessions[session_id] = _Session(owner, hand, self._clock(), in_flight=1)
        own = sorted(
            (session.in_flight > 0, session.used_at, other)
            for other, session in self._sessions.items()
            if session.owner == owner
        )
        surplus = [other for *_, other in own[: max(0, len(own) - SESSIONS_PER_PRINCIPAL_MAX)]]
        return [(other, self._sessions.pop(other).hand) for other in surplus]

    def enter(self, session_id: str, owner: Owner, hand: str | None = None) -> None:
        """A request of ``owner`` within a session begins. Somebody else's session, and one with another endpoint, is
        left alone: the SDK knows neither by that name there."""
        if (session := self._of(session_id, owner, hand)) is not None:
            session.in_flight += 1

    def leave(self, session_id: str, owner: Owner, hand: str | None = None) -> None:
        """The request of :meth:`enter` or :meth:`opened` is over."""
        if (session := self._of(session_id, owner, hand)) is not None:
            session.in_flight -= 1
            session.used_at = self._clock()

    def ended(self, session_id: str, owner: Owner, hand: str | None = None) -> bool:
        """The SDK told ``owner`` that at this endpoint this session is no more. Whether it was one of theirs."""
        if self._of(session_id, owner, hand) is None:
            return False
        del self._sessions[session_id]
        return True

    def _of(self, session_id: str, owner: Owner, hand: str | None) -> _Session | None:
        session = self._sessions.get(session_id)
        return session if session is not None and (session.owner, session.hand) == (owner, hand) else None

    def _forget_idle(self) -> None:
        oldest = self._clock() - self._idle_seconds
        for session_id, session in list(self._sessions.items()):
            if not session.in_flight and session.used_at <= oldest:
                del self._sessions[session_id]
