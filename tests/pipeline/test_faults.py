"""The gateway or what it stands on fails half-way: nothing runs unrecorded, and nothing runs twice."""

import asyncio
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.calls import HandCall, HandResult
from gateway.errors import HandrailError, Unavailable, Uncertain
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.recovery import recover
from tests.pipeline.house import AGENT, House, close_house, locked, open_house, step


@pytest.mark.limits
async def test_a_locked_database_refuses_the_plan_and_nothing_runs(house: House) -> None:
    with locked(house), pytest.raises(HandrailError) as refusal:
        await house.plan(step("a"))
    assert refusal.value.reason is Reason.LOG_UNAVAILABLE
    assert not house.hands.calls
    view = await house.plan(step("b"))
    assert view["steps"][0]["status"] == "succeeded"
    assert [call.step_id for call in house.hands.calls] == ["b"]


@pytest.mark.limits
async def test_an_outcome_that_cannot_be_recorded_is_withheld_and_settled_later(house: House) -> None:
    lock = locked(house)

    async def act_and_lose_the_disk(call: HandCall) -> HandResult:
        lock.__enter__()
        return HandResult(({"type": "text", "text": "the answer"},))

    house.hands.behaviour["echo"] = act_and_lose_the_disk
    view = await house.plan(step("a"))
    assert view["steps"][0]["status"] == "ambiguous"
    assert view["steps"][0]["error"]["code"] == "log.unavailable"
    assert "the answer" not in str(view)
    lock.__exit__(None, None, None)
    assert house.pipeline.stalled
    await recover(house.pipeline)
    assert not house.pipeline.stalled
    settled = await house.until_settled(view["plan_id"])
    assert settled["steps"][0]["status"] == "ambiguous"
    assert house.codes()[-1] == "STPAMB"
    assert len(house.hands.calls) == 1


async def test_an_intent_of_unknown_fate_is_cancelled_never_dispatched(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit went through but its answer was lost: the rows say `running`, and nothing was dispatched."""
    append = house.log.append

    async def lose_the_answer(item: Append) -> list[int]:
        await append(item)
        raise Uncertain(Reason.LOG_UNAVAILABLE)

    monkeypatch.setattr(house.log, "append", lose_the_answer)
    plan = house.brain.payload(step("a"))
    token = house.brain.sign(plan)
    with pytest.raises(Unavailable):
        await house.submit(token)
    monkeypatch.undo()
    assert not house.hands.calls
    await recover(house.pipeline)
    (stored,) = await asyncio.to_thread(_rows, house, "SELECT plan_id, status FROM steps")
    assert stored[1] == "cancelled"
    assert house.codes()[-1] == "STPCAN"
    with pytest.raises(HandrailError) as refusal:
        await house.submit(token)
    assert refusal.value.reason is Reason.VERIFY_REPLAYED


def _rows(house: House, query: str) -> list[tuple[str, ...]]:
    with house.log._engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


async def test_a_killed_gateway_leaves_running_steps_ambiguous_and_runs_nothing_again(tmp_path: Path) -> None:
    """SIGKILL between intent and outcome, in a process of its own."""
    program = textwrap.dedent(
        """
        import asyncio, os, signal, sys
        from pathlib import Path
        from tests.pipeline.house import *

        async def main():
            house = await open_house(Path(sys.argv[1]))
            async def die(call):
                print(call.plan_id, house.brain.kid, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            house.hands.behaviour["echo"] = die
            await house.plan(step("a"), step("b", depends_on=["a"]))

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
    plan_id, kid = ended.stdout.split()

    house = await open_house(tmp_path, start=False)
    registered = house.brain.registration()
    house.directory.issuers["default", "brain"] = replace(registered, keys={kid: registered.keys[house.brain.kid]})
    await recover(house.pipeline, first=True)
    view = await house.until_settled(plan_id)
    assert [s["status"] for s in view["steps"]] == ["ambiguous", "skipped"]
    assert view["status"] == "done"
    assert not house.hands.calls
    assert house.codes()[-2:] == ["STPAMB", "STPSKP"]
    assert all(s["receipt"] for s in view["steps"])
    await close_house(house)


async def test_a_caller_that_goes_away_does_not_stop_its_plan(house: House) -> None:
    go, reached = asyncio.Event(), asyncio.Event()

    async def wait(call: HandCall) -> HandResult:
        reached.set()
        await go.wait()
        return HandResult(())

    house.hands.behaviour["echo"] = wait
    caller = asyncio.create_task(house.plan(step("a")))
    await reached.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    (plan_id,) = house.pipeline._live
    go.set()
    assert (await house.until_settled(plan_id))["steps"][0]["status"] == "succeeded"
    assert (await house.pipeline.view(plan_id, AGENT))["status"] == "done"


async def test_a_follower_that_does_not_read_is_cut_off(house: House) -> None:
    view = await house.plan(step("w", "write"))
    stream = house.pipeline.events(view["plan_id"], AGENT)
    first = await anext(stream)
    assert first[1] == "step"
    plan = await house.pipeline.load(view["plan_id"])
    for _ in range(300):
        house.pipeline.followers.announce(plan, list(plan))
    rest = [event async for event in stream]
    assert [event[1] for event in rest] == ["plan"]
