"""The engine while a candidate bundle is on trial: who is decided for by which bundle, and what stands.

Around the engine that follows the active bundle. For whom a canary covers, the candidate decides and the active bundle
is asked the same, to be held against; once the canary stopped itself, the stricter word of both counts. For everybody
else the active bundle decides as ever, and a shadow may look on.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, Final

import structlog

from gateway.forward_clock import ForwardClock
from gateway.model import Decision
from gateway.policy.canary import Canary, Cause, Limits, Phase, Watch, marked, stricter
from gateway.policy.candidate import Candidate
from gateway.policy.comparison import Comparison
from gateway.policy.observe import Observations, Severity, loosen_all
from gateway.policy.shadow import Shadowing
from gateway.ports import PolicyEngine
from gateway.times import format_time

STALE_SECONDS: Final = 15.0
"""Without news from the database for so long, a canary counts as one that stopped itself."""
REMIND_SECONDS: Final = 300.0

_log = structlog.get_logger(__name__)


class Trial:
    """Which canary counts on this gateway now. Read at every decision, adopted anew every second or so.

    Args:
        key: for the draw of who is in a canary.
        clock: never goes back.
        active: digest of the bundle that decides.
    """

    def __init__(
        self,
        key: bytes,
        clock: ForwardClock,
        active: Callable[[], str],
        limits: Limits,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        self._clock = clock
        self._active = active
        self._limits = limits
        self._elapsed = elapsed
        self._canary: Canary | None = None
        self._adopted = float("-inf")
        self._reminded = float("-inf")
        self._watch = Watch(limits)
        self._cause: Cause | None = None
        self.into: Comparison | None = None
        self.epoch = 0

    @property
    def canary(self) -> Canary | None:
        """The canary that counts, as far as this gateway knows; ``None`` where none does."""
        one = self._canary
        return one if one is not None and self._counts(one) else None

    @property
    def watch(self) -> Watch:
        """What this gateway saw of it."""
        return self._watch

    @property
    def cause(self) -> Cause | None:
        """Why it has to be stopped, where that was seen here or is on record."""
        one = self._canary
        return None if one is None else one.stopped or self._cause

    @property
    def limits(self) -> Limits:
        """When a canary stops itself."""
        return self._limits

    def phase(self, tenant: str, principal_id: str) -> Phase:
        """How the canary bears on a principal at this very moment."""
        one = self._canary
        if one is None or not self._counts(one) or not one.covers(self._key, tenant, principal_id):
            return Phase.OUTSIDE
        stale = self._elapsed() - self._adopted > STALE_SECONDS
        return Phase.STRICTER if self.cause is not None or stale else Phase.INSIDE

    def adopt(self, canary: Canary | None, into: Comparison | None) -> None:
        """Take in what is on record now.

        Args:
            into: where this gateway counts what the canary's bundles say.
        """
        before = self._canary
        self._adopted = self._elapsed()
        if before is None or canary is None or before.id != canary.id:
            if before is not None:
                _log.warning("a CANARY is over: the active bundle decides for everybody", **_shown(before))
            if canary is not None:
                _log.warning("a CANARY begins: a candidate bundle decides for some", **_shown(canary))
            self._watch, self._cause = Watch(self._limits), None
            self._reminded = self._adopted
        if canary is not None and canary.stopped is not None and (before is None or before.stopped is None):
            _log.error("a CANARY STOPPED itself: the stricter of both bundles decides", **_shown(canary))
        if before != canary:
            self.epoch += 1
        self._canary, self.into = canary, into
        if canary is not None and self._adopted - self._reminded >= REMIND_SECONDS:
            self._reminded = self._adopted
            _log.warning("a CANARY is in force", **_shown(canary))

    def stop(self, cause: Cause) -> None:
        """Stop here and now; that it comes on record is somebody else's work."""
        if self.cause is None:
            self._cause = cause
            self.epoch += 1

    def _counts(self, one: Canary) -> bool:
        return self._active() == one.active and self._clock() < one.until


class TrialEngine:
    """``ports.PolicyEngine`` around the one that follows the active bundle.

    Args:
        observations: which hands are observed. A stricter word is made of what is left of both after observation.
        counted: told what came of each step that a canary's bundles both judged.
    """

    def __init__(
        self,
        active: PolicyEngine,
        candidate: Candidate,
        trial: Trial,
        shadowing: Shadowing,
        observations: Observations,
        counted: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._active = active
        self._candidate = candidate
        self._trial = trial
        self._shadowing = shadowing
        self._observations = observations
        self._counted = counted

    @property
    def digest(self) -> str:
        """See ``ports.PolicyEngine.digest``."""
        return self._active.digest

    @property
    def epoch(self) -> int:
        """See ``ports.PolicyEngine.epoch``."""
        return self._trial.epoch

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        """See ``ports.PolicyEngine.decide``."""
        tenant, principal_id = policy_input["tenant"], policy_input["principal"]["id"]
        canary = self._trial.canary
        if canary is None or self._trial.phase(tenant, principal_id) is Phase.OUTSIDE:
            said = await self._active.decide(policy_input)
            self._shadowing.offer(policy_input, said)
            return said
        active, found = await asyncio.gather(
            self._active.decide(policy_input), self._candidate.decide(canary.digest, policy_input)
        )
        self._compare(canary, policy_input, active, found)
        # Asked again: it may have stopped while they thought, or by what they said.
        phase = self._trial.phase(tenant, principal_id)
        if phase is Phase.OUTSIDE or self._other(canary):
            return active
        if phase is Phase.INSIDE:
            return found
        active = loosen_all(policy_input, active, self._observations, self._severity)
        found = loosen_all(policy_input, found, self._observations, self._severity)
        return {step_id: stricter(said, found[step_id]) for step_id, said in active.items()}

    async def hidden(self, menu: Mapping[str, Any]) -> Collection[str]:
        """See ``ports.PolicyEngine.hidden``. Neither a shadow nor a canary's counts hear of it."""
        canary = self._trial.canary
        phase = self._trial.phase(menu["tenant"], menu["principal"]["id"])
        if canary is None or phase is Phase.OUTSIDE:
            return await self._active.hidden(menu)
        found = await self._candidate.hidden(canary.digest, menu)
        return found if phase is Phase.INSIDE else {*found, *await self._active.hidden(menu)}

    def basis(self, tenant: str, principal_id: str) -> Hashable:
        """See ``ports.PolicyEngine.basis``."""
        phase, canary = self._trial.phase(tenant, principal_id), self._trial.canary
        bundle = "" if canary is None or phase is Phase.OUTSIDE else canary.digest
        return self._active.basis(tenant, principal_id), phase, bundle

    def stands(self, tenant: str, principal_id: str, hand: str, decision: Decision) -> bool:
        """See ``ports.PolicyEngine.stands``. What a candidate decided stands while it decides for this principal; what
        was made of both bundles' words, while both are asked."""
        phase, canary = self._trial.phase(tenant, principal_id), self._trial.canary
        if phase is Phase.OUTSIDE or canary is None:
            return not marked(decision) and self._active.stands(tenant, principal_id, hand, decision)
        if phase is Phase.INSIDE:
            return not marked(decision) and decision.policy_digest == canary.digest
        return marked(decision) and decision.policy_digest in {canary.active, canary.digest}

    def locate(self, code: str, digest: str) -> Mapping[str, Any] | None:
        """See ``ports.PolicyEngine.locate``."""
        return self._active.locate(code, digest) or self._candidate.locate(code, digest)

    async def ready(self) -> None:
        """See ``ports.PolicyEngine.ready``. A candidate that cannot be asked is a notice, not unreadiness."""
        await self._active.ready()

    async def close(self) -> None:
        """See ``ports.PolicyEngine.close``."""
        await self._shadowing.close()
        await self._candidate.close()
        await self._active.close()

    @property
    def _severity(self) -> Severity:
        def severity(code: str, digest: str) -> str:
            place = self.locate(code, digest)
            return "" if place is None else str(place.get("severity", ""))

        return severity

    def _other(self, canary: Canary) -> bool:
        now = self._trial.canary
        return now is None or now.id != canary.id

    def _compare(
        self,
        canary: Canary,
        policy_input: Mapping[str, Any],
        active: Mapping[str, Decision],
        found: Mapping[str, Decision],
    ) -> None:
        """Count what both said, and stop the canary where it does harm."""
        into = self._trial.into
        if into is None or self._other(canary):
            return
        watch, who = self._trial.watch, (policy_input["tenant"], policy_input["principal"]["id"])
        for step_id, said in active.items():
            self._counted(into.add(policy_input, said, found[step_id], self._candidate.literals))
            watch.add(who, said, found[step_id])
        into.recent = watch.counts
        cause = self._trial.limits.exceeded(watch.counts)
        if cause is not None:
            self._trial.stop(cause)


def _shown(one: Canary) -> dict[str, Any]:
    return {"digest": one.digest, "percent": one.percent, "until": format_time(one.until), "proposal": one.id}
