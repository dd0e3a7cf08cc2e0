"""A service whose streams break, repeat, disorder and say what nobody knows; whose answers fail, or are lost."""

import asyncio
import time
from pathlib import Path

import pytest

from gateway.entries import EntryType
from gateway.errors import Overtaken
from gateway.store.leases import leases
from tests.managed_agents.stand_in import StandIn
from tests.managed_agents.world import World, opened
from tests.until import until


async def test_what_happened_while_the_stream_was_broken_is_found_in_the_list(world: World) -> None:
    session = world.session()
    await world.follow(session)
    world.service.break_streams(session)
    use = world.service.use(session, name="crm__read", live=False)
    world.service.idle(session, live=False)
    (answer,) = await world.answers(session, use)
    assert not answer["is_error"]
    assert world.service.opened >= 2
    assert world.count("agent_reconnects") >= 1


async def test_streams_that_break_again_and_again_answer_each_use_once(world: World) -> None:
    session = world.session()
    await world.follow(session)
    uses = []
    for number in range(5):
        world.service.break_streams(session)
        uses.append(world.service.use(session, name="crm__read", input={"n": number}, live=number % 2 == 0))
        world.service.idle(session, live=False)
        await until(lambda: session.streams)
    for use in uses:
        assert len(await world.answers(session, use)) == 1
    assert sorted(call[1]["n"] for call in world.calls) == [0, 1, 2, 3, 4]


async def test_events_that_come_twice_are_one(world: World) -> None:
    session = world.session()
    await world.follow(session)
    use = world.service.use(session, name="crm__read")
    idle = world.service.idle(session)
    event = next(event for event in session.events if event["id"] == use)
    for _ in range(3):
        world.service.emit(session, event, idle)
    await world.answers(session, use)
    world.service.emit(session, event, idle)
    world.service.break_streams(session)
    await until(lambda: session.streams)
    assert len(world.service.answers(session, use)) == 1
    assert len(world.calls) == 1
    assert world.count("agent_events", "duplicate") >= 3


async def test_a_session_that_waits_for_what_comes_later(world: World) -> None:
    session = world.session()
    await world.follow(session)
    late = world.service.made("agent.custom_tool_use", name="crm__read", input={"n": 1})
    session.waits_for.append(late["id"])
    first = world.service.use(session, name="crm__read", input={"n": 0})
    world.service.idle(session)
    await world.answers(session, first)
    assert late["id"] in (await world.shown(session))["unreadable"]
    world.service.emit(session, late)
    assert len(await world.answers(session, late["id"])) == 1


async def test_what_nobody_knows_is_counted_and_never_answered(world: World) -> None:
    session = world.session()
    await world.follow(session)
    session.waits_for.append("sevt_new_kind")
    world.service.emit(
        session,
        {"id": "sevt_new_kind", "type": "agent.quantum_tool_use", "processed_at": world.service.now(), "name": "bash"},
        {"id": "sevt_x", "type": 7},
        {"type": "agent.tool_use"},
        {"id": "../../etc", "type": "agent.tool_use", "name": "bash", "input": {}},
        {"id": "sevt_y", "type": "agent.custom_tool_use", "name": "crm__read", "input": "a string"},
        {"id": "sevt_z", "type": "agent.custom_tool_use", "name": {"$ne": 1}, "input": {}},
    )
    good = world.service.use(session, name="crm__read")
    world.service.idle(session)
    await world.answers(session, good)
    assert {e.get("tool_use_id") or e.get("custom_tool_use_id") for _, e in world.service.sent} == {good}
    assert world.count("agent_events", "unknown") >= 1
    assert world.count("agent_events", "broken") >= 3
    assert "sevt_new_kind" in (await world.shown(session))["unreadable"], "whoever looks is told what it waits for"


@pytest.mark.parametrize("status", [429, 503, 529])
async def test_a_service_that_is_busy_is_asked_again(world: World, status: int) -> None:
    session = world.session()
    world.service.fail("stream", status)
    await world.gateway.managed_agents.follow(world.people["op"], "cloud", session.id)
    await until(lambda: session.streams)
    world.service.fail("list", status)
    if status == 429:
        world.service.fail("send", 429, 429)
    use = world.service.use(session, name="crm__read")
    world.service.idle(session)
    (_,) = await world.answers(session, use)
    assert len(world.calls) == 1


async def test_an_answer_whose_fate_is_lost_is_looked_for_and_not_given_twice(world: World) -> None:
    session = world.session()
    await world.follow(session)
    world.service.lost_answers = 1
    use = world.service.use(session, name="crm__read")
    world.service.idle(session)
    (_,) = await world.answers(session, use)
    assert len(world.service.answers(session, use)) == 1
    (told,) = world.entries("AGSAMB")
    assert told["facts"]["event"] == use
    assert told["reasons"] == ["agents.ambiguous"]
    assert world.count("agent_answers", "ambiguous") == 1
    assert len(world.calls) == 1


async def test_an_answer_that_never_arrived_is_sent_again(world: World) -> None:
    session = world.session()
    await world.follow(session)
    world.service.fail("send", 500)
    use = world.service.use(session, "agent.tool_use", name="bash", input={})
    world.service.idle(session)
    (answer,) = await world.answers(session, use)
    assert answer["result"] == "allow"
    assert len(world.entries("AGSAMB")) == 1
    assert len(world.entries("AGSANS")) == 2, "each time that it is sent is on record before"


async def test_a_service_that_takes_no_answer_any_more_is_not_asked_again(world: World) -> None:
    session = world.session()
    await world.follow(session)
    use = world.service.use(session, name="crm__read")
    world.service.idle(session)
    await world.state(session, use, "judged", "answering", "answered")
    held = world.service.use(session, name="crm__send", input={})
    world.service.idle(session)
    await world.plan_of(session, held)
    session.waits_for.clear()
    await world.approve(session, held)
    await world.state(session, held, "over")
    assert world.service.answers(session, held) == []


async def test_a_restart_goes_on_where_the_last_life_ended(tmp_path: Path, service: StandIn) -> None:
    async with opened(tmp_path / "one", service) as first:
        session = first.session()
        await first.follow(session)
        held = service.use(session, name="crm__send", input={"n": 1})
        done = service.use(session, name="crm__read", input={"n": 2})
        service.idle(session)
        await first.answers(session, done)
        plan = await first.plan_of(session, held)
    missed = service.use(session, name="crm__read", input={"n": 3})
    service.idle(session)
    async with opened(tmp_path / "one", service) as second:
        await second.answers(session, missed)
        assert len(service.answers(session, done)) == 1
        assert (await second.plan_of(session, held))["plan_id"] == plan["plan_id"]
        await second.approve(session, held)
        (answer,) = await second.answers(session, held)
        assert not answer["is_error"]
        assert [call[1]["n"] for call in second.calls] == [3, 1]


async def test_a_restart_in_the_middle_of_an_answer_asks_the_list_first(tmp_path: Path, service: StandIn) -> None:
    async with opened(tmp_path / "one", service) as first:
        session = first.session()
        await first.follow(session)
        service.held = asyncio.Event()
        use = service.use(session, name="crm__read", input={})
        service.idle(session)
        await until(lambda: service.sent)
    service.held.set()
    service.held = None
    async with opened(tmp_path / "one", service) as second:
        await second.state(session, use, "answered")
        assert len(service.answers(session, use)) == 1
        assert second.calls == []


async def test_one_gateway_follows_at_a_time_and_another_goes_on(tmp_path: Path, service: StandIn) -> None:
    async with opened(tmp_path / "one", service) as first:
        session = first.session()
        follower = await first.follow(session)
        async with opened(tmp_path / "two", service, like=tmp_path / "one", crm=first.crm) as second:
            use = service.use(session, name="crm__read", input={"n": 1})
            service.idle(session)
            await first.answers(session, use)
            await second.state(session, use, "answered")
            assert len(session.streams) == 1
            assert len(service.answers(session, use)) == 1
            connector = first.gateway.managed_agents.connectors["cloud"]
            await connector.close()
            await second.follower(session)
            more = service.use(session, name="crm__read", input={"n": 2})
            service.idle(session)
            assert len(await second.answers(session, more)) == 1
            assert follower.following.record.session_id == session.id
            assert [call[1]["n"] for call in second.calls] == [1, 2]


async def test_a_crash_between_signing_and_recording_makes_one_plan(
    tmp_path: Path, service: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "one", service) as first:
        session = first.session()
        await first.follow(session)
        lost = asyncio.Event()

        async def crash(*_: object, **__: object) -> None:
            lost.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(type(first.gateway.pipeline), "submit", crash)
        use = service.use(session, name="crm__read", input={"n": 1})
        service.idle(session)
        await lost.wait()
    monkeypatch.undo()
    async with opened(tmp_path / "one", service) as second:
        row = await second.state(session, use, "judged")
        assert second.calls == [], "the first bytes may still arrive"
        signed = row["plan_id"]
    async with opened(tmp_path / "one", service, clock=lambda: time.time() + 120) as third:
        (answer,) = await third.answers(session, use)
        assert not answer["is_error"]
        assert len(third.calls) == 1
        assert (await third.state(session, use, "answered"))["plan_id"] != signed


async def test_a_session_goes_on_over_postgresql(tmp_path: Path, service: StandIn, postgres_url: str) -> None:
    async with opened(tmp_path / "one", service, url=postgres_url) as first:
        session = first.session()
        await first.follow(session)
        use = service.use(session, name="crm__read", input={"n": 1})
        service.idle(session)
        await first.answers(session, use)
        async with opened(tmp_path / "two", service, like=tmp_path / "one", crm=first.crm, url=postgres_url) as second:
            await first.gateway.managed_agents.connectors["cloud"].close()
            await second.follower(session)
            more = service.use(session, "agent.tool_use", name="bash", input={})
            service.idle(session)
            assert [one["result"] for one in await second.answers(session, more)] == ["allow"]
            assert len(service.answers(session, use)) == 1


async def test_a_gateway_that_died_has_a_session_no_longer_than_its_lease(
    tmp_path: Path, service: StandIn, postgres_url: str
) -> None:
    """It left nothing to anybody. Another follows once the time is over, and what the first one would still write about
    the session, should it only have slept, is refused."""
    async with opened(tmp_path / "one", service, url=postgres_url) as first:
        session = first.session()
        asleep = await first.follow(session)
        connector = first.gateway.managed_agents.connectors["cloud"]
        for task in (*connector._tasks, connector._followers[session.id][1]):
            task.cancel()
        async with opened(tmp_path / "two", service, like=tmp_path / "one", crm=first.crm, url=postgres_url) as second:
            records = second.gateway.managed_agents.records
            assert await records.free("cloud", time.time(), 9) == []
            with second.gateway.engine.begin() as connection:
                connection.execute(leases.update().values(until=0.0))
            await second.follower(session)
            use = service.use(session, name="crm__read", input={"n": 1})
            service.idle(session)
            assert len(await second.answers(session, use)) == 1
            with pytest.raises(Overtaken):
                await asleep.following.save(connector.parts, [asleep.following.entry(EntryType.AGENT_SESSION_ENDED)])
            assert len(first.calls) == 1
            assert second.entries("AGSEND") == []
