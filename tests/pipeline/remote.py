"""Remote hands for tests of the pipeline: a house that has one, and somebody who claims and returns."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.calls import HandResult
from gateway.manifest import ActionManifest, Manifest, SideEffects
from gateway.model import Principal, Role
from gateway.ports import Offer
from gateway.remote_steps.claims import Handed
from keys.proof import ProofKey
from tests.pipeline.house import ECHO_SCHEMA, MANIFEST, House, SimulatedHands, open_house, step

CRM = Principal("crm-hand", "default", "p-crm", frozenset({Role.HAND}), frozenset({"crm"}))
STRANGER = Principal("erp-hand", "default", "p-erp", frozenset({Role.HAND}), frozenset({"erp"}))
UNBOUND = Principal("any-hand", "default", "p-any", frozenset({Role.HAND}))
KEY = ProofKey()
REMOTE = Manifest(
    hand="crm",
    adapter="remote",
    claim_seconds=300.0,
    actions={
        "note": ActionManifest("note", "Writes a note.", ECHO_SCHEMA, side_effects=SideEffects.NONE),
        "write": ActionManifest("write", "Asks first.", ECHO_SCHEMA, side_effects=SideEffects.REVERSIBLE),
        "typed": ActionManifest("typed", "By schema.", ECHO_SCHEMA, result_schema={"type": "object"}),
        "small": ActionManifest("small", "Little.", ECHO_SCHEMA, result_max_bytes=128),
    },
)
PLAIN = MANIFEST


async def remote_house(home: Path, **changes: Any) -> House:
    house = await open_house(home, start=False, **changes)
    equip(house.hands)
    for person in (CRM, STRANGER, UNBOUND):
        house.directory.people["default", person.id] = person
    house.pipeline.clock = Clock()
    return house


def equip(hands: SimulatedHands) -> None:
    hands.manifests = {"tool": PLAIN, "crm": REMOTE}


class Clock:
    """The time, and what a test lets pass on top of it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def note(name: str, action: str = "note", **changes: Any) -> dict[str, Any]:
    return step(name, action, hand="crm", **changes)


def pass_time(house: House, seconds: float) -> None:
    clock = house.pipeline.clock
    assert isinstance(clock, Clock)
    clock.ahead += seconds


async def offered(house: House) -> list[str]:
    return list(await house.claims.work(CRM, "crm", 100, 0.0))


async def claim(house: House, step_jti: str, who: Principal = CRM) -> Handed:
    return await house.claims.claim(who, step_jti, KEY.jkt)


async def give(house: House, step_jti: str, handed: Handed, said: Any = "done", **changes: Any) -> dict[str, Any]:
    lease: Offer = await house.results.leased(step_jti, handed.credential)
    result = HandResult(({"type": "text", "text": str(said)},), {"said": said})
    return await house.results.take(lease, replace(result, **changes))
