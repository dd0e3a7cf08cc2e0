"""A self-hosted environment: work is claimed and kept, its tools run in the jail, and a lost lease ends what runs."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.managed_agents.api import SessionsApi
from tests.managed_agents.stand_in import ASK, Session, StandIn, custom, toolset
from tests.managed_agents.world import World, opened
from tests.until import until

ENVIRONMENT = {"id": "env_own", "key": "environment", "tools": {"bash": "shell.run", "write": "shell.wipe"}}


@pytest.fixture
async def world(tmp_path: Path, service: StandIn) -> AsyncIterator[World]:
    async with opened(tmp_path / "one", service, environment=ENVIRONMENT, toolset_hand=None) as here:
        environment: Any = here.gateway.managed_agents.connectors["cloud.environment"]
        environment.beat_max_seconds = 0.05
        yield here


async def served(world: World) -> tuple[Session, dict[str, Any]]:
    """A session whose work the gateway has."""
    world.service.agent("agent_own", toolset(ASK), custom("crm__read"))
    session = world.service.session("agent_own", "sesn_own")
    work = world.service.queue_work(session)
    await until(lambda: session.streams and work["state"] == "active")
    return session, work


async def test_work_is_claimed_and_its_tools_run_in_the_jail(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    environment: Any = world.gateway.managed_agents.connectors["cloud.environment"]
    session, work = await served(world)
    use = world.service.use(session, "agent.tool_use", name="bash", input={"command": "echo from the jail; id -u"})
    world.service.idle(session)
    await until(lambda: len(world.service.answers(session, use)) == 2)
    allowed, ran = world.service.answers(session, use)
    assert allowed["result"] == "allow"
    assert ran["type"] == "user.tool_result"
    assert not ran["is_error"]
    assert "from the jail" in ran["content"][0]["text"]
    assert ("ack", work["id"]) in world.service.work_calls
    session.waits_for.clear()
    world.service.idle(session)
    with monkeypatch.context() as patched:
        patched.setattr(environment, "rest_seconds", 0.2)
        await until(lambda: ("stop", work["id"]) in world.service.work_calls)
    again = world.service.queue_work(session)
    await until(lambda: again["state"] == "active")
    more = world.service.use(session, "agent.tool_use", name="bash", input={"command": "echo again"})
    world.service.idle(session)
    await until(lambda: len(world.service.answers(session, more)) == 2)
    assert len(world.service.answers(session, use)) == 2, "what was answered stays answered"


async def test_what_policy_denies_and_what_nobody_declared_does_not_run(world: World) -> None:
    session, _ = await served(world)
    denied = world.service.use(session, "agent.tool_use", name="write", input={"command": "true"})
    nobodys = world.service.use(session, "agent.tool_use", name="web_fetch", input={"url": "https://example.org"})
    world.service.idle(session)
    await until(lambda: world.service.answers(session, denied) and world.service.answers(session, nobodys))
    (answer,) = world.service.answers(session, denied)
    assert (answer["type"], answer["result"]) == ("user.tool_confirmation", "deny")
    (answer,) = world.service.answers(session, nobodys)
    assert "agents.unmapped" in answer["deny_message"]


async def test_work_whose_heartbeats_answer_was_lost_is_ours_still(world: World) -> None:
    world.service.lost["heartbeat"] = 1
    session, work = await served(world)
    world.service.lost["heartbeat"] = 1
    await until(lambda: world.service.lost["heartbeat"] <= 0)
    use = world.service.use(session, "agent.tool_use", name="bash", input={"command": "echo still here"})
    world.service.idle(session)
    await until(lambda: len(world.service.answers(session, use)) == 2)
    assert work["state"] == "active"


async def test_work_is_served_though_the_answer_that_offered_it_was_lost(world: World) -> None:
    world.service.lost["poll"] = 1
    session, _ = await served(world)
    use = world.service.use(session, "agent.tool_use", name="bash", input={"command": "echo here"})
    world.service.idle(session)
    await until(lambda: len(world.service.answers(session, use)) == 2)


@pytest.mark.parametrize("status", [403, 503])
async def test_work_that_was_not_acknowledged_is_left(world: World, status: int) -> None:
    """It is somebody else's by and by, and nothing of it is stopped or run here."""
    world.service.fail("ack", status)
    world.service.agent("agent_own", toolset(ASK), custom("crm__read"))
    work = world.service.queue_work(world.service.session("agent_own", "sesn_own"))
    await until(lambda: world.service.work_calls)
    environment: Any = world.gateway.managed_agents.connectors["cloud.environment"]
    assert environment._serving == {}
    assert world.service.work_calls == [("ack", work["id"])]


async def test_a_lost_lease_ends_what_runs_and_nothing_is_sent(world: World) -> None:
    session, work = await served(world)
    first = world.service.use(session, "agent.tool_use", name="bash", input={"command": "true"})
    world.service.idle(session)
    await until(lambda: len(world.service.answers(session, first)) == 2)
    use = world.service.use(session, "agent.tool_use", name="bash", input={"command": "sleep 600"})
    world.service.idle(session)
    await until(lambda: len(world.gateway.freezing.halts))
    world.service.steal(work)
    await until(lambda: not world.gateway.freezing.halts)
    environment: Any = world.gateway.managed_agents.connectors["cloud.environment"]
    await until(lambda: not environment._serving)
    assert world.service.answers(session, use) == []
    assert ("stop", work["id"]) not in world.service.work_calls, "it is somebody else's"
    (entry,) = await until(lambda: world.entries("STPAMB"))
    step = (await world.gateway.pipeline.load(entry["plan_id"])).view()["steps"][0]
    assert (step["status"], step["error"]["code"]) == ("ambiguous", "agents.lease_lost")


async def test_a_stop_gives_the_work_back(tmp_path: Path, service: StandIn) -> None:
    async with opened(tmp_path / "one", service, environment=ENVIRONMENT) as here:
        environment: Any = here.gateway.managed_agents.connectors["cloud.environment"]
        environment.beat_max_seconds = 0.05
        session, work = await served(here)
        service.use(session, "agent.tool_use", name="bash", input={"command": "sleep 600"})
        service.idle(session)
        await until(lambda: len(here.gateway.freezing.halts))
    assert ("stop", work["id"]) in service.work_calls


async def test_work_waits_no_longer_than_that_because_sessions_are_looked_for_now_and_then(
    tmp_path: Path, service: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.managed_agents.environment.CLAIM_SECONDS", 0.05)
    async with opened(tmp_path / "one", service, environment=ENVIRONMENT, discover_seconds=3600.0) as here:
        await until(lambda: sum(path.endswith("/work/poll") for _, path, _ in service.requests) > 1)
        await served(here)


async def test_nobody_else_follows_a_session_of_the_environment(world: World) -> None:
    session, _ = await served(world)
    connector = world.gateway.managed_agents.connectors["cloud"]
    connector.settings = connector.settings.model_copy(update={"agents": ("agent_own",)})
    use = world.service.use(session, name="crm__read", input={"n": 1})
    world.service.idle(session)
    await until(lambda: world.service.answers(session, use))
    shown = await world.gateway.managed_agents.list(world.people["op"])
    assert [(one["connector"], one["session_id"]) for one in shown["sessions"]] == [("cloud.environment", session.id)]


async def test_a_service_that_offers_nonsense_without_end_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment: Any = world.gateway.managed_agents.connectors["cloud.environment"]
    asked = []

    async def next_work(_: SessionsApi, *names: str) -> dict[str, Any]:
        asked.append(names)
        if len(asked) > 1000:
            raise AssertionError("it asks on and on")
        return {"id": 7}

    monkeypatch.setattr(SessionsApi, "next_work", next_work)
    await environment._discover()
    assert 0 < len(asked) <= environment.environment.sessions_max
