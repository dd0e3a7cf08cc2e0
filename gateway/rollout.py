"""Bringing policy in step by step: hands under observation, and what two people's word on them means.

The engine that the pipeline sees is put together here, around the one that follows the active bundle.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from audit.reader import Reader
from gateway.errors import Malformed, Refused
from gateway.forward_clock import ForwardClock
from gateway.model import DEFAULT_TENANT, Effect, Principal
from gateway.policy.observe import Observation, Observations, ObservingEngine
from gateway.ports import Hands, PolicyEngine
from gateway.proposals import Effects, Handler, Proposals
from gateway.reasons import Reason
from gateway.telemetry import Metrics
from gateway.two_person import Kind, Proposal


@dataclass(slots=True)
class Rollout:
    """What of the policy is being brought in, on one gateway.

    Attributes:
        engine: what the pipeline asks.
    """

    observations: Observations
    engine: PolicyEngine
    let_go: Counter[tuple[str, str, Effect]] = field(default_factory=Counter)
    """(tenant, hand, what the policy said) -> steps let go since the gateway started."""

    async def refresh(self) -> None:
        """Take in what was activated and ended, here or elsewhere. Raises ``HandrailError``."""
        await self.observations.refresh()

    def document(self, viewer: Principal) -> dict[str, Any]:
        """As ``GET /v1/policy/rollout`` shows it."""
        observed = [one for one in self.observations.now() if one.tenant == viewer.tenant and viewer.may_use(one.hand)]
        return {"observed": [{**one.document(), "let_go": self._let_go(one)} for one in observed]}

    def readiness(self) -> dict[str, str]:
        """Hand -> until when it is observed, for everybody who asks whether this gateway is ready."""
        return {
            one.hand if one.tenant == DEFAULT_TENANT else f"{one.tenant}/{one.hand}": datetime.fromtimestamp(
                one.until, UTC
            ).isoformat(timespec="seconds")
            for one in self.observations.now()
        }

    def _let_go(self, one: Observation) -> dict[str, int]:
        return {str(said): self.let_go[one.tenant, one.hand, said] for said in (Effect.DENY, Effect.ASK)}


def build(
    active: PolicyEngine,
    proposals: Proposals,
    hands: Hands,
    reader: Reader,
    clock: Callable[[], float],
    metrics: Metrics,
) -> Rollout:
    """Put the parts together around the engine that follows the active bundle, and teach ``proposals`` their kinds."""

    async def newest() -> float:
        return await asyncio.to_thread(reader.newest_time)

    def changed(now: Sequence[Observation]) -> None:
        metrics.policy_observed.clear()
        for one in now:
            metrics.policy_observed.labels(one.tenant, one.hand).set(one.until)

    def count(tenant: str, hand: str, said: Effect) -> None:
        let_go[tenant, hand, said] += 1
        metrics.policy_let_go.labels(tenant, hand, str(said)).inc()

    let_go: Counter[tuple[str, str, Effect]] = Counter()
    observations = Observations(lambda: proposals.in_force(Kind.POLICY_OBSERVE), newest, ForwardClock(clock), changed)
    rollout = Rollout(observations, ObservingEngine(active, observations, count), let_go)
    handlers: dict[Kind, Handler] = {Kind.POLICY_OBSERVE: ObserveHandler(hands, rollout)}
    proposals.handlers.update(handlers)
    return rollout


@dataclass(frozen=True, slots=True)
class ObserveHandler:
    """Proposals to observe a hand: ``{"hand": id, "lasts_seconds": n}``."""

    hands: Hands
    rollout: Rollout

    async def check(self, document: Mapping[str, Any], actor: Principal) -> str:
        """See ``proposals.Handler``. The hand must be one that the tenant pinned: what is observed was looked at."""
        hand = document.get("hand")
        if document.keys() != {"hand", "lasts_seconds"} or not isinstance(hand, str):
            raise Malformed("members", pointer="/document", expected="hand, lasts_seconds")
        if not actor.may_use(hand) or self.hands.manifest(actor.tenant, hand) is None:
            raise Refused(Reason.REQUEST_NOT_FOUND, f"no pinned hand {hand}")
        return hand

    async def effects(self, proposal: Proposal, actor: Principal) -> Effects:
        """See ``proposals.Handler``."""
        if self.hands.manifest(proposal.tenant, proposal.subject) is None or not actor.may_use(proposal.subject):
            raise Refused(Reason.PROPOSAL_OUTDATED, "the hand is not usable any more")
        return Effects(facts={"hand": proposal.subject})

    async def applied(self, proposal: Proposal) -> None:  # noqa: ARG002 - what is in force is asked anew
        """See ``proposals.Handler``."""
        await self.rollout.refresh()
