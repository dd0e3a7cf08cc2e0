"""Retries on the way of a plan: each is on record before it is sent, and nothing ends them worse than they were."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.calls import HandCall, HandResult
from gateway.errors import Unavailable
from gateway.freeze import Scope
from gateway.manifest import Manifest
from gateway.model import Obligations
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.recovery import recover
from gateway.settings import ResilienceSettings
from gateway.telemetry import Tracer
from hand_adapters.resilience import Guard
from tests.freeze.support import freeze
from tests.pipeline.house import AGENT, MANIFEST, House, SimulatedHands, close_house, open_house, step
from tests.resilience.world import DOWN, GOOD, LATER, LOST
from tests.until import until

Sleep = Callable[[float], Any]


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


def idempotent(manifest: Manifest) -> Manifest:
    return replace(manifest, actions={name: replace(one, idempotent=True) for name, one in manifest.actions.items()})


def guarded(house: House, *script: HandResult | Exception, sleep: Sleep = at_once, **settings: Any) -> list[HandCall]:
    """Put a guard before the house's hand, whose action ``echo`` is idempotent and ends as ``script`` says; returns the
    list of what reaches it."""
    house.hands.manifests["tool"] = idempotent(MANIFEST)
    guard = Guard("tool", ResilienceSettings(**settings), sleep=sleep)
    outcomes, once = list(script), partial(SimulatedHands.run, house.hands)

    async def act(call: HandCall) -> HandResult:
        outcome = outcomes.pop(0) if outcomes else GOOD
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def run(call: HandCall) -> HandResult:
        manifest = house.hands.manifests["tool"]
        return await guard.run(call, once, idempotent=manifest.actions[call.action].idempotent)

    house.hands.behaviour["echo"] = act
    house.hands.run = run  # type: ignore[method-assign]
    return house.hands.calls


def claims(token: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")))


async def test_every_attempt_is_on_record_with_its_credential_before_it_is_sent(house: House) -> None:
    calls = guarded(house, LOST, DOWN)
    recorded: list[int] = []

    async def count(call: HandCall) -> HandResult:
        recorded.append(house.codes().count("CRDREN"))
        return await original(call)

    original = house.hands.behaviour["echo"]
    house.hands.behaviour["echo"] = count
    view = await house.plan(step("a"))
    assert view["steps"][0]["status"] == "succeeded"
    assert recorded == [0, 1, 2]
    first, *others = [claims(call.credential) for call in calls]
    renewals = [entry for entry in house.entries() if entry["type"] == "CRDREN"]
    assert [(one["facts"]["attempt"], one["reasons"]) for one in renewals] == [
        (2, ["hand.lost_reply"]),
        (3, ["hand.unavailable"]),
    ]
    assert [one["facts"]["step_jti"] for one in renewals] == [one["jti"] for one in others]
    assert len({first["jti"], *(one["jti"] for one in others)}) == 3
    assert all(one["authorization_details"] == first["authorization_details"] for one in others)
    [ended] = [entry for entry in house.entries() if entry["type"] == "STPEXE"]
    receipt = claims(view["steps"][0]["receipt"])
    assert (ended["facts"]["attempts"], receipt["attempts"], receipt["step_jti"]) == (3, 3, first["jti"])


async def test_a_call_that_went_well_at_once_says_nothing_of_attempts(house: House) -> None:
    guarded(house)
    view = await house.plan(step("a"))
    [ended] = [entry for entry in house.entries() if entry["type"] == "STPEXE"]
    assert "attempts" not in ended.get("facts", {})
    assert "attempts" not in claims(view["steps"][0]["receipt"])
    assert "CRDREN" not in house.codes()


async def test_a_renewed_credential_lives_no_longer_than_policy_lets_it(house: House) -> None:
    house.policy.obligations = Obligations(credential_ttl_seconds=7)
    calls = guarded(house, LOST)
    await house.plan(step("a"))
    assert [one["exp"] - one["iat"] for one in (claims(call.credential) for call in calls)] == [7, 7]


async def test_how_often_it_was_tried_is_told_of_a_step_that_failed(house: House) -> None:
    guarded(house, DOWN, DOWN, DOWN)
    view = await house.plan(step("a"))
    [one] = view["steps"]
    assert (one["status"], one["error"]["code"], one["error"]["attempts"]) == ("failed", "hand.unavailable", 3)
    guarded(house, LATER, LATER, LATER)
    [one] = (await house.plan(step("b")))["steps"]
    assert (one["status"], one["error"]["code"], one["error"]["attempts"]) == ("failed", "hand.failed", 3)


async def test_what_is_withheld_failed_and_was_sent_no_time(house: House) -> None:
    calls = guarded(house, DOWN, retries_max=0, breaker_failures=1)
    await house.plan(step("a"))
    view = await house.plan(step("b"))
    [one] = view["steps"]
    assert (one["status"], one["error"]["code"]) == ("failed", "hand.circuit_open")
    assert one["error"]["retry_after_seconds"] >= 1
    [*_, ended] = [entry for entry in house.entries() if entry["type"] == "STPFAI"]
    assert (ended["facts"]["attempts"], claims(one["receipt"])["attempts"]) == (0, 0)
    assert len(calls) == 1


async def test_without_the_log_there_is_no_second_attempt(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = guarded(house, LOST)
    append = house.log.append

    async def full(item: Append) -> Any:
        if any(draft.type == "CRDREN" for draft in item.entries):
            raise Unavailable(Reason.LOG_UNAVAILABLE)
        return await append(item)

    monkeypatch.setattr(house.log, "append", full)
    view = await house.plan(step("a"))
    assert (view["steps"][0]["status"], view["steps"][0]["error"]["code"]) == ("ambiguous", "hand.lost_reply")
    assert len(calls) == 1


@pytest.mark.parametrize(("failure", "status"), [(DOWN, "cancelled"), (LOST, "ambiguous"), (LATER, "ambiguous")])
async def test_a_freeze_during_the_pause_ends_the_retries(
    house: House, failure: HandResult | Exception, status: str
) -> None:
    """What surely did not act is cancelled; where that is not sure, it is ambiguous."""
    pausing = asyncio.Event()

    async def for_ever(_: float) -> None:
        pausing.set()
        await asyncio.get_running_loop().create_future()

    calls = guarded(house, failure, sleep=for_ever)
    plan = asyncio.ensure_future(house.plan(step("a")))
    await pausing.wait()
    await freeze(house, Scope.HAND, "tool")
    [one] = (await plan)["steps"]
    assert (one["status"], one["error"]["code"]) == (status, "freeze.active")
    assert len(calls) == 1
    assert "CRDREN" not in house.codes()


async def test_a_freeze_cancels_what_waits_for_its_turn(house: House) -> None:
    calls = guarded(house, concurrency_max=1, principal_share=1.0)

    async def hang(call: HandCall) -> HandResult:
        await asyncio.get_running_loop().create_future()
        return GOOD

    house.hands.behaviour["echo"] = hang
    plan = asyncio.ensure_future(house.plan(step("a"), step("b")))
    await until(lambda: len(calls) == 1 and house.codes().count("STPDSP") == 2)
    await freeze(house, Scope.HAND, "tool")
    statuses = sorted(one["status"] for one in (await plan)["steps"])
    assert statuses == ["ambiguous", "cancelled"]
    assert len(calls) == 1
    [cancelled] = [entry for entry in house.entries() if entry["type"] == "STPCAN"]
    assert cancelled["facts"]["attempts"] == 0


async def test_a_freeze_that_came_elsewhere_refuses_the_record_of_the_next_attempt(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This gateway has not heard of it, and its calls go on; but what it would send anew needs the log."""
    calls = guarded(house, LOST)
    home = house.settings.home
    (home / "elsewhere").mkdir()
    other = await open_house(home, gateway="gw-elsewhere", brain=house.brain, journal=home / "elsewhere", start=False)
    append, frozen = house.log.append, []

    async def late(item: Append) -> Any:
        if any(draft.type == "CRDREN" for draft in item.entries) and not frozen:
            frozen.append(await freeze(other, Scope.HAND, "tool"))
        return await append(item)

    monkeypatch.setattr(house.log, "append", late)
    [one] = (await house.plan(step("a")))["steps"]
    assert one["status"] == "ambiguous"
    assert len(calls) == 1
    codes = house.codes()
    assert "FRZSET" in codes
    assert "CRDREN" not in codes
    await close_house(other)


def revoked(house: House) -> None:
    del house.directory.people[AGENT.tenant, AGENT.id]


def without_the_hand(house: House) -> None:
    house.directory.people[AGENT.tenant, AGENT.id] = replace(AGENT, hands=frozenset({"another"}))


def without_its_key(house: House) -> None:
    for name, issuer in list(house.directory.issuers.items()):
        keys = {kid: replace(key, revoked_at=0.0) for kid, key in issuer.keys.items()}
        house.directory.issuers[name] = replace(issuer, keys=keys)


def under_another_policy(house: House) -> None:
    house.policy.digest = "e" * 64


def pinned_anew(house: House) -> None:
    house.hands.manifests["tool"] = MANIFEST


CHANGES = {
    revoked: "auth.forbidden",
    without_the_hand: "auth.forbidden",
    without_its_key: "auth.forbidden",
    under_another_policy: "policy.outdated",
    pinned_anew: "hand.drifted",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_what_let_a_step_go_has_to_hold_when_it_is_tried_again(
    house: House, change: Callable[[House], None]
) -> None:
    """A revoked agent's call is not sent once more, with a new credential, for as long as its deadline lasts."""

    changed = []

    async def meanwhile(_: float) -> None:
        change(house)
        changed.append(change)

    calls = guarded(house, LOST, sleep=meanwhile)
    [one] = (await house.plan(step("a")))["steps"]
    assert changed
    assert (one["status"], one["error"]["code"]) == ("ambiguous", "hand.lost_reply")
    assert len(calls) == 1
    assert "CRDREN" not in house.codes()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_what_let_a_step_go_has_to_hold_when_its_turn_comes(
    house: House, monkeypatch: pytest.MonkeyPatch, change: Callable[[House], None]
) -> None:
    monkeypatch.setattr("hand_adapters.resilience.guard.FRESH_SECONDS", -1.0)
    calls = guarded(house, concurrency_max=1, principal_share=1.0)
    over = asyncio.Event()

    async def hang(call: HandCall) -> HandResult:
        await over.wait()
        return GOOD

    house.hands.behaviour["echo"] = hang
    plan = asyncio.ensure_future(house.plan(step("a"), step("b")))
    await until(lambda: len(calls) == 1 and house.codes().count("STPDSP") == 2)
    change(house)
    over.set()
    ended = {one["status"]: one for one in (await plan)["steps"]}
    assert ended["failed"]["error"]["code"] == CHANGES[change]
    assert len(calls) == 1
    assert house.codes().count("CRDREN") == 1


async def test_a_span_marks_the_attempt(house: House) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    house.pipeline.tracer = Tracer(provider)
    guarded(house, LOST)
    await house.plan(step("a"))
    [dispatch] = [span for span in exporter.get_finished_spans() if span.name == "7 dispatch"]
    [event] = dispatch.events
    assert (event.name, dict(event.attributes or {})) == (
        "handrail.attempt",
        {"attempt": 2, "reason": "hand.lost_reply"},
    )
    provider.shutdown()


async def test_a_gateway_that_is_killed_between_two_attempts_sends_no_other_after_its_restart(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import asyncio, os, signal, sys
        from pathlib import Path
        from tests.pipeline.house import *
        from tests.resilience.test_through_the_pipeline import guarded
        from tests.resilience.world import DOWN

        async def die(seconds):
            os.kill(os.getpid(), signal.SIGKILL)

        async def main():
            house = await open_house(Path(sys.argv[1]))
            guarded(house, DOWN, sleep=die)
            plan = house.brain.payload(step("a"))
            token = house.brain.sign(plan)
            await house.submit(token)

        asyncio.run(main())
        """
    )
    root = Path(__file__).resolve().parents[2]
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=root,
        env={"PATH": os.defpath, "PYTHONPATH": f"{root}:{root / 'client'}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == -9, ended.stderr
    house = await open_house(tmp_path, start=False)
    try:
        calls = guarded(house)
        await recover(house.pipeline, first=True)
        assert house.codes()[-1] == "STPAMB"
        assert calls == []
    finally:
        await close_house(house)
