"""Tokens are refreshed before their time is over, by one gateway at a time; what is over is said."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from audit.tables import entries
from gateway.connections.grants import Grant, Whose
from gateway.connections.server import ConsentOver, Tokens
from gateway.connections.tokens import LEASE_SECONDS
from gateway.errors import Refused, Unavailable
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


async def test_a_consent_that_comes_after_its_person_was_forgotten_is_kept_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would take it away any more: an erasure looks for what there is when it is made."""
    hub = world.gateway.connections.servers["hub"]
    exchange, given = hub.exchange, list[Tokens]()

    async def overtaken(*args: Any) -> Tokens:
        given.append(await exchange(*args))
        async with web(world.url) as http:
            asked = await http.post("/v1/privacy/erasures", json={"person": "ann"}, headers=world.bearer("pia"))
            assert asked.status_code in {200, 202}, asked.text
        return given[0]

    monkeypatch.setattr(hub, "exchange", overtaken)
    assert (await world.connect("ann")).status_code == 403
    with world.gateway.engine.connect() as connection:
        assert connection.execute(select(connection_grants.c.subject)).scalars().all() == []
    assert world.entries("CONGRT") == []
    with pytest.raises(ConsentOver):
        await hub.refresh(given[0])


async def test_a_refresh_that_ends_after_its_person_was_revoked_is_kept_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.connect("ann")
    hub, tokens = world.gateway.connections.servers["hub"], world.gateway.connections.tokens
    refresh, given = hub.refresh, list[Tokens]()

    async def overtaken(before: Tokens) -> Tokens:
        given.append(await refresh(before))
        await world.gateway.directory.revoke_principal(world.people["root"], "ann")
        return given[0]

    monkeypatch.setattr(hub, "refresh", overtaken)
    age(world, 300)
    with pytest.raises(Refused) as refusal:
        await tokens.token("default", world.people["ann"].pseudonym, "hub")
    assert refusal.value.reason is Reason.CONNECTION_NEEDED
    assert "CONRFR" not in kinds(world)
    assert tokens._answered == {}
    with pytest.raises(ConsentOver):
        await refresh(given[0])


async def test_a_refresh_token_is_not_sent_after_the_turn_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another gateway may have sent it by then; a server that rotates ends a grant whose token comes twice."""
    await world.connect("ann")
    ended: list[Tokens] = []

    async def slow(before: Tokens) -> Tokens:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(before)
        return before

    monkeypatch.setattr(world.gateway.connections.servers["hub"], "refresh", slow)
    monkeypatch.setattr("gateway.connections.tokens.LEASE_SECONDS", -29.5)
    age(world, 300)
    assert await world.whose("ann") == Reason.CONNECTION_UNAVAILABLE
    assert len(ended) == 1
    assert kinds(world) == ["CONGRT", "CONFAI"]


async def test_a_gateway_whose_turn_is_over_ends_no_other_ones(world: World) -> None:
    await world.connect("ann")
    grants, grant, now = world.gateway.connections.grants, await grant_of(world), world.gateway.clock()
    assert await grants.lease(whose(world), grant, now, now + 1)
    assert await grants.lease(whose(world), grant, now + 2, now + 12)
    await grants.release(whose(world), grant, now + 1, now + 3)
    assert (await grants.find(whose(world))).leased_until == now + 12
    await grants.release(whose(world), grant, now + 12, now + 3)
    assert (await grants.find(whose(world))).leased_until == now + 3


async def test_another_gateways_turn_is_waited_for_where_its_clock_is_ahead(world: World) -> None:
    await world.connect("ann")
    grants, grant = world.gateway.connections.grants, await grant_of(world)
    age(world, 300)
    now = world.gateway.clock() + 300
    longest = world.gateway.connections.servers["hub"].settings.timeout_seconds + LEASE_SECONDS
    ahead = now + longest + 2
    assert await grants.lease(whose(world), grant, now, ahead)
    asked = asyncio.create_task(world.whose("ann"))
    await until(lambda: bool(world.gateway.connections.tokens._refreshing))
    await grants.release(whose(world), grant, ahead, 0.0)
    assert await asked == "ann"


async def test_a_server_that_is_away_stops_nobody_who_has_a_good_token(world: World) -> None:
    await world.connect("ann")
    world.provider.process.kill()
    age(world, 250)
    assert await world.whose("ann") == "ann"
    age(world, 296)
    assert await world.whose("ann") == Reason.CONNECTION_UNAVAILABLE
    assert kinds(world) == ["CONGRT", "CONFAI"]
