"""Bringing policy in step by step: hands under observation, a candidate bundle as a shadow and as a canary.

The engine that the pipeline sees is put together here, around the one that follows the active bundle, and kept to what
is on record.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from audit.reader import Reader
from gateway.activation.canaries import Canaries
from gateway.activation.lifecycle import Lifecycle
from gateway.activation.shadows import Shadows
from gateway.errors import Absent, HandrailError, Malformed, Refused
from gateway.forward_clock import ForwardClock
from gateway.model import DEFAULT_TENANT, Effect, Principal
from gateway.policy.canary import Limits
from gateway.policy.candidate import Candidate
from gateway.policy.comparison import Comparison
from gateway.policy.engine import can_hold_candidate, make_candidate_backend
from gateway.policy.observe import Observation, Observations, ObservingEngine
from gateway.policy.shadow import Shadow, Shadowing
from gateway.policy.trial import Trial, TrialEngine
from gateway.ports import Append, AuditLog, Hands, PolicyEngine
from gateway.proposals.handlers import Effects, Handler
from gateway.proposals.life import Proposals
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.store.reading import in_thread
from gateway.store.trials import SqlTrials
from gateway.telemetry import Metrics
from gateway.times import format_time
from gateway.two_person import Kind, Proposal

FLUSH_SECONDS: Final = 5.0
"""How much of what was counted a crash may lose."""
RETRY_SECONDS: Final = 5.0
"""Until a candidate that could not be held is tried again."""

_log = structlog.get_logger("handrail.rollout")


class Counted:
    """What this gateway counted for the candidates on trial, kept in rows so that it outlives the process."""

    def __init__(self, log: AuditLog, rows: SqlTrials, clock: Callable[[], float]) -> None:
        self._log = log
        self._rows = rows
        self._clock = clock
        self._known: dict[str, Comparison] = {}
        self._kept: dict[str, dict[str, Any]] = {}
        self._lock = asyncio.Lock()

    async def open(self, subject: str, digest: str) -> Comparison:
        """Where to count for a subject, with what was counted before a restart. Raises ``HandrailError``."""
        async with self._lock:
            if subject not in self._known:
                known = Comparison(digest)
                before = (await self._rows.comparisons(subject)).get(self._rows.gateway_id)
                if before is not None:
                    # What was recent then is not now.
                    known.merge({**before, "recent": known.recent.document()})
                self._known[subject] = known
            return self._known[subject]

    async def flush(self) -> None:
        """Keep what changed since. Raises ``HandrailError``; it is tried again."""
        async with self._lock:
            for subject, counted in self._known.items():
                document = counted.document()
                if document != self._kept.get(subject):
                    await self._log.append(Append((), self._rows.keep(subject, document, self._clock())))
                    self._kept[subject] = document


@dataclass(slots=True)
class Rollout:
    """What of the policy is being brought in, on one gateway.

    Attributes:
        engine: what the pipeline asks.
        maintained_seconds: how often the candidate's engine looks after itself.
    """

    observations: Observations
    engine: PolicyEngine
    candidate: Candidate
    trial: Trial
    shadowing: Shadowing
    counted: Counted
    rows: SqlTrials
    clock: ForwardClock
    maintained_seconds: float
    canaries: Canaries = field(init=False)
    shadows: Shadows = field(init=False)
    let_go: Counter[tuple[str, str, Effect]] = field(default_factory=Counter)
    """(tenant, hand, what the policy said) -> steps let go since the gateway started."""
    _refreshing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _holding: asyncio.Task[None] | None = None
    _held_at: float = float("-inf")
    _flushed_at: float = float("-inf")

    async def refresh(self) -> None:
        """Take in what was activated, started, stopped and ended, here or elsewhere. Each part has its turn whatever
        becomes of the others.

        Raises:
            HandrailError: of the first part that failed.
        """
        await self._each(self.observations.refresh, self._follow, self.canaries.settle, self._flush)

    async def follow(self) -> None:
        """Take in what changed about the candidate, and wait until its engine holds it, or cannot. Raises
        ``HandrailError``."""
        await self._follow()
        while self._holding is not None and not self._holding.done():
            await asyncio.shield(self._holding)
            await self._follow()

    async def start(self) -> None:
        """Take everything in before the first plan.

        Raises:
            HandrailError: it cannot be known which hands are observed. What of a candidate cannot be known is looked
                for again by :meth:`refresh`; until then the active bundle decides alone.
        """
        await self.observations.refresh()
        try:
            await self.follow()
        except HandrailError as error:
            _log.error("no candidate bundle is tried", reason=str(error.reason), detail=error.detail)

    async def close(self) -> None:
        """Keep what was counted, and let the candidate go."""
        if self._holding is not None:
            self._holding.cancel()
            await asyncio.gather(self._holding, return_exceptions=True)
        await self.shadowing.close()
        try:
            await self.counted.flush()
        except HandrailError as error:
            _log.warning("what was counted of a candidate was not kept", reason=str(error.reason), detail=error.detail)
        await self.candidate.close()

    def document(self, viewer: Principal) -> dict[str, Any]:
        """As ``GET /v1/policy/rollout`` shows it."""
        observed = [one for one in self.observations.now() if one.tenant == viewer.tenant and viewer.may_use(one.hand)]
        return {"observed": [{**one.document(), "let_go": self._let_go(one)} for one in observed]}

    def readiness(self) -> dict[str, str]:
        """Hand -> until when it is observed, for everybody who asks whether this gateway is ready."""
        return {
            one.hand if one.tenant == DEFAULT_TENANT else f"{one.tenant}/{one.hand}": format_time(one.until)
            for one in self.observations.now()
        }

    def notices(self) -> dict[str, str]:
        """Part -> reason code of what must be seen: a canary that stopped itself, a candidate that cannot be held."""
        found = {}
        if self.trial.canary is not None and self.trial.cause is not None:
            found["canary"] = str(Reason.POLICY_STRICTER)
        if self.candidate.problem is not None:
            found["candidate"] = str(self.candidate.problem.reason)
        return found

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _each(self, *parts: Callable[[], Awaitable[None]]) -> None:
        first: HandrailError | None = None
        for part in parts:
            try:
                await part()
            except HandrailError as error:
                first = first or error
        if first is not None:
            raise first

    async def _follow(self) -> None:
        """Have the candidate held that is wanted, and only then have it judge: a canary begins on this gateway once its
        engine is there, or it is clear that it is not."""
        async with self._refreshing:
            canary = await self.canaries.current()
            shadow, unknown = await self._shadow()
            if shadow is not None and shadow.digest == self.engine.digest:
                shadow = None  # it decides by now, and there is nothing to look on
            wanted = canary.digest if canary is not None else shadow.digest if shadow is not None else ""
            if self.shadowing.digest != wanted or shadow is None:
                await self.shadowing.follow(None)  # before its engine goes
            self._hold(wanted)
            if canary is not None and self.candidate.settled(canary.digest):
                self.trial.adopt(canary, await self.counted.open(canary.id, canary.digest))
            elif canary is None or self.trial.canary is None or self.trial.canary.id != canary.id:
                self.trial.adopt(None, None)
            into = None
            if shadow is not None and shadow.digest == wanted == self.candidate.digest:
                into = await self.counted.open(shadow.subject, shadow.digest)
            await self.shadowing.follow(into)
        if unknown is not None:
            raise unknown

    async def _shadow(self) -> tuple[Shadow | None, HandrailError | None]:
        """The shadow in force, or why it is not known: no reason to know no canary."""
        try:
            shadow = await self.rows.shadow()
        except HandrailError as error:
            return None, error
        return (shadow if shadow is not None and shadow.in_force(self.clock()) else None), None

    def _hold(self, wanted: str) -> None:
        """Begin to hold a bundle, or try again, or look after the engine that holds it; at most one of them at once."""
        if self._holding is not None and not self._holding.done():
            return
        now = time.monotonic()
        if not self.candidate.settled(wanted) or (
            self.candidate.problem is not None and now - self._held_at >= RETRY_SECONDS
        ):
            work = self.candidate.hold(wanted)
        elif wanted and now - self._held_at >= self.maintained_seconds:
            work = self.candidate.maintain()
        else:
            return
        self._held_at = now
        self._holding = asyncio.get_running_loop().create_task(work)

    async def _flush(self) -> None:
        now = time.monotonic()
        if now - self._flushed_at >= FLUSH_SECONDS:
            self._flushed_at = now
            await self.counted.flush()

    def _let_go(self, one: Observation) -> dict[str, int]:
        return {str(said): self.let_go[one.tenant, one.hand, said] for said in (Effect.DENY, Effect.ASK)}


def build(
    active: PolicyEngine,
    lifecycle: Lifecycle,
    rows: SqlTrials,
    draw_key: bytes,
    proposals: Proposals,
    hands: Hands,
    reader: Reader,
    settings: Settings,
    clock: Callable[[], float],
    metrics: Metrics,
) -> Rollout:
    """Put the parts together around the engine that follows the active bundle, and teach ``proposals`` their kinds.

    Args:
        draw_key: 32 bytes by which principals are drawn into canaries.
    """

    async def newest() -> float:
        return await in_thread("the log's newest entry", reader.newest_time)

    def changed(now: Sequence[Observation]) -> None:
        metrics.policy_observed.clear()
        for one in now:
            metrics.policy_observed.labels(one.tenant, one.hand).set(one.until)

    def count(tenant: str, hand: str, said: Effect) -> None:
        let_go[tenant, hand, said] += 1
        metrics.policy_let_go.labels(tenant, hand, str(said)).inc()

    def compared(trial: str) -> Callable[[str], None]:
        return lambda outcome: metrics.policy_compared.labels(trial, outcome).inc()

    let_go: Counter[tuple[str, str, Effect]] = Counter()
    forward = ForwardClock(clock)
    observations = Observations(lambda: proposals.in_force(Kind.POLICY_OBSERVE), newest, forward, changed)
    limits = Limits(
        settings.rollout.canary_window,
        settings.rollout.canary_sample_min,
        settings.rollout.canary_denied_margin,
        settings.rollout.canary_error_margin,
    )
    candidate = Candidate(lambda: make_candidate_backend(settings.policy), lifecycle.bundles.get)
    trial = Trial(draw_key, forward, lambda: active.digest, limits)
    shadowing = Shadowing(candidate, settings.rollout.shadow_queue_max, compared("shadow"))
    tried = TrialEngine(active, candidate, trial, shadowing, observations, compared("canary"))
    counted = Counted(proposals.log, rows, clock)
    rollout = Rollout(
        observations,
        ObservingEngine(tried, observations, count),
        candidate,
        trial,
        shadowing,
        counted,
        rows,
        forward,
        settings.policy.reload_interval_seconds,
        let_go=let_go,
    )

    def possible() -> bool:
        return can_hold_candidate(settings.policy)

    def problem() -> Reason | None:
        return None if candidate.problem is None else candidate.problem.reason

    rollout.canaries = Canaries(
        log=proposals.log,
        rows=rows,
        proposals=proposals,
        lifecycle=lifecycle,
        trial=trial,
        possible=possible,
        shadowed=lambda: shadowing.digest,
        hold=candidate.hold,
        follow=rollout.follow,
        flush=counted.flush,
        problem=problem,
        now=forward,
    )
    rollout.shadows = Shadows(
        log=proposals.log,
        rows=rows,
        lifecycle=lifecycle,
        possible=possible,
        on_trial=lambda: "" if trial.canary is None else trial.canary.digest,
        follow=rollout.follow,
        flush=counted.flush,
        problem=problem,
        now=forward,
    )
    metrics.policy_canary.set_function(lambda: 0 if trial.canary is None else trial.canary.percent)
    metrics.policy_canary_stopped.set_function(lambda: trial.canary is not None and trial.cause is not None)
    metrics.policy_shadow_waiting.set_function(lambda: shadowing.waiting)
    handlers: dict[Kind, Handler] = {
        Kind.POLICY_OBSERVE: ObserveHandler(hands, rollout),
        Kind.POLICY_CANARY: rollout.canaries,
    }
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
            raise Absent("pinned hand", hand)
        return hand

    async def effects(self, proposal: Proposal, actor: Principal) -> Effects:
        """See ``proposals.Handler``."""
        if self.hands.manifest(proposal.tenant, proposal.subject) is None or not actor.may_use(proposal.subject):
            raise Refused(Reason.PROPOSAL_OUTDATED, "the hand is not usable any more")
        return Effects(facts={"hand": proposal.subject})

    async def applied(self, proposal: Proposal) -> None:  # noqa: ARG002 - what is in force is asked anew
        """See ``proposals.Handler``."""
        await self.rollout.observations.refresh()
