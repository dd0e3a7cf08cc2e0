"""The engine that evaluates policy."""

from collections.abc import Collection, Hashable, Mapping
from typing import Any, Protocol

from gateway.model import Decision


class PolicyEngine(Protocol):
    """Evaluates one bundle. Any doubt is a denial: ``decide`` itself never raises for a bad evaluation."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the active bundle."""

    @property
    def epoch(self) -> int:
        """Grows whenever a decision by the active bundle may have ceased to stand, as :meth:`stands` says."""

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        """One evaluation for every step of ``policy_input`` (policy contract, input version 1).

        Returns:
            Step id -> decision, one for each step asked about. Errors, time-outs and ill-shaped answers are denials
            with ``policy.error``, ``policy.timeout``, ``policy.unavailable``, ``policy.obligation``, ``policy.input``
            or ``policy.undecided``.
        """

    async def hidden(self, menu: Mapping[str, Any]) -> Collection[str]:
        """Which of the steps of a menu (docs/policies.md) no call could make: it would be denied to this principal
        whatever its arguments and its purpose are. Counts nowhere, and is no decision.

        Raises:
            policy.error, policy.timeout, policy.unavailable, policy.input: nobody can tell.
        """

    def basis(self, tenant: str, principal_id: str) -> Hashable:
        """What the answer to a menu rests on beside the menu itself: an answer holds as long as this is equal."""

    def stands(self, tenant: str, principal_id: str, hand: str, decision: Decision) -> bool:
        """Whether a decision made earlier would be made the same way now: by a bundle that decides for this principal,
        under the same states of trial and observation. One that does not stand is never acted upon."""

    def locate(self, code: str, digest: str) -> Mapping[str, Any] | None:
        """Where the bundle ``digest`` gives a rule's reason code, and how severe: ``{file, line, rule, title,
        severity}``; ``None`` where it does not, or is not at hand."""

    async def ready(self) -> None:
        """Raises ``policy.unavailable``."""

    async def close(self) -> None:
        """Stop workers and connections."""
