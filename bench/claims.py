"""What it costs to hand a step to a remote hand and take its result: part of ``python -m bench.credentials``.

One gateway on SQLite with the shipped policies, in this process and without HTTP. A claim is timed from the checked
proof to the handed credential, a return from the presented credential to the outcome on record: both wait for the disk,
and go by the clock. ``pending`` steps wait beside the one that is claimed, as in a backlog.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handrail import Plan, Signer, SigningKey

from gateway.app import build
from gateway.calls import HandResult
from gateway.model import Principal, UnverifiedPlan
from gateway.service import Gateway
from gateway.settings import load
from gateway.store.directory_rows import NewPrincipal
from gateway.telemetry import configure_logging
from keys.proof import ProofKey

ORIGIN: Final = "bench.handrail.local/log"
CONFIGURATION: Final = """\
home = "{home}"
[log]
origin = "bench.handrail.local/log"
[policy]
deadline_milliseconds = 2000
[telemetry]
log_level = "error"
[hands.crm]
adapter = "remote"
claim_seconds = 86400
[hands.crm.actions.add_note]
side_effects = "none"
[hands.crm.actions.add_note.args_schema]
type = "object"
properties = {{ text = {{ type = "string" }} }}
"""
STEPS_PER_PLAN: Final = 100


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds by the clock, one for each step that was timed."""

    look: list[float]
    claim: list[float]
    give_back: list[float]


async def measure(directory: Path, calls: int, pending: int) -> Spent:
    """Time ``calls`` steps while ``pending`` others wait."""
    configuration = directory / "handrail.toml"
    configuration.write_text(CONFIGURATION.format(home=directory / "home"), encoding="utf-8")
    settings = load(configuration)
    configure_logging(settings.telemetry)
    gateway = build(settings)
    await gateway.start()
    try:
        signer, agent, hand = await _people(gateway)
        for _ in range(0, pending, STEPS_PER_PLAN):
            await _offer(gateway, signer, agent, STEPS_PER_PLAN)
        return await _timed(gateway, signer, agent, hand, calls)
    finally:
        await gateway.close()


async def _people(gateway: Gateway) -> tuple[Signer, Principal, Principal]:
    await gateway.directory.bootstrap([NewPrincipal("admin", ["security_admin"])])
    admin = await gateway.directory.principal("default", "admin")
    for person in (
        NewPrincipal("agent", ["agent"]),
        NewPrincipal("operator", ["operator"]),
        NewPrincipal("crm-hand", ["hand"], ["crm"]),
    ):
        await gateway.directory.add_principal(admin, person)
    key = SigningKey.generate()
    await gateway.directory.add_issuer(admin, "laptop", dict(key.public.public_jwk()), ["agent"])
    operator = await gateway.directory.principal("default", "operator")
    await gateway.hands.settled()
    await gateway.hands.pin("crm", (await gateway.hands.offer("crm")).digest, operator)
    agent = await gateway.directory.principal("default", "agent")
    return (
        Signer("laptop", key, ORIGIN, "default", "agent"),
        agent,
        await gateway.directory.principal("default", "crm-hand"),
    )


async def _offer(gateway: Gateway, signer: Signer, agent: Principal, steps: int) -> None:
    plan = Plan()
    for number in range(steps):
        plan.step("crm", "add_note", {"text": f"note {number} " + "x" * 400})
    await gateway.pipeline.submit(UnverifiedPlan(signer.sign(plan).encode("ascii"), agent, time.time()))


async def _timed(gateway: Gateway, signer: Signer, agent: Principal, hand: Principal, calls: int) -> Spent:
    spent, key = Spent([], [], []), ProofKey()
    result = HandResult(({"type": "text", "text": "done"},), {"done": True})
    for _ in range(calls):
        await _offer(gateway, signer, agent, 1)
        began = time.perf_counter()
        [step_jti] = await gateway.claims.work(hand, "crm", 1, 0.0)
        looked = time.perf_counter()
        handed = await gateway.claims.claim(hand, step_jti, key.jkt)
        claimed = time.perf_counter()
        await gateway.results.take(await gateway.results.leased(step_jti, handed.credential), result)
        returned = time.perf_counter()
        spent.look.append(looked - began)
        spent.claim.append(claimed - looked)
        spent.give_back.append(returned - claimed)
    return spent
