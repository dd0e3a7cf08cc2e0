"""Tokens are refreshed before their time is over, by one gateway at a time; what is over is said."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from audit.tables import entries
from gateway.connections.grants import Grant, Whose
from gateway.connections.server import ConsentOver
from gateway.errors import Unavailable
from gateway.ports import Target
from gateway.reasons import Reason
from gateway.store.tables import connection_grants
from tests.connections.world import Api, World, joined, opened, server, web
from tests.until import until


def whose(world: World, who: str = "ann") -> Whose:
    return Whose("default", world.people[who].pseudonym, "hub")


async def grant_of(world: World, who: str = "ann") -> Grant:
    found = (await world.gateway.connections.grants.find(whose(world, who))).grant
    assert found is not None
    return found


def age(world: World, seconds: float) -> None:
    """Have the gateway's clock be ahead; what it remembers of tokens is over."""
    connections = world.gateway.connections
    for part in (connections.tokens, *connections.servers.values()):
        part._clock = lambda: world.gateway.clock() + seconds
    world.gateway.secrets.broker.forget("default", world.people["ann"].pseudonym)


def kinds(world: World) -> list[str]:
    """What became of grants, in order."""
    return [one["type"] for one in world.entries("CONGRT", "CONRFR", "CONLST", "CONREM", "CONFAI")]


async def test_a_token_is_refreshed_before_its_time_is_over(world: World) -> None:
    await world.connect("ann")
    before = await grant_of(world)
    assert await world.whose("ann") == "ann"
    age(world, 300)
    assert await world.whose("ann") == "ann"
    after = await grant_of(world)
    assert after.index > before.index
    assert after.tokens.refresh_token != before.tokens.refresh_token, "the server rotates"
    assert world.api.tokens == [before.tokens.access_token, after.tokens.access_token]
    assert kinds(world) == ["CONGRT", "CONRFR"]
    assert [use["facts"]["version"] for use in world.entries("SECUSE")] == [str(before.index), str(after.index)]


async def test_a_token_that_is_good_for_a_while_is_replaced_before_it_is_over(world: World) -> None:
    await world.connect("ann")
    age(world, 250)
    assert await world.whose("ann") == "ann"

    async def replaced() -> bool:
        return kinds(world) == ["CONGRT", "CONRFR"]

    await until(replaced, 60)
    assert await world.whose("ann") == "ann"
    assert kinds(world) == ["CONGRT", "CONRFR"]


async def test_a_token_whose_time_ends_while_a_step_runs_is_replaced_and_still_known_to_be_one(world: World) -> None:
    """A step that makes a second request, as a proxy in front of a jail has it."""
    await world.connect("ann")
    first = await grant_of(world)
    broker = world.gateway.secrets.broker
    seen: list[str] = []

    async def meanwhile() -> None:
        age(world, 300)
        [step] = broker._steps.values()
        given = await step.inject(Target("http", "127.0.0.1", int(world.api.url.rpartition(":")[2])))
        seen.append(given.headers["Authorization"].removeprefix("Bearer "))
        seen.append(step.clean(first.tokens.access_token))

    world.api.meanwhile = meanwhile
    step = await world.call("ann", "echo")
    assert step["result"]["structured"]["echo"] == "[secret]"
    assert seen == [(await grant_of(world)).tokens.access_token, "[secret]"]
    assert seen[0] != first.tokens.access_token
    assert len(world.entries("SECUSE")) == 2


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def test_gateways_that_race_for_a_refresh_spend_a_refresh_token_once(
    tmp_path: Path, api: Api, kind: str, request: pytest.FixtureRequest
) -> None:
    """The server ends a grant whose refresh token comes twice: had two gateways sent it, nobody could act any more."""
    database = {"url": f"sqlite:///{tmp_path / 'shared.db'}"}
    if kind == "postgresql":
        database = {"url": str(request.getfixturevalue("postgres_url"))}
    async with (
        server(tmp_path) as provider,
        opened(tmp_path / "one", api, provider, database=database) as one,
        joined(tmp_path / "two", one, database=database) as two,
    ):
        await one.connect("ann")
        for round_ in range(1, 4):
            for world in (one, two):
                age(world, 300 * round_)
            found = await asyncio.gather(*(world.whose("ann") for world in (one, two) for _ in range(4)))
            assert found == ["ann"] * 8
            assert kinds(one) == ["CONGRT"] + ["CONRFR"] * round_


async def test_a_refresh_whose_answer_is_lost_ends_in_a_consent_that_is_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.connect("ann")
    fetcher = world.gateway.connections.servers["hub"]._fetcher
    post = type(fetcher).post

    async def lost(self: Any, *args: Any, **kwargs: Any) -> Any:
        await post(self, *args, **kwargs)
        raise Unavailable(Reason.CONNECTION_UNAVAILABLE, "the connection broke")

    monkeypatch.setattr(type(fetcher), "post", lost)
    age(world, 250)
    assert await world.whose("ann") == "ann", "the old token is good for some seconds yet"
    age(world, 300)
    assert await world.whose("ann") == Reason.CONNECTION_UNAVAILABLE
    assert kinds(world) == ["CONGRT", "CONFAI"]
    monkeypatch.undo()
    age(world, 310)
    step = await world.call("ann")
    assert step["error"]["code"] == Reason.CONNECTION_NEEDED
    assert step["error"]["page"] == f"{world.url}/connections"
    assert kinds(world) == ["CONGRT", "CONFAI", "CONLST"]
    assert await world.states("ann") == ["lost"]
    age(world, 0)
    await world.connect("ann")
    assert await world.whose("ann") == "ann"


async def test_an_answer_that_the_log_did_not_take_is_not_thrown_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.connect("ann")
    grants = world.gateway.connections.grants

    async def full(*_: Any) -> Grant:
        raise Unavailable(Reason.LOG_UNAVAILABLE, "disk full")

    monkeypatch.setattr(grants, "keep", full)
    age(world, 300)
    assert await world.whose("ann") == Reason.LOG_UNAVAILABLE
    monkeypatch.undo()
    assert await world.whose("ann") == "ann"
    assert kinds(world) == ["CONGRT", "CONRFR"]


async def test_what_the_person_takes_back_at_the_service_is_over_at_the_next_refresh(world: World) -> None:
    await world.connect("ann")
    grant = await grant_of(world)
    assert await world.gateway.connections.servers["hub"].revoke(grant.tokens)
    age(world, 300)
    assert await world.whose("ann") == Reason.CONNECTION_NEEDED
    assert world.entries("CONLST")[0]["facts"] == {"connection": "hub", "cause": "invalid_grant"}


async def test_a_token_that_was_taken_back_is_revoked_at_the_service(world: World) -> None:
    await world.connect("ann")
    grant = await grant_of(world)
    await world.gateway.connections.remove(world.people["ann"], "hub")
    with pytest.raises(ConsentOver):
        await world.gateway.connections.servers["hub"].refresh(grant.tokens)
    assert await world.whose("ann") == Reason.CONNECTION_NEEDED


async def test_a_row_that_is_put_back_moved_or_changed_is_no_consent(world: World) -> None:
    await world.connect("ann")
    await world.connect("bob")
    engine, ann = world.gateway.engine, world.people["ann"].pseudonym
    with engine.connect() as connection:
        rows = {row.subject: dict(row._mapping) for row in connection.execute(select(connection_grants))}
    mine = connection_grants.c.subject == ann

    async def found() -> str:
        world.gateway.secrets.broker.forget("default", ann)
        return await world.whose("ann")

    # Another person's tokens under one's own name.
    with engine.begin() as connection:
        stolen = {**rows[world.people["bob"].pseudonym], "subject": ann}
        connection.execute(update(connection_grants).where(mine).values(**stolen))
    assert await found() == Reason.CONNECTION_UNAVAILABLE
    with engine.begin() as connection:
        connection.execute(update(connection_grants).where(mine).values(**rows[ann]))
    assert await found() == "ann"
    await world.gateway.connections.remove(world.people["ann"], "hub")
    with engine.begin() as connection:
        connection.execute(connection_grants.insert().values(**rows[ann]))
    assert await found() == Reason.CONNECTION_UNAVAILABLE
    await world.connect("ann", "ann@again")
    assert await found() == "ann@again"
    with engine.begin() as connection:
        connection.execute(update(connection_grants).where(mine).values(sealed=rows[ann]["sealed"]))
    assert await found() == Reason.CONNECTION_UNAVAILABLE
    await world.gateway.connections.remove(world.people["ann"], "hub")
    assert await found() == Reason.CONNECTION_NEEDED


async def test_another_configuration_has_nobodys_refresh_token_sent_elsewhere(tmp_path: Path, api: Api) -> None:
    database = {"url": f"sqlite:///{tmp_path / 'shared.db'}"}
    async with server(tmp_path) as provider, opened(tmp_path / "one", api, provider, database=database) as one:
        await one.connect("ann")
        taken: list[str] = []

        async def token(request: Any) -> Any:
            taken.append((await request.body()).decode())
            raise AssertionError

        changes = {
            "issuer": None,
            "authorization_endpoint": f"{provider.issuer}/auth",
            "token_endpoint": f"{api.url}/token",
        }
        async with joined(tmp_path / "two", one, changes, database=database) as two:
            age(two, 300)
            assert await two.whose("ann") == Reason.CONNECTION_NEEDED
            assert taken == []
        assert await one.whose("ann") == "ann"


async def test_who_is_forgotten_is_forgotten_at_the_service_too(world: World) -> None:
    await world.connect("ann")
    await world.connect("bob")
    grant = await grant_of(world)
    async with web(world.url) as http:
        asked = await http.post("/v1/privacy/erasures", json={"person": "ann"}, headers=world.bearer("pia"))
        assert asked.status_code in {200, 202}, asked.text
    with world.gateway.engine.connect() as connection:
        left = connection.execute(select(connection_grants.c.subject)).scalars().all()
        told = connection.execute(select(entries.c.principal).where(entries.c.type == "CONREM")).scalars().all()
    assert left == [world.people["bob"].pseudonym]
    assert told == [world.people["ann"].pseudonym]
    with pytest.raises(ConsentOver):
        await world.gateway.connections.servers["hub"].refresh(grant.tokens)
    assert await world.whose("bob") == "bob"


async def test_a_server_that_is_away_stops_nobody_who_has_a_good_token(world: World) -> None:
    await world.connect("ann")
    world.provider.process.kill()
    age(world, 250)
    assert await world.whose("ann") == "ann"
    age(world, 296)
    assert await world.whose("ann") == Reason.CONNECTION_UNAVAILABLE
    assert kinds(world) == ["CONGRT", "CONFAI"]
