"""What a hand adapter must be. Built-in and third-party adapters meet the same contract in the same registry.

A third party's distribution names its class in the entry point group ``handrail.adapters``; the entry point's name is
what ``[hands.ID] adapter`` says. What an adapter takes and gives can be imported from here.
"""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from gateway.calls import HandCall, HandResult
from gateway.errors import HandrailError
from gateway.manifest import Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.jail import Jail

__all__ = [
    "Aimed",
    "Analyses",
    "Confined",
    "HandAdapter",
    "HandCall",
    "HandDrifted",
    "HandError",
    "HandFailure",
    "HandResult",
    "HandSettings",
    "HandUnusable",
    "Jail",
    "Limited",
    "Manifest",
    "Reason",
    "SettingsError",
]


class HandError(HandrailError):
    """A hand gave no usable result.

    Attributes:
        failure: whether the hand acted. It decides between ``failed`` and ``ambiguous``, and with ``hand.unavailable``
            whether a call may be tried again that is not idempotent.
    """

    def __init__(self, reason: Reason, failure: HandFailure, detail: str = "", /, **facts: str | int) -> None:
        super().__init__(reason, detail, **facts)
        self.failure = failure


class HandUnusable(HandError):
    """A hand may not be used, or not any more: nothing was sent, and asking again changes nothing."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, HandFailure.NOT_EXECUTED, detail)


class HandDrifted(HandError):
    """A hand is not the one that was pinned, noticed before a call was sent to it.

    Attributes:
        offered: what it offers now, as far as it could be asked.
    """

    def __init__(self, offered: Manifest, detail: str = "") -> None:
        super().__init__(Reason.HAND_DRIFTED, HandFailure.NOT_EXECUTED, detail)
        self.offered = offered


@runtime_checkable
class Analyses(Protocol):
    """An adapter that can say more of a call than its arguments do. What it says, policies see as ``analysis``."""

    def analyse(self, action: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the call would do, as JSON: a promise that :meth:`HandAdapter.run` keeps. Of an action of the manifest
        and args that match its schema; pure, and quick, for the gateway waits for it. What cannot be analysed is
        denied.

        Raises:
            Refused: ``schema.analysis``, with safe facts: what the call would do cannot be said.
        """


class HandAdapter(Protocol):
    """One hand: built from its settings, asked for its manifest, called, closed.

    Building one must not touch the tool: no process, no connection, no event loop.
    """

    needs_jail: ClassVar[bool]
    """Whether its hands run code here; without a jail on the machine they are unavailable, never run freely."""

    id: str
    """The hand's id (``[hands.ID]``)."""

    notes: tuple[str, ...]
    """Sentences for the operator about the last manifest: what was left out of it, and why."""

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None: ...

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check a configuration without touching the tool. Raises ``SettingsError``."""

    async def manifest(self) -> Manifest:
        """What the tool offers now, with the operator's annotations: discovered or declared.

        Raises:
            HandError: ``hand.unavailable``, ``hand.crashed``, ``hand.timeout`` or ``hand.protocol``.
        """

    async def run(self, call: HandCall) -> HandResult:
        """Run one call within ``call.deadline_seconds``; at most once, never retried here: the registry tries again
        what may be (``hand_adapters.resilience``). Cancelled, it ends at once: a process is killed, a connection
        closed. Where the hand names secrets, ``call.inject`` is asked for each request just before it is sent, and what
        it gives goes to that target alone.

        Raises:
            HandDrifted: the tool no longer offers the manifest of ``call.manifest_digest``; nothing was sent.
            HandError: with the failure class that invariant 5 needs. ``hand.unavailable``, not executed, promises that
                nothing left for the hand: the call may be tried again, whatever it does.
        """

    async def close(self) -> None:
        """Stop every process and connection of this hand. A later call starts anew: a freeze closes a hand, too."""


@runtime_checkable
class Aimed(Protocol):
    """An adapter without a jail that knows where its requests go. Where a policy names hosts, only such a one is called
    (a jail's gate holds the others to them)."""

    @property
    def hosts(self) -> Collection[str]:
        """Every host that a call is sent to."""


@runtime_checkable
class Confined(Protocol):
    """An adapter whose hands are confined by more than the jail: it says itself what a receipt tells of that."""

    def confinement(self, profile: str) -> Mapping[str, str]:
        """``{tier, profile_sha256}`` of a call in the jail profile.

        Raises:
            JailError: where there is no such profile.
        """


@runtime_checkable
class Limited(Protocol):
    """An adapter that can do so many calls at once. More wait before it, where no principal takes every place.

    Attributes:
        at_once: calls.
    """

    at_once: int
