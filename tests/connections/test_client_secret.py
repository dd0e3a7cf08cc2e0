"""Who looks after secrets is told which connections use one, and whether they could."""

from tests.connections.world import World, web


async def test_a_connection_whose_client_secret_is_gone_is_named(world: World) -> None:
    root = world.people["root"]
    [kept] = await world.gateway.secrets.check(root)
    assert (kept["name"], kept["hands"], kept["connections"], kept["usable"]) == ("hub-client", [], ["hub"], True)
    rotated = await world.gateway.secrets.rotate(root, "hub-client", "another-secret")
    assert (rotated["version"], rotated["connections"]) == ("2", ["hub"])
    assert (await world.gateway.secrets.remove(root, "hub-client"))["connections"] == ["hub"]
    async with web(world.url) as http:
        answer = await http.post("/v1/secrets/check", json={}, headers=world.bearer("root"))
        [gone] = answer.json()["checks"]
        assert (gone["connections"], gone["usable"], gone["reason"]) == (["hub"], False, "secret.missing")
        [named] = (await http.get("/v1/secrets", headers=world.bearer("root"))).json()["secrets"]
        assert (named["name"], named["version"], named["connections"]) == ("hub-client", None, ["hub"])
