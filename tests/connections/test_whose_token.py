"""A tool acts as the person who asked, and as nobody else."""

from pathlib import Path

import orjson
import pytest

from gateway.connections.grants import Whose
from gateway.errors import Refused
from gateway.freeze import Scope
from gateway.freezing import FreezeOrder
from gateway.ingress.mcp import results
from gateway.reasons import Reason
from tests.canaries import found_in, rows_of
from tests.connections.world import Api, World, joined, opened, server, web


async def test_each_call_is_sent_the_token_of_the_person_in_whose_name_it_is(world: World) -> None:
    assert (await world.connect("ann", "ann@hub")).status_code == 200
    assert (await world.connect("bob", "bob@hub")).status_code == 200
    assert [await world.whose(who) for who in ("ann", "bob", "ann")] == ["ann@hub", "bob@hub", "ann@hub"]
    uses = world.entries("SECUSE")
    assert [use["principal"] for use in uses] == [world.people[who].pseudonym for who in ("ann", "bob", "ann")]
    assert uses[0]["facts"].keys() == {"secret", "connection", "version", "target"}


async def test_an_issuer_that_speaks_for_somebody_acts_with_that_persons_consent(world: World) -> None:
    await world.connect("ann", "ann@hub")
    assert await world.whose("ann", caller="bot") == "ann@hub"
    refused = await world.call("bot")
    assert (refused["status"], refused["error"]["code"]) == ("failed", Reason.CONNECTION_NEEDED)
    assert len(world.api.tokens) == 1


async def test_who_has_not_consented_is_told_where_and_the_same_can_be_sent_again(world: World) -> None:
    step = await world.call("ann")
    assert step["status"] == "failed"
    assert step["error"]["code"] == Reason.CONNECTION_NEEDED == "connection.needed"
    assert (step["error"]["connection"], step["error"]["page"]) == ("hub", f"{world.url}/connections")
    told = results.answered({"steps": [step], "plan_id": step["plan_id"]}, world.url, object_only=False)
    assert step["error"]["page"] in str(told.content), "an MCP client shows the person where"
    assert world.api.tokens == []
    assert world.entries("SECUSE") == []
    await world.connect("ann")
    assert await world.whose("ann") == "ann"


async def test_who_is_frozen_acts_nowhere_and_connects_nothing(world: World) -> None:
    await world.connect("ann")
    async with web() as browser:
        await world.enter(browser, "ann")
        assert (await browser.get(f"{world.url}/connections")).status_code == 200
        await world.gateway.freezing.set(world.people["root"], FreezeOrder(Scope.PRINCIPAL, "ann"))
        assert (await browser.get(f"{world.url}/connections")).status_code == 303
        answer = await browser.get(f"{world.url}/v1/connections", headers=world.bearer("ann"))
        assert answer.json()["code"] == Reason.FREEZE_ACTIVE
    with pytest.raises(Refused) as refusal:
        await world.call("ann")
    assert refusal.value.reason is Reason.FREEZE_ACTIVE
    assert world.api.tokens == []


async def test_tokens_are_in_no_row_no_answer_and_no_entry_and_are_taken_out_of_what_an_api_says(
    world: World, tmp_path: Path
) -> None:
    await world.connect("ann", "ann-account@hub")
    step = await world.call("ann", "echo")
    assert step["result"]["structured"] == {"sub": "ann-account@hub", "echo": "[secret]"}
    assert world.entries("SECECH")[0]["facts"]["connection"] == "hub"
    known = await world.gateway.connections.grants.find(_whose(world, "ann"))
    assert known.grant is not None
    tokens = [known.grant.tokens.access_token, known.grant.tokens.refresh_token or ""]
    assert tokens[0] == world.api.tokens[0]
    async with web(world.url) as http:
        answers = [
            await http.get(path, headers=world.bearer(who))
            for path, who in [
                ("/v1/connections", "ann"),
                ("/v1/connections/hub", "ann"),
                (f"/v1/plans/{step['plan_id']}", "ann"),
                ("/v1/audit/entries?limit=1000", "eve"),
                ("/v1/hands", "op"),
            ]
        ]
        exported = await http.post("/v1/privacy/access", json={"person": "ann"}, headers=world.bearer("pia"))
    assert {one.status_code for one in [*answers, exported]} == {200}, [one.text for one in answers]
    assert b'"connections"' in exported.content
    for where in (rows_of(world.gateway.engine), exported.content, *(one.content for one in answers)):
        assert found_in(tokens, where) == []
    assert b"ann-account" not in orjson.dumps(world.entries("CONGRT", "SECUSE"))


async def test_two_gateways_share_what_was_granted(tmp_path: Path, api: Api) -> None:
    database = {"url": f"sqlite:///{tmp_path / 'shared.db'}"}
    async with (
        server(tmp_path) as provider,
        opened(tmp_path / "one", api, provider, database=database) as one,
        joined(tmp_path / "two", one, database=database) as two,
    ):
        await one.connect("ann", "ann@one")
        assert await two.whose("ann") == "ann@one"
        async with web() as browser:
            await two.enter(browser, "bob")
            back = await two.consented(await two.begin(browser), "bob@two")
            assert (await browser.get(back)).status_code == 200
        assert await one.whose("bob") == "bob@two"
        async with web(two.url) as http:
            answer = await http.delete("/v1/connections/hub", headers=two.bearer("ann"))
        assert answer.json()["revoked"] is True
        assert await two.whose("ann") == Reason.CONNECTION_NEEDED


def _whose(world: World, who: str) -> Whose:
    return Whose("default", world.people[who].pseudonym, "hub")
