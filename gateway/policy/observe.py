"""Observing a hand: everything is decided and recorded as ever, and only what is critical is enforced.

Default-deny in front of tools that worked yesterday would be an outage, so two people may put a hand under observation
for at most fourteen days (``two_person.Kind.POLICY_OBSERVE``). A step that was let go only because of that says so in a
reason of the gateway's own, which no policy can give: in its decision, its entry and its receipt.

What is let go: a denial all of whose reasons the bundle calls less than critical, and a question likewise. Everything
that is not known to be less than critical is enforced: a reason without a severity, a code that the bundle does not
spell out, a denial by no rule at all, every fault of an engine.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from gateway.errors import HandrailError
from gateway.forward_clock import ForwardClock
from gateway.model import DEFAULT_TENANT, Decision, DecisionReason, Effect
from gateway.ports import PolicyEngine
from gateway.reasons import TEXTS, Reason
from gateway.times import format_time
from gateway.two_person import Proposal

STALE_SECONDS: Final = 15.0
"""Without news from the database for so long, nothing counts as observed."""
REMIND_SECONDS: Final = 300.0
"""How often the log repeats that a hand is observed."""
BEGIN_SKEW_SECONDS: Final = 300.0
"""How far in the future a state may have begun: another gateway's clock. One from later was made by a wrong clock."""
LENIENT: Final = frozenset({"high", "medium", "low"})
"""Severities that observation lets go."""
_LET_GO: Final = {Effect.DENY: Reason.POLICY_OBSERVED_DENY, Effect.ASK: Reason.POLICY_OBSERVED_ASK}

_log = structlog.get_logger(__name__)

Hand = tuple[str, str]
"""``(tenant, hand)``."""
Severity = Callable[[str, str], str]
"""Of a reason code in the bundle of a digest; empty where it is not known."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A hand under observation.

    Attributes:
        proposal: id of the proposal that two people made it by.
        until: when it ends by itself, in seconds since the epoch.
    """

    tenant: str
    hand: str
    proposal: str
    since: float
    until: float

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "hand": self.hand,
            "proposal": self.proposal,
            "since": format_time(self.since),
            "until": format_time(self.until),
        }


class Observations:
    """Which hands are observed now. Read often, refreshed every second or so.

    Args:
        in_force: the activated proposals to observe a hand, each vouched for by key and log.
        newest: the newest time that the log holds, in seconds since the epoch.
        changed: told after each refresh which hands are observed, for metrics.
    """

    def __init__(
        self,
        in_force: Callable[[], Awaitable[Sequence[Proposal]]],
        newest: Callable[[], Awaitable[float]],
        clock: ForwardClock,
        changed: Callable[[Sequence[Observation]], None] = lambda _now: None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._in_force = in_force
        self._newest = newest
        self._clock = clock
        self._changed = changed
        self._elapsed = elapsed
        self._hands: Mapping[Hand, Observation] = {}
        self._refreshed = float("-inf")
        self._reminded = float("-inf")

    def __bool__(self) -> bool:
        return bool(self._hands)

    def observed(self, tenant: str, hand: str) -> bool:
        """Whether the hand is observed at this very moment."""
        found = self._hands.get((tenant, hand))
        if found is None or self._elapsed() - self._refreshed > STALE_SECONDS:
            return False
        return self._clock() < found.until

    def now(self) -> list[Observation]:
        """Every observation that counts, by tenant and hand."""
        found = (one for one in self._hands.values() if self.observed(one.tenant, one.hand))
        return sorted(found, key=lambda one: (one.tenant, one.hand))

    async def refresh(self) -> None:
        """Look again.

        Raises:
            HandrailError: the database cannot be read; what is known counts on for a while.
        """
        self._clock.at_least(await self._newest())
        proposals = await self._in_force()
        now = self._clock()
        found: dict[Hand, Observation] = {}
        for one in map(_observation, proposals):
            longest = found.get((one.tenant, one.hand))
            if one.since <= now + BEGIN_SKEW_SECONDS and now < one.until and (not longest or one.until > longest.until):
                found[one.tenant, one.hand] = one
        self._announce(found)
        self._hands, self._refreshed = found, self._elapsed()
        self._changed(self.now())

    def _announce(self, found: Mapping[Hand, Observation]) -> None:
        at = self._elapsed()
        for hand in found.keys() - self._hands.keys():
            _log.warning("a hand is OBSERVED: only critical denials are enforced on it", **_shown(found[hand]))
        for hand in self._hands.keys() - found.keys():
            _log.warning("a hand is no longer observed: policy is enforced on it again", **_shown(self._hands[hand]))
        if found and at - self._reminded >= REMIND_SECONDS:
            self._reminded = at
            for one in found.values():
                _log.warning("a hand is still OBSERVED: only critical denials are enforced on it", **_shown(one))


class ObservingEngine:
    """``ports.PolicyEngine`` around another, which decides; what it says of observed hands is loosened and marked.

    Args:
        let_go: told of each step that was let go: tenant, hand, and what the policy had said.
    """

    def __init__(
        self,
        inner: PolicyEngine,
        observations: Observations,
        let_go: Callable[[str, str, Effect], None] = lambda _tenant, _hand, _said: None,
    ) -> None:
        self._inner = inner
        self._observations = observations
        self._let_go = let_go

    @property
    def digest(self) -> str:
        """See ``ports.PolicyEngine.digest``."""
        return self._inner.digest

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        """See ``ports.PolicyEngine.decide``."""
        decisions = await self._inner.decide(policy_input)
        loosened = loosen_all(policy_input, decisions, self._observations, self._severity)
        if self._observations:
            for step in policy_input["steps"]:
                decision = loosened.get(step["id"])
                if decision is not None and decision.observed is not None:
                    self._let_go(policy_input["tenant"], step["hand"], decision.observed)
        return loosened

    async def hidden(self, menu: Mapping[str, Any]) -> Collection[str]:
        """See ``ports.PolicyEngine.hidden``. Of an observed hand nothing is: what it would deny may be let go."""
        found = await self._inner.hidden(menu)
        observed = {step["id"] for step in menu["steps"] if self._observations.observed(menu["tenant"], step["hand"])}
        return {*found} - observed

    def basis(self, tenant: str, principal_id: str) -> Hashable:
        """See ``ports.PolicyEngine.basis``."""
        observed = tuple(one.hand for one in self._observations.now() if one.tenant == tenant)
        return self._inner.basis(tenant, principal_id), observed

    def stands(self, tenant: str, principal_id: str, hand: str, decision: Decision) -> bool:
        """See ``ports.PolicyEngine.stands``. What was let go by observation falls with it."""
        if decision.observed is not None and not self._observations.observed(tenant, hand):
            return False
        return self._inner.stands(tenant, principal_id, hand, decision)

    @property
    def epoch(self) -> int:
        """See ``ports.PolicyEngine.epoch``."""
        return self._inner.epoch

    def locate(self, code: str, digest: str) -> Mapping[str, Any] | None:
        """See ``ports.PolicyEngine.locate``."""
        return self._inner.locate(code, digest)

    async def ready(self) -> None:
        """See ``ports.PolicyEngine.ready``."""
        await self._inner.ready()

    async def close(self) -> None:
        """See ``ports.PolicyEngine.close``."""
        await self._inner.close()

    def _severity(self, code: str, digest: str) -> str:
        place = self._inner.locate(code, digest)
        return "" if place is None else str(place.get("severity", ""))


def loosen_all(
    policy_input: Mapping[str, Any],
    decisions: Mapping[str, Decision],
    observations: Observations,
    severity: Severity,
) -> Mapping[str, Decision]:
    """The decisions on one input, each loosened where its hand is observed at this moment."""
    if not observations:
        return decisions
    tenant = policy_input["tenant"]
    loosened = dict(decisions)
    for step in policy_input["steps"]:
        decision = loosened.get(step["id"])
        if decision is not None and observations.observed(tenant, step["hand"]):
            loosened[step["id"]] = loosen(decision, severity)
    return loosened


def loosen(decision: Decision, severity: Severity) -> Decision:
    """The decision on an observed hand: let go and marked, or as it was. Pure.

    Obligations stay: they say how a step runs, not whether. A denial has none of its own; what the other rules oblige
    to holds once it is let go. Everything that spoke against the step must be lenient, also what a denial beat: a
    critical question must not vanish behind a denial that matters less.

    Args:
        severity: of a reason code in a bundle; empty where it is not known.
    """
    own = _LET_GO.get(decision.effect)
    if own is None or not decision.reasons or decision.unexplained or decision.otherwise is None:
        return decision
    against = (*decision.reasons, *decision.beaten)
    if any(severity(reason.code, decision.policy_digest) not in LENIENT for reason in against):
        return decision
    return replace(
        decision,
        effect=Effect.ALLOW,
        reasons=(DecisionReason(str(own), TEXTS[own]), *decision.reasons),
        obligations=decision.otherwise if decision.effect is Effect.DENY else decision.obligations,
    )


def _observation(proposal: Proposal) -> Observation:
    if proposal.decided_at is None or proposal.in_force_until is None:
        raise HandrailError(Reason.INTERNAL, f"proposal {proposal.id} is in force and was never activated")
    return Observation(proposal.tenant, proposal.subject, proposal.id, proposal.decided_at, proposal.in_force_until)


def _shown(one: Observation) -> dict[str, str]:
    shown = {"hand": one.hand, "until": format_time(one.until), "proposal": one.proposal}
    return shown if one.tenant == DEFAULT_TENANT else {"tenant": one.tenant, **shown}
