"""Canaries: the proposals that make them, which one counts, how they stop themselves, and what came of them."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from gateway.activation.lifecycle import Lifecycle
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Malformed, Refused, Unavailable
from gateway.model import DEFAULT_TENANT, Principal
from gateway.permissions import Permission
from gateway.policy.canary import PERCENT_MAX, Canary, Cause, Counts
from gateway.policy.comparison import Comparison, together
from gateway.policy.trial import Trial
from gateway.ports import Append, AuditLog, Guard
from gateway.proposals.handlers import Effects
from gateway.proposals.life import Proposals
from gateway.reasons import Conflict, Reason, because
from gateway.times import format_time
from gateway.two_person import Kind, Proposal, ProposalStatus

BEGIN_SKEW_SECONDS: Final = 300.0
"""How far in the future a canary may have begun: another gateway's clock. One from later was made by a wrong clock."""
_DOCUMENT: Final = frozenset({"digest", "active", "percent", "lasts_seconds"})
_MEMBERS: Final = ", ".join(sorted(_DOCUMENT))

_log = structlog.get_logger("handrail.canaries")


class CanaryRows(Protocol):
    """Rows and entries about canaries; see ``gateway.store.trials``."""

    def stop(self, canary: str) -> Guard:
        """It stops itself once; a conflict raises ``proposal.closed``."""

    async def stopped(self) -> Mapping[str, Cause]:
        """Which stopped themselves, as far as the log says."""

    async def comparisons(self, subject: str) -> Mapping[str, Mapping[str, Any]]:
        """Gateway -> what it counted."""


@dataclass(slots=True)
class Canaries:
    """Canaries of the gateways on one database, and the handler of ``policy.canary``.

    Attributes:
        possible: whether there is an engine for a second bundle.
        shadowed: digest of the bundle that is shadowed; empty where none is.
        hold: have this gateway's second engine hold a bundle.
        follow: have this gateway take in at once what changed.
        flush: have what this gateway counted kept.
        problem: why this gateway does not hold the candidate that it should; ``None`` where it does.
        now: a clock that never goes back.
    """

    log: AuditLog
    rows: CanaryRows
    proposals: Proposals
    lifecycle: Lifecycle
    trial: Trial
    possible: Callable[[], bool]
    shadowed: Callable[[], str]
    hold: Callable[[str], Awaitable[None]]
    follow: Callable[[], Awaitable[None]]
    flush: Callable[[], Awaitable[None]]
    problem: Callable[[], Reason | None]
    now: Callable[[], float] = time.time

    # --- the handler of policy.canary --------------------------------------------------------------------------------

    async def check(self, document: Mapping[str, Any], actor: Principal) -> str:
        """See ``gateway.proposals.life.Handler``. The document is ``{digest, active, percent, lasts_seconds}``: the
        candidate, the bundle that it is held against (the one that decides now), and for how many principals in a
        hundred it decides."""
        del actor
        if document.keys() != _DOCUMENT:
            raise Malformed("members", pointer="/document", expected=_MEMBERS)
        digest, percent = document["digest"], document["percent"]
        if not isinstance(digest, str) or len(digest) != 64:
            raise Malformed("digest", pointer="/document/digest", expected="64 hex digits")
        if type(percent) is not int or not 1 <= percent <= PERCENT_MAX:
            expected = f"a whole number from 1 to {PERCENT_MAX}"
            raise Malformed("percent", pointer="/document/percent", limit=PERCENT_MAX, expected=expected)
        if not self.possible():
            raise Refused(Reason.POLICY_CANDIDATE)
        if document["active"] != await self.lifecycle.active_beside(digest):
            raise Refused(Reason.PROPOSAL_OUTDATED, "another bundle decides now")
        return digest

    async def effects(self, proposal: Proposal, actor: Principal) -> Effects:
        """See ``gateway.proposals.life.Handler``: everything is verified again, the bundle tried out again, and an
        engine holds it before anybody is decided for by it."""
        await self.check(proposal.document, actor)
        await self.lifecycle.vouch(proposal.subject)
        if await self.proposals.in_force(Kind.POLICY_CANARY):
            raise Refused(
                Reason.REQUEST_CONFLICT, "a canary is in force; end it first", **because(Conflict.CANARY_RUNS)
            )
        if self.shadowed() not in {"", proposal.subject}:
            raise Refused(
                Reason.REQUEST_CONFLICT, "another bundle is shadowed; stop that first", **because(Conflict.SHADOW_OTHER)
            )
        await self.hold(proposal.subject)
        problem = self.problem()
        if problem is not None:
            raise Unavailable(Reason.POLICY_UNAVAILABLE, f"the candidate is not held here: {problem}")
        facts: dict[str, str | int] = {
            "digest": proposal.subject,
            "active": str(proposal.document["active"]),
            "percent": int(proposal.document["percent"]),
        }
        return Effects(facts=facts, policy_digest=proposal.subject)

    async def applied(self, proposal: Proposal) -> None:  # noqa: ARG002 - what is in force is asked anew
        """See ``gateway.proposals.life.Handler``."""
        await self.follow()

    # --- which one counts --------------------------------------------------------------------------------------------

    async def current(self) -> Canary | None:
        """The canary that counts by what key and log vouch for. One whose active bundle decides no more, or that was
        activated while another one was in force, is ended by the gateway itself, and for good.

        Raises:
            HandrailError: nothing can be known of it now.
        """
        found = await self.proposals.in_force(Kind.POLICY_CANARY)
        if not found:
            return None
        now, stopped, active = self.now(), await self.rows.stopped(), await self.lifecycle.deciding()
        counting: Canary | None = None
        for proposal in sorted(found, key=lambda one: (one.decided_at or 0.0, one.id)):
            canary = _canary(proposal, stopped)
            if counting is not None or canary.active != active:
                await self._conclude(proposal)
            elif canary.since <= now + BEGIN_SKEW_SECONDS and now < canary.until:
                counting = canary
        return counting

    async def settle(self) -> None:
        """Look at what all gateways counted, and have a stop that was seen here come on record. Raises
        ``HandrailError`` where it cannot; it is tried again."""
        canary = self.trial.canary
        if canary is None or canary.stopped is not None:
            return
        counts = self.trial.watch.counts
        if self.trial.cause is None:
            kept = (await self.rows.comparisons(canary.id)).values()
            counts = sum((Counts.from_document(document["recent"]) for document in kept), Counts())
            cause = self.trial.limits.exceeded(counts)
            if cause is None:
                return
            self.trial.stop(cause)
        cause = self.trial.cause
        if cause is None:
            return
        facts: dict[str, str | int] = {"proposal": canary.id, "cause": str(cause), **counts.document()}
        draft = EntryDraft(EntryType.CANARY_STOPPED, DEFAULT_TENANT, policy_digest=canary.digest, facts=facts)
        try:
            await self.log.append(Append([draft], (), [self.rows.stop(canary.id)]))
        except Refused as refused:
            if refused.reason is not Reason.PROPOSAL_CLOSED:
                raise

    # --- what people see ---------------------------------------------------------------------------------------------

    async def show(self, viewer: Principal) -> dict[str, Any]:
        """The canary in force, or the last one, and what all gateways counted: ``{canary, gateways, comparison}``.

        Raises:
            Refused: ``auth.forbidden``.
        """
        self.lifecycle.require(viewer, Permission.POLICY_READ)
        await self.flush()
        proposal = await self._newest()
        if proposal is None:
            return {"canary": None, "gateways": [], "comparison": Comparison("").document()}
        canary = _canary(proposal, await self.rows.stopped())
        counted = await self.rows.comparisons(canary.id)
        problem = self.problem() if proposal.in_force(self.now()) else None
        return {
            "canary": {
                "proposal": canary.id,
                "digest": canary.digest,
                "active": canary.active,
                "percent": canary.percent,
                "since": format_time(canary.since),
                "until": format_time(canary.until),
                "in_force": proposal.in_force(self.now()),
                "stopped": None if canary.stopped is None else str(canary.stopped),
                "problem": None if problem is None else str(problem),
            },
            "gateways": list(counted),
            "comparison": together(canary.digest, list(counted.values())).document(),
        }

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _newest(self) -> Proposal | None:
        found = await self.proposals.in_force(Kind.POLICY_CANARY)
        if found:
            return found[-1]
        page: Sequence[Proposal] = await self.proposals.store.page(
            DEFAULT_TENANT, ProposalStatus.ENDED, Kind.POLICY_CANARY, after=None, limit=1
        )
        return page[0] if page else None

    async def _conclude(self, proposal: Proposal) -> None:
        try:
            await self.proposals.conclude(proposal)
        except HandrailError as error:
            _log.warning("a canary that counts no more could not be ended", reason=str(error.reason))


def _canary(proposal: Proposal, stopped: Mapping[str, Cause]) -> Canary:
    if proposal.decided_at is None or proposal.in_force_until is None:
        raise HandrailError(Reason.INTERNAL, f"proposal {proposal.id} is in force and was never activated")
    document = proposal.document
    return Canary(
        proposal.id,
        proposal.subject,
        str(document["active"]),
        int(document["percent"]),
        proposal.decided_at,
        proposal.in_force_until,
        stopped.get(proposal.id),
    )
