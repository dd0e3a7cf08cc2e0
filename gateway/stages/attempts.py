"""Step 7, again: what a call of a recorded intent is sent with once more. Nothing leaves before that is on record."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.calls import Prove
from gateway.entries import EntryType
from gateway.errors import Outdated, Refused, Unavailable
from gateway.ports import Append, AuditLog, Credentials, Directory, Freezes, Hands, PolicyEngine
from gateway.reasons import Reason
from gateway.stages import credential
from gateway.stages.drafts import Drafts
from gateway.stages.standing import withdrawn
from gateway.state import PlanState, StepState
from gateway.telemetry import note

LOOKED_AGAIN_MAX: Final = 16
"""How often it is looked again at what is frozen, because somebody froze or lifted something meanwhile."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """The credentials of attempts after the first, within the authority of the intent: each is bound to the very call
    that was decided, approved and recorded.

    Attributes:
        clock: seconds since the epoch.
    """

    log: AuditLog
    freezes: Freezes
    directory: Directory
    hands: Hands
    engine: PolicyEngine
    credentials: Credentials
    ttl_max_seconds: int
    clock: Callable[[], float]

    async def renew(self, plan: PlanState, state: StepState, attempt: int, cause: Reason | None) -> tuple[str, Prove]:
        """See ``HandCall.renew``. A hand takes a credential once, so an attempt that may have reached it has used its
        own up. Nothing is judged again, but what let the step go has to hold still.

        Raises:
            Refused: ``freeze.active``, ``auth.forbidden``, ``approval.expired``, ``policy.outdated`` or
                ``hand.drifted``: whatever does not hold any more.
            Unavailable: ``log.unavailable``, ``key.unavailable``, or what the directory says; nothing may be sent.
        """
        token, jti = credential.mint_one(
            plan, state, self.credentials, ttl_max_seconds=self.ttl_max_seconds, now=self.clock()
        )
        facts: dict[str, str | int] = {"step_jti": jti, "attempt": attempt}
        entries = Drafts(plan)
        entries.add(state, EntryType.CREDENTIAL_RENEWED, () if cause is None else (str(cause),), facts)
        await self._record(plan, state, entries)
        note("handrail.attempt", attempt=attempt, reason="" if cause is None else str(cause))
        return token, partial(self.credentials.prove, token)

    async def _record(self, plan: PlanState, state: StepState, entries: Drafts) -> None:
        """Put it on record, unless and until the step may not run any more, by this gateway's word or another one's."""
        for _ in range(LOOKED_AGAIN_MAX):
            frozen = await self.freezes.current()
            fallen = await withdrawn(plan, state, self.directory, self.hands, self.engine, frozen, self.clock())
            if fallen is not None:
                raise Refused(fallen.reason, **fallen.facts)
            try:
                if not self.freezes.stands(frozen):
                    raise Outdated
                await self.log.append(Append(entries.drafts, rests_on=self.freezes.rests_on()))
            except Outdated:
                continue
            return
        raise Unavailable(Reason.OVERLOADED, "looked at what is frozen again and again")
