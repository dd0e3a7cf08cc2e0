"""A run whose gateway is killed, restarted, or shared: it goes on from its record, and no call runs twice."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import create_engine, text

from gateway.model import PlanStatus, TurnKind
from gateway.runs.asked import Asked
from gateway.runs.asking import Asking
from gateway.runs.driver import Drive
from tests.anthropic_api.answers import Answer, Cut
from tests.anthropic_api.blocks import body, message, tool_use
from tests.anthropic_api.server import StandIn
from tests.runs.processes import process
from tests.runs.world import Desk, sent, world
from tests.until import until


async def _view(url: str, key: str, path: str, body: Any = None) -> Any:
    async with httpx2.AsyncClient(base_url=url, timeout=60, headers={"authorization": f"Bearer {key}"}) as http:
        answer = await (http.get(path) if body is None else http.post(path, json=body))
        assert answer.status_code in {200, 202}, answer.text
        return answer.json()


@pytest.mark.parametrize("moment", ["model", "tool"])
async def test_a_killed_gateway_goes_on_from_the_record(tmp_path: Path, api: StandIn, at: Desk, moment: str) -> None:
    """SIGKILL while a model is asked, and while a tool runs. What was asked of a model may be asked again; what was
    asked of a tool is not, and the model is told that nobody knows."""
    async with world(tmp_path, api, at) as here:
        key = here.keys["bot"]
    asked = asyncio.Event()
    answers = [message(tool_use("desk__slow", {"text": "x"}, "a")), message("Done.")]

    def decide(body: Any) -> Any:
        asked.set()
        if moment == "model" and len(api.asked) == 1:
            return Answer([Cut.HANG])
        return answers[0] if len(body["messages"]) == 1 else answers[1]

    api.decide = decide
    async with process(tmp_path, api, at) as (running, url):
        run_id = (await _view(url, key, "/v1/runs", {"prompt": "Look."}))["run_id"]
        await (asked if moment == "model" else at.reached).wait()
        running.send_signal(signal.SIGKILL)
        await asyncio.to_thread(running.wait, 30)
    if moment == "model":
        at.hold.set()
    async with process(tmp_path, api, at) as (_, url):

        async def over() -> Any:
            view = await _view(url, key, f"/v1/runs/{run_id}")
            return view if view["status"] not in {"running", "waiting"} else None

        view = await until(over)
    assert (view["status"], view["text"]) == ("done", "Done."), view
    assert [path for path, _ in at.calls] == ["/slow"]
    kinds = [turn["kind"] for turn in view["turns"]]
    if moment == "model":
        assert kinds == ["model", "model", "tools", "model"]
        assert len(api.asked) == 3
    else:
        assert kinds == ["model", "tools", "model"]
        [result] = sent(api)["messages"][-1]["content"]
        assert result["is_error"] is True
        assert "not known" in result["content"][0]["text"]


async def test_a_gateway_that_is_stopped_hands_its_runs_over(tmp_path: Path, api: StandIn, at: Desk) -> None:
    """Between two turns: a run that waits for a person goes on after a restart, with the answer that came then."""
    async with world(tmp_path, api, at) as here:
        api.script(message(tool_use("desk__keep", {"text": "note"})))
        run_id = await here.begin()
        await here.reaches(run_id, "waiting")
    async with world(tmp_path, api, at) as here:
        view = await here.reaches(run_id, "waiting")
        api.script(message("Kept."))
        path = f"/v1/approvals/{view['approvals'][0]}"
        await here.json("POST", path, {"answer": "approve"}, who="bob")
        view = await here.ended(run_id)
        assert (view["status"], view["text"]) == ("done", "Kept.")
    assert [path for path, _ in at.calls] == ["/keep"]
    assert len(api.asked) == 2


async def test_a_stop_sees_a_tool_through_and_takes_no_further_turn(tmp_path: Path, api: StandIn, at: Desk) -> None:
    """SIGTERM while a tool runs, and while a client's own request is answered: the answer of the tool is on record, the
    model is asked no more by this process, and the next one goes on from there."""
    async with world(tmp_path, api, at) as here:
        key = here.keys["bot"]
    gate = asyncio.Event()
    question = {"model": "claude-opus-4-6", "max_tokens": 8, "messages": [{"role": "user", "content": "Client."}]}

    def decide(asked: Any) -> Any:
        if asked["messages"][0]["content"] == "Client.":
            return Answer([gate, body(message("Late."))])
        return message(tool_use("desk__slow", {"text": "x"}, "a")) if len(asked["messages"]) == 1 else message("Done.")

    api.decide = decide
    async with process(tmp_path, api, at) as (running, url):
        run_id = (await _view(url, key, "/v1/runs", {"prompt": "Look."}))["run_id"]
        await at.reached.wait()
        client = asyncio.create_task(_view(url, key, "/anthropic/v1/messages", question))
        await until(lambda: len(api.asked) == 2)
        async with httpx2.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}) as http:
            running.send_signal(signal.SIGTERM)

            async def drains() -> bool:
                return (await http.get(f"/v1/runs/{run_id}")).status_code == 503

            await until(drains)
        at.hold.set()
        database = create_engine(f"sqlite:///{tmp_path / 'handrail.db'}")
        ended = text("SELECT count(*) FROM entries WHERE type = 'STPEXE' AND hand = 'desk'")

        def seen_through() -> bool:
            with database.connect() as connection:
                return int(connection.execute(ended).scalar_one()) == 1

        await until(seen_through)
        database.dispose()
        gate.set()
        assert (await client)["content"][0]["text"] == "Late."
        assert await asyncio.to_thread(running.wait, 30) in {0, -signal.SIGTERM}
    assert len(api.asked) == 2
    async with world(tmp_path, api, at) as here:
        view = await here.ended(run_id)
    assert (view["status"], view["text"]) == ("done", "Done."), view
    assert [turn["kind"] for turn in view["turns"]] == ["model", "tools", "model"]
    assert [path for path, _ in at.calls] == ["/slow"]
    [result] = sent(api)["messages"][-1]["content"]
    assert "is_error" not in result


async def test_a_run_takes_no_further_turn_at_a_gateway_that_drains(tmp_path: Path, api: StandIn, at: Desk) -> None:
    """What it has under way is seen through there, and the turn after it is the next life's."""
    async with world(tmp_path, api, at) as here:
        api.script(message(tool_use("desk__slow", {"text": "a"})))
        run_id = await here.begin()
        await at.reached.wait()
        here.gateway.drain.begin()
        at.hold.set()
        tools = (await here.gateway.runs.parts.store.turns(run_id))[-1].plan_id

        async def over() -> bool:
            plan = await here.gateway.pipeline.load(tools)
            return plan.status is PlanStatus.DONE

        await until(over)
        driving = list(here.gateway.runs._driving.values())
        await asyncio.gather(*driving, return_exceptions=True)
        assert len(api.asked) == 1
        assert not here.count("RUNEND")
    async with world(tmp_path, api, at) as here:
        api.script(message("Done."))
        assert (await here.ended(run_id))["text"] == "Done."
    assert [path for path, _ in at.calls] == ["/slow"]


async def test_two_drivers_of_one_run_take_each_turn_once(tmp_path: Path, api: StandIn, at: Desk) -> None:
    """However it comes that two gateways think that a run is theirs: the database gives a turn to one of them."""
    async with world(tmp_path, api, at) as here:
        looks = [message(tool_use("desk__look", {"text": str(number)})) for number in range(4)]
        api.decide = lambda body: looks[len(body["messages"]) // 2] if len(body["messages"]) < 8 else message("Done.")
        runs = here.gateway.runs
        run_id = await here.begin()
        run = await runs.parts.store.find(run_id)
        assert run is not None
        opened = await runs.parts.pipeline.payloads.open([run.commitment])
        asked = Asked.from_document(opened[run.commitment][1])
        asking = Asking(runs.parts, runs.tools, run, asked)
        await asyncio.gather(*(Drive(runs.parts, run, asking).go() for _ in range(3)))
        view = await here.ended(run_id)
        assert (view["status"], view["text"]) == ("done", "Done.")
        assert sorted(body["text"] for _, body in at.calls) == ["0", "1", "2", "3"]
        turns = await runs.parts.store.turns(run_id)
        assert [turn.turn.number for turn in turns] == list(range(10))
        assert turns[-1].turn.kind is TurnKind.END
        assert here.count("RUNEND") == 1


async def test_rows_that_somebody_changed_drive_nothing(tmp_path: Path, api: StandIn, at: Desk) -> None:
    async with world(tmp_path, api, at) as here:
        api.script(message("Done."))
        view = await here.run()
        with here.gateway.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE runs SET steps_max = 100000")
        refused = await here.json("GET", f"/v1/runs/{view['run_id']}", expect=500)
        assert refused["code"] == "gateway.internal"
        with pytest.raises(Exception, match="append-only"), here.gateway.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM run_turns")


async def test_a_follower_sees_each_event_once_also_after_a_break(tmp_path: Path, api: StandIn, at: Desk) -> None:
    async with world(tmp_path, api, at) as here:
        api.script(message("I look.", tool_use("desk__slow", {"text": "x"})), message("Done."))
        run_id = await here.begin()
        bot = await here.person("bot")
        first: list[Any] = []
        async for event in here.gateway.runs.events(run_id, bot):
            first.append(event)
            if len(first) == 3:
                break
        at.hold.set()
        rest = [event async for event in here.gateway.runs.events(run_id, bot, first[-1][0])]
        events = [*first, *rest]
        numbers = [number for number, _, _ in events]
        assert numbers == sorted(set(numbers))
        assert [(data["kind"], data["status"]) for _, name, data in events if name == "turn"] == [
            ("model", "running"),
            ("model", "done"),
            ("tools", "running"),
            ("tools", "done"),
            ("model", "running"),
            ("model", "done"),
        ]
        number, name, data = events[-1]
        assert (name, data["status"], data["text"]) == ("done", "done", "Done.")
        again = [event async for event in here.gateway.runs.events(run_id, bot)]
        assert again[-1] == events[-1]
        headers = {"authorization": f"Bearer {here.keys['bot']}", "last-event-id": str(numbers[-2])}
        answer = await here.http.get(f"/v1/runs/{run_id}/events", headers=headers)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert f"id: {number}\n" in answer.text
        assert answer.text.count("event: ") == 1
