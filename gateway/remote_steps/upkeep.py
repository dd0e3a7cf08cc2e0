"""What befalls offered steps without anybody asking: nobody claims them, no result comes, somebody freezes them, or
the gateway that ended one did not live to go on. Any gateway of the database does the first three."""

from dataclasses import dataclass
from typing import Final

import structlog

from gateway.errors import HandrailError, Refused, Unavailable
from gateway.pipeline import Pipeline
from gateway.plan_locks import PlanLocks
from gateway.ports import Offer, OfferStatus
from gateway.reasons import Reason
from gateway.remote_steps.claims import load, withdraw
from gateway.state import StepError

BATCH: Final = 256
LEFT_SECONDS: Final = 5.0
"""How long a gateway that ended a step has to go on with its plan before the plan's own gateway does."""

_log = structlog.get_logger("handrail.offers")


@dataclass(slots=True)
class OfferUpkeep:
    """Upkeep of offered steps by one gateway."""

    pipeline: Pipeline
    locks: PlanLocks
    """The same that claims take."""

    async def expire(self) -> int:
        """End every step whose time is over: unclaimed it failed, claimed it is ambiguous. Returns how many."""
        pipeline = self.pipeline
        now = pipeline.clock()
        ended = 0
        for offer in await pipeline.offers.due(now, BATCH):
            late = Reason.CLAIM_EXPIRED if offer.status is OfferStatus.OPEN else Reason.HAND_TIMEOUT
            ended += await self._end(offer, StepError(late))
        return ended

    async def stop(self) -> int:
        """End every step that is frozen; returns how many."""
        ended = 0
        for freeze in self.pipeline.freezes.now.in_force:
            for offer in await self.pipeline.offers.stopped(freeze, BATCH):
                facts = {"freeze": freeze.id, "scope": str(freeze.scope)}
                ended += await self._end(offer, StepError(Reason.FREEZE_ACTIVE, facts))
        return ended

    async def go_on(self) -> int:
        """Take up plans of this gateway of which another one ended a step, and which are not done yet; returns how
        many. One that goes on there already is not disturbed: what it lets go has its fate."""
        pipeline = self.pipeline
        found = await pipeline.offers.left(pipeline.clock() - LEFT_SECONDS, BATCH)
        for plan_id in found:
            pipeline.overtaken.add(plan_id)
        return len(found)

    async def _end(self, offer: Offer, why: StepError) -> bool:
        try:
            async with self.locks.of(offer.plan_id):
                plan, state = await load(self.pipeline, offer)
                return await withdraw(self.pipeline, plan, state, offer, why)
        except Unavailable:
            raise
        except Refused:
            return False  # it was claimed or ended since it was looked for
        except HandrailError as error:
            # One plan that cannot be read must not keep the others' time from running out.
            _log.error("cannot end", plan_id=offer.plan_id, reason=str(error.reason), detail=error.detail)
            return False
