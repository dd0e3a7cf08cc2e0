"""Two gateways of one PostgreSQL: a run goes on at either, each turn once, and whoever follows or ends it may be at the
other."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.runs import driver
from gateway.store.leases import leases
from tests.anthropic_api.answers import Answer, Cut
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import StandIn
from tests.runs.processes import begun, process
from tests.runs.world import Desk, World, sent, world
from tests.until import until

CALL = message("I look.", tool_use("desk__slow", {"text": "x"}, "a"))


def let_run_out(here: World) -> None:
    """The time passes for which a gateway said that it drives its runs."""
    with here.gateway.engine.begin() as connection:
        connection.execute(leases.update().values(until=0.0))


@pytest.mark.parametrize("moment", ["model", "tool"])
async def test_what_a_killed_gateway_began_the_other_finishes_once(
    tmp_path: Path, api: StandIn, at: Desk, postgres_url: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL while a model is asked: asked again by the other, once. While a tool runs: never called again, and the
    model is told that nobody knows."""
    monkeypatch.setattr(driver, "LOST_SECONDS", 0.0)
    asked = asyncio.Event()

    def decide(body: Mapping[str, Any]) -> Any:
        asked.set()
        if moment == "model" and len(api.asked) == 1:
            return Answer([Cut.HANG])
        return CALL if len(body["messages"]) == 1 else message("Done.")

    api.decide = decide
    async with world(tmp_path / "one", api, at, database={"url": postgres_url}) as here:
        key = here.keys["bot"]
    async with world(tmp_path / "two", api, at, like=tmp_path / "one", database={"url": postgres_url}) as other:
        async with process(tmp_path / "one", api, at, postgres_url) as (running, url):
            run_id = await begun(url, key)
            await (asked if moment == "model" else at.reached).wait()
            await other.reaches(run_id, "running")
            os.kill(running.pid, signal.SIGKILL)
            await asyncio.to_thread(running.wait, 30)
        if moment == "model":
            at.hold.set()
        following = asyncio.create_task(other.events(run_id))
        let_run_out(other)
        view = await other.ended(run_id)
        assert (view["status"], view["text"]) == ("done", "Done."), view
        assert [path for path, _ in at.calls] == ["/slow"]
        kinds = [turn["kind"] for turn in view["turns"]]
        assert kinds == (["model", "model", "tools", "model"] if moment == "model" else ["model", "tools", "model"])
        assert len(api.asked) == kinds.count("model")
        [result] = sent(api)["messages"][-1]["content"]
        assert ("not known" in result["content"][0]["text"]) == (moment == "tool")
        told = await following
        numbers = [number for number, _, _ in told]
        assert numbers == sorted(set(numbers))
        assert told[-1][1] == "done"
        assert await other.events(run_id, numbers[-2]) == told[-1:]
        assert other.count("RUNEND") == 1


async def test_a_run_is_followed_and_ended_at_the_other_gateway(
    tmp_path: Path, api: StandIn, at: Desk, postgres_url: str
) -> None:
    api.script(message(tool_use("desk__keep", {"text": "note"}, "a")))
    database = {"url": postgres_url}
    async with (
        world(tmp_path / "one", api, at, database=database) as one,
        world(tmp_path / "two", api, at, like=tmp_path / "one", database=database) as two,
    ):
        run_id = await one.begin()
        view = await two.reaches(run_id, "waiting")
        following = asyncio.create_task(two.events(run_id))
        cancelled = await two.json("POST", f"/v1/runs/{run_id}/cancel")
        assert cancelled["status"] == "cancelled"
        told = await following
        assert (told[-1][1], told[-1][2]["status"]) == ("done", "cancelled")
        await until(lambda: not one.gateway.runs._driving)
        path = f"/v1/approvals/{view['approvals'][0]}"

        async def withdrawn() -> bool:
            return bool((await one.json("GET", path, who="bob"))["status"] == "voided")

        await until(withdrawn)
        assert at.calls == []
        assert len(api.asked) == 1
        assert one.count("RUNEND") == 1


async def test_a_run_that_nobody_drives_says_so_and_since_when(
    tmp_path: Path, api: StandIn, at: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose driver stopped short is not said to be running; whoever began it can end it."""

    async def fails(*_: object) -> None:
        raise RuntimeError("a fault of the gateway")

    async with world(tmp_path, api, at) as here:
        with monkeypatch.context() as broken:
            broken.setattr(driver.Drive, "_next", fails)
            run_id = await here.begin()
            await until(lambda: not here.gateway.runs._driving)
        assert (await here.json("GET", f"/v1/runs/{run_id}"))["status"] == "running", "another gateway may be about to"
        now = here.gateway.runs.parts.clock()
        here.gateway.runs.parts.clock = lambda: now + 60
        view = await here.json("GET", f"/v1/runs/{run_id}")
        assert view["status"] == "interrupted"
        assert view["interrupted_at"] <= view["deadline_at"]
        [listed] = (await here.json("GET", "/v1/runs"))["runs"]
        assert (listed["status"], listed["interrupted_at"]) == ("interrupted", view["interrupted_at"])
        assert (await here.json("POST", f"/v1/runs/{run_id}/cancel"))["status"] == "cancelled"
        assert "interrupted_at" not in await here.json("GET", f"/v1/runs/{run_id}")
