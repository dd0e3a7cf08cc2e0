"""What somebody granted is ended by others: by a security admin, and with the person's revocation."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select, update

from gateway.connections.grants import Whose
from gateway.connections.server import ConsentOver, Tokens
from gateway.errors import Refused, Unavailable
from gateway.reasons import Reason
from gateway.store.tables import connection_grants
from tests.connections.world import Api, World, joined, opened, server, web
from tests.until import until


async def tokens_of(world: World, who: str) -> Tokens:
    known = await world.gateway.connections.grants.find(Whose("default", world.people[who].pseudonym, "hub"))
    assert known.grant is not None
    return known.grant.tokens


def kept(world: World) -> set[str]:
    """Pseudonyms of whom there are tokens."""
    with world.gateway.engine.connect() as connection:
        return set(connection.execute(select(connection_grants.c.subject)).scalars())


async def gone_at_the_server(world: World, tokens: Tokens) -> None:
    with pytest.raises(ConsentOver):
        await world.gateway.connections.servers["hub"].refresh(tokens)


async def test_a_security_admin_ends_a_persons_connection_and_that_is_on_record(world: World) -> None:
    await world.connect("ann")
    await world.connect("bob")
    tokens, root = await tokens_of(world, "ann"), world.people["root"].pseudonym
    async with web(world.url) as http:
        listed = await http.get("/v1/principals/ann/connections", headers=world.bearer("root"))
        assert listed.json() == {"connections": [{"id": "hub", "title": "The Hub", "state": "connected"}]}
        ended = await http.delete("/v1/principals/ann/connections/hub", headers=world.bearer("root"))
        assert ended.json() == {"id": "hub", "title": "The Hub", "state": "removed", "revoked": True}
        again = await http.delete("/v1/principals/ann/connections/hub", headers=world.bearer("root"))
        assert (again.status_code, again.json()["code"]) == (404, "request.not_found")
    await gone_at_the_server(world, tokens)
    assert await world.whose("ann") == Reason.CONNECTION_NEEDED
    assert await world.whose("bob") == "bob"
    [entry] = world.entries("CONREM")
    assert entry["principal"] == world.people["ann"].pseudonym
    assert entry["facts"] == {"connection": "hub", "cause": "ended", "by": root}
    assert await world.states("ann") == ["removed"]
    assert (await world.connect("ann")).status_code == 200, "an end is no ban"
    assert await world.whose("ann") == "ann"


async def test_nobody_but_a_security_admin_of_the_tenant_sees_or_ends_what_a_person_connected(world: World) -> None:
    await world.connect("ann")
    stranger = world.people["root"].__class__("root", "acme", "p-stranger", world.people["root"].roles)
    async with web(world.url) as http:
        for who in ("ann", "bob", "op", "eve", "cy", "pia"):
            for method, path in (("GET", ""), ("DELETE", "/hub")):
                answer = await http.request(method, f"/v1/principals/ann/connections{path}", headers=world.bearer(who))
                assert (answer.status_code, answer.json()["code"]) == (403, "auth.forbidden"), who
        for path in ("nobody/connections", f"{world.people['ann'].pseudonym[:-1]}x/connections"):
            answer = await http.get(f"/v1/principals/{path}", headers=world.bearer("root"))
            assert answer.status_code == 404
    connections = world.gateway.connections
    for attempt in (connections.listed_of(stranger, "ann"), connections.end(stranger, "ann", "hub")):
        with pytest.raises(Refused) as refusal:
            await attempt
        assert refusal.value.reason is Reason.REQUEST_NOT_FOUND
    assert kept(world) == {world.people["ann"].pseudonym}
    assert world.entries("CONREM") == []


async def test_what_a_revoked_person_granted_is_forgotten_and_revoked_at_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.connect("ann")
    await world.connect("bob")
    tokens = await tokens_of(world, "ann")
    hub, revoked = world.gateway.connections.servers["hub"], list[bool]()
    revoke = hub.revoke

    async def watched(given: Tokens) -> bool:
        revoked.append(await revoke(given))
        return revoked[-1]

    monkeypatch.setattr(hub, "revoke", watched)
    async with web(world.url) as http:
        assert (await http.delete("/v1/principals/ann", headers=world.bearer("root"))).status_code == 200
    await until(lambda: revoked)
    assert revoked == [True]
    assert kept(world) == {world.people["bob"].pseudonym}
    assert [one["facts"] for one in world.entries("CONREM")] == [{"connection": "hub", "cause": "revoked"}]
    await gone_at_the_server(world, tokens)
    assert await world.whose("bob") == "bob"


async def test_several_gateways_end_what_a_revoked_person_granted_once(tmp_path: Path, api: Api) -> None:
    async with (
        server(tmp_path) as provider,
        opened(tmp_path / "one", api, provider) as one,
        joined(tmp_path / "two", one) as two,
    ):
        for who in ("ann", "bob", "bot"):
            await one.connect(who)
        for who in ("ann", "bob"):
            await one.gateway.directory.revoke_principal(one.people["root"], who)
        await asyncio.gather(*(world.gateway.connections.settle() for world in (one, two, one, two)))
        assert kept(one) == {one.people["bot"].pseudonym}
        ended = [entry["principal"] for entry in one.entries("CONREM")]
        assert sorted(ended) == sorted(one.people[who].pseudonym for who in ("ann", "bob"))


async def test_a_service_that_is_away_keeps_no_token_of_a_revoked_person_here(world: World) -> None:
    await world.connect("ann")
    world.provider.process.terminate()
    await world.provider.process.wait()
    await world.gateway.directory.revoke_principal(world.people["root"], "ann")
    await world.gateway.connections.settle()
    assert kept(world) == set()
    assert [one["facts"]["cause"] for one in world.entries("CONREM")] == ["revoked"]


async def test_a_grant_that_nobody_can_open_or_that_is_no_longer_configured_can_be_ended(world: World) -> None:
    await world.connect("ann")
    with world.gateway.engine.begin() as connection:
        connection.execute(update(connection_grants).values(sealed="AAAA"))
    with pytest.raises(Unavailable):
        await tokens_of(world, "ann")
    servers = dict(world.gateway.connections.servers)
    hub = servers.pop("hub")
    object.__setattr__(world.gateway.connections, "servers", servers)
    root = world.people["root"]
    listed = await world.gateway.connections.listed_of(root, "ann")
    assert listed == [{"id": "hub", "title": "hub", "state": "connected"}]
    ended = await world.gateway.connections.end(root, "ann", "hub")
    assert ended == {"id": "hub", "title": "hub", "state": "removed", "revoked": False}
    assert kept(world) == set()
    await hub.close()
