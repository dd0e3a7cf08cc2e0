"""Step 7, again: what a call of a recorded intent is sent with once more. Nothing leaves before that is on record."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.entries import EntryType
from gateway.errors import Outdated, Refused, Unavailable
from gateway.model import Prove
from gateway.ports import Append, AuditLog, Credentials, Freezes
from gateway.reasons import Reason
from gateway.stages import credential
from gateway.stages.drafts import Drafts
from gateway.stages.standing import concern
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
    credentials: Credentials
    ttl_max_seconds: int
    clock: Callable[[], float]

    async def renew(self, plan: PlanState, state: StepState, attempt: int, cause: Reason | None) -> tuple[str, Prove]:
        """See ``HandCall.renew``. A hand takes a credential once, so an attempt that may have reached it has used its
        own up.

        Raises:
            Refused: ``freeze.active``.
            Unavailable: ``log.unavailable`` or ``key.unavailable``; nothing may be sent.
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
        """Put it on record, unless and until a freeze stops the step: of this gateway or of another one."""
        for _ in range(LOOKED_AGAIN_MAX):
            frozen = await self.freezes.current()
            stopping = frozen.stopping(concern(plan, state))
            if stopping is not None:
                raise Refused(Reason.FREEZE_ACTIVE, freeze=stopping.id, scope=str(stopping.scope))
            try:
                if not self.freezes.stands(frozen):
                    raise Outdated
                await self.log.append(Append(entries.drafts, rests_on=self.freezes.rests_on()))
            except Outdated:
                continue
            return
        raise Unavailable(Reason.OVERLOADED, "looked at what is frozen again and again")
