"""People who freeze, a hand that stays in a call, and lifting as two people do it."""

import asyncio
from typing import Any

from gateway.calls import HandCall, HandResult
from gateway.freeze import Cause, Scope
from gateway.freezing import FreezeOrder
from gateway.model import Principal, Role
from gateway.proposals.acts import Acts
from gateway.proposals.life import Proposals
from gateway.store.proposals import SqlProposals
from gateway.two_person import Kind
from keys import jws
from tests.pipeline.house import House

CHIEF = Principal("chief", "default", "p-chief", frozenset({Role.SECURITY_ADMIN}))
DEPUTY = Principal("deputy", "default", "p-deputy", frozenset({Role.OPERATOR}))
STRANGER = Principal("chief", "other", "p-other-chief", frozenset({Role.SECURITY_ADMIN}))
MAC_KEY = b"m" * 32


class Stuck:
    """A hand that never answers, and notices that it was let go."""

    def __init__(self) -> None:
        self.reached, self.ended, self.open = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, call: HandCall) -> HandResult:
        self.reached.set()
        try:
            await self.open.wait()
        finally:
            self.ended.set()
        return HandResult(({"type": "text", "text": call.step_id},), {"said": call.step_id})


async def freeze(
    house: House, scope: Scope, subject: str | None = None, *, by: Principal = CHIEF, **more: Any
) -> dict[str, Any]:
    shown, _ = await house.freezing.set(by, FreezeOrder(scope, subject, Cause.DRILL, **more))
    return shown


def proposals(house: House) -> Proposals:
    """Proposals of the house's gateway, with people who may lift."""
    for person in (CHIEF, DEPUTY, STRANGER):
        house.directory.people[person.tenant, person.id] = person
    made = Proposals(
        log=house.log,
        store=SqlProposals(house.log._engine, MAC_KEY),
        directory=house.directory,  # type: ignore[arg-type]
        acts=Acts(house.log, house.directory, house.keyset, jws, None),  # type: ignore[arg-type]
        ttl_seconds=3600,
        check_acts=house.freezing.check_acts,
    )
    made.handlers[Kind.FREEZE_LIFT] = house.freezing
    return made


async def lift(house: House, freeze_id: str, first: Principal = CHIEF, second: Principal = DEPUTY) -> None:
    desk = proposals(house)
    made = await desk.propose(first, Kind.FREEZE_LIFT, {"freeze": freeze_id})
    await desk.activate(made["id"], second, document_sha256=made["document_sha256"])
