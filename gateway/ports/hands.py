"""Hands, and whoever else is called."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from gateway.calls import HandCall, HandResult
from gateway.manifest import Manifest
from gateway.model import Principal


class HandFailure(StrEnum):
    """How a call that gave no result ended, for invariant 5."""

    NOT_EXECUTED = "not_executed"
    """The hand surely did not act."""
    EXECUTED = "executed"
    """The hand acted and answered, but the answer is unusable."""
    UNKNOWN = "unknown"
    """Nobody can tell."""


class Runs(Protocol):
    """What a dispatch needs of the hands."""

    def confinement(self, hand: str, profile: str | None) -> Mapping[str, str] | None:
        """How a hand's code is confined, for receipts: ``{tier, profile_sha256}``; ``None`` where it runs none here.

        Args:
            profile: the decision's jail profile; ``None`` is the hand's own.
        """

    async def run(self, call: HandCall) -> HandResult:
        """Run one call; see :meth:`Hands.run`."""


class Hands(Runs, Protocol):
    """The registry of hands as the pipeline sees it."""

    def manifest(self, tenant: str, hand: str) -> Manifest | None:
        """The manifest that the tenant *pinned* of a usable hand, or ``None``: unpinned, drifted, disabled, unknown and
        another tenant's look alike."""

    def listed(self, principal: Principal) -> Sequence[Manifest]:
        """Manifests that the principal's tenant pinned and the principal may see."""

    def check_args(self, tenant: str, hand: str, action: str, args: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
        """Problems of ``args`` against the pinned schema as ``{pointer, keyword}``; empty where they match.
        Validators are compiled at pinning, never per call; no ``$ref`` is fetched.
        """

    def check_result(self, tenant: str, hand: str, action: str, structured: Any) -> Sequence[Mapping[str, str]]:
        """The same for a structured result."""

    def analyse(self, tenant: str, hand: str, action: str, args: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What a call would do, as JSON for policies, where the hand's adapter says more than its args do; ``None``
        where it never does. Pure: equal args of an equal manifest give an equal answer.

        Raises:
            Refused: ``schema.analysis``, with safe facts: it cannot say, so the call cannot be judged.
        """

    async def confirm(self, tenant: str, hand: str) -> Manifest | None:
        """The same as :meth:`manifest`, by the pins as they are in the database now: for whoever acts on a pin that
        another gateway may have changed a moment ago. Raises ``hand.unavailable``."""

    async def secrets_named(self, tenant: str, manifest: Manifest) -> Sequence[Mapping[str, str]]:
        """See ``Secrets.named``, of a manifest's secrets."""

    async def run(self, call: HandCall) -> HandResult:
        """Run one call on its hand, within its deadline.

        Raises:
            hand_adapters.contract.HandError: with a ``hand.*`` reason and a :class:`HandFailure`.
        """

    async def close(self) -> None:
        """Stop every hand process."""


class Courier(Protocol):
    """Posts messages to one receiver that is none of ours."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout_seconds: float
    ) -> tuple[int, float | None]:
        """The status that was answered, and the seconds that its ``Retry-After`` asks to wait (0 where it makes no
        sense), if it has one. Follows no redirect, reads no body.

        Raises:
            Refused: ``hand.timeout`` or ``hand.unavailable``: nothing was answered.
        """

    async def close(self) -> None:
        """Close its connections."""


class Peer(Protocol):
    """One machine that is none of ours and whose answer is read: a witness."""

    async def ask(
        self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_seconds: float, answer_max_bytes: int
    ) -> tuple[int, str, bytes]:
        """POST; the status, the media type without parameters, and the whole answer. Follows no redirect.

        Raises:
            Refused: ``hand.timeout``, ``hand.unavailable`` or ``hand.result_too_large``: nothing that can be used.
        """

    async def close(self) -> None:
        """Close its connections."""
