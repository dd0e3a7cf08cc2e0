"""A consent ends as the person who began it, in the session in which they did, once, and at the server it was for."""

from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from gateway.connections.consents import CONSENT_SECONDS, Beginner, Consents
from gateway.errors import Refused
from gateway.reasons import Reason
from tests.connections.world import Api, World, opened, server, web


def changed(url: str, **parameters: str | None) -> str:
    """The URL of an answer with other parameters."""
    parts = urlsplit(url)
    answer: dict[str, str | None] = {name: value[0] for name, value in parse_qs(parts.query).items()}
    kept = {name: value for name, value in {**answer, **parameters}.items() if value is not None}
    return parts._replace(query=urlencode(kept)).geturl()


def refusals(world: World) -> list[tuple[str, str]]:
    """Who was refused, and why."""
    names = {person.pseudonym: name for name, person in world.people.items()}
    return [(names[one["principal"]], one["facts"]["cause"]) for one in world.entries("CONREF")]


async def test_an_attackers_answer_in_the_victims_browser_connects_nobody(world: World) -> None:
    """Else the victim's calls would go to the attacker's account (login CSRF)."""
    async with web() as attacker, web() as victim:
        await world.enter(attacker, "bob")
        await world.enter(victim, "ann")
        back = await world.consented(await world.begin(attacker), "bob@hub")
        refused = await victim.get(back)
        assert refused.status_code == 403
        assert "not to a consent that you began" in refused.text
        assert await world.states("ann", "bob") == ["none", "none"]
        assert refusals(world) == [("ann", "state")]
        assert world.entries("CONREF")[0]["reasons"] == [Reason.CONNECTION_REFUSED]
        assert (await attacker.get(back)).status_code == 200, "whoever began it still can"


async def test_a_consent_that_an_attacker_began_is_not_ended_by_a_victim_who_is_logged_in_or_not(world: World) -> None:
    """Cross-user consent phishing: the victim follows a link to the service and consents as themselves."""
    async with web() as attacker, web() as victim, web() as stranger:
        await world.enter(attacker, "bob")
        url = await world.begin(attacker)
        back = await world.consented(url, "ann@hub")
        moment = await stranger.get(back)
        assert "One moment" in moment.text
        here = str(moment.url.join(httpx2.URL(moment.text.split("url=")[1].split('"')[0].replace("&amp;", "&"))))
        sent = await stranger.get(here)
        assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=%2Fconnections")
        await world.enter(victim, "ann")
        assert (await victim.get(back)).status_code == 403
        assert await world.states("ann", "bob") == ["none", "none"]
        assert world.entries("CONGRT") == []


async def test_the_same_person_in_another_session_ends_nothing(world: World) -> None:
    """An agent that holds the person's key begins a consent, and has the person end it."""
    async with web() as one, web() as other:
        await world.enter(one, "ann")
        await world.enter(other, "ann")
        back = await world.consented(await world.begin(one), "ann@hub")
        assert (await other.get(back)).status_code == 403
        assert refusals(world) == [("ann", "state")]
        assert (await one.get(back)).status_code == 200


async def test_an_answer_counts_once(world: World) -> None:
    async with web() as browser:
        await world.enter(browser, "ann")
        back = await world.consented(await world.begin(browser), "ann@hub")
        assert (await browser.get(back)).status_code == 200
        assert (await browser.get(back)).status_code == 403
        assert (await browser.get(changed(back, code="another"))).status_code == 403
    assert refusals(world) == [("ann", "spent"), ("ann", "spent")]
    assert await world.states("ann") == ["connected"]


async def test_two_tabs_do_not_mix_their_answers(world: World) -> None:
    async with web() as browser:
        await world.enter(browser, "ann")
        first, second = await world.begin(browser), await world.begin(browser)
        code = parse_qs(urlsplit(await world.consented(first, "ann@one")).query)["code"][0]
        back = await world.consented(second, "ann@two")
        mixed = await browser.get(changed(back, code=code))
        assert mixed.status_code == 403, "PKCE: the code of one tab with the state of the other"
        assert await world.states("ann") == ["none"]
        third = await world.consented(await world.begin(browser), "ann@three")
        assert (await browser.get(third)).status_code == 200
    assert await world.whose("ann") == "ann@three"


@pytest.mark.parametrize(
    ("parameters", "status", "cause"),
    [
        ({"state": "x" * 77}, 403, "state"),
        ({"state": None}, 403, "state"),
        ({"state": "\u00e9"}, 403, "state"),
        ({"iss": "https://other.example"}, 403, "issuer"),
        ({"iss": None}, 403, "issuer"),
        ({"code": None}, 403, "code"),
        ({"code": "guessed"}, 403, "code"),
        ({"code": "x" * 5000}, 403, "code"),
        ({"error": "access_denied", "code": None}, 403, "denied"),
        ({"error": "<script>"}, 403, "denied"),
    ],
)
async def test_an_answer_that_was_tampered_with_connects_nobody(
    world: World, parameters: dict[str, str | None], status: int, cause: str
) -> None:
    async with web() as browser:
        await world.enter(browser, "ann")
        back = await world.consented(await world.begin(browser), "ann@hub")
        page = await browser.get(changed(back, **parameters))
        assert (page.status_code, "<script>" in page.text) == (status, False)
        assert (await browser.get(f"{back}&state=again")).status_code == 400
    assert refusals(world) == [("ann", cause)]
    assert await world.states("ann") == ["none"]


async def test_what_begins_a_consent_is_a_form_of_ours_for_a_connection_of_ours(world: World) -> None:
    async with web() as browser:
        await world.enter(browser, "ann")
        elsewhere = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        forged = await browser.post(f"{world.url}/connections/hub", data={"csrf_token": "x"}, headers=elsewhere)
        assert forged.status_code == 403
        assert (await world.form(browser, "/connections/hub", csrf_token="x")).status_code == 403
        assert (await browser.get(f"{world.url}/connections/other/callback?state=x&code=y")).status_code == 404
        assert (await browser.get(f"{world.url}/approvals")).status_code == 403, "an agent sees no other page"
        assert (await browser.get(f"{world.url}/connections", headers={"host": "evil.example"})).status_code == 403
    async with web() as browser:
        await world.enter(browser, "cy")
        assert (await browser.get(f"{world.url}/connections")).status_code == 403, "an approver asks for no steps"
        assert (await browser.get(f"{world.url}/approvals")).status_code == 200


async def test_nobody_sees_or_takes_back_what_is_somebody_elses(world: World) -> None:
    await world.connect("ann")
    async with web(world.url) as http:
        assert (await http.delete("/v1/connections/hub", headers=world.bearer("bob"))).status_code == 404
        for who in ("root", "op", "eve", "cy", "pia"):
            for method in ("GET", "DELETE"):
                answer = await http.request(method, "/v1/connections/hub", headers=world.bearer(who))
                assert (answer.status_code, answer.json()["code"]) == (403, "auth.forbidden")
        assert (await http.delete("/v1/connections/hub", headers=world.bearer("ann"))).json()["revoked"] is True
        assert (await http.delete("/v1/connections/hub", headers=world.bearer("ann"))).status_code == 404
    assert await world.states("ann", "bob") == ["removed", "none"]
    assert [one["principal"] for one in world.entries("CONREM")] == [world.people["ann"].pseudonym]


async def test_where_there_is_nothing_to_connect_an_agents_key_opens_no_page(tmp_path: Path, api: Api) -> None:
    async with (
        server(tmp_path) as provider,
        opened(tmp_path / "one", api, provider, {"tenants": ("acme",)}) as world,
        web() as browser,
    ):
        assert (await world.enter(browser, "ann")).status_code == 403
        answer = await browser.get(f"{world.url}/v1/connections", headers=world.bearer("ann"))
        assert answer.json() == {"connections": []}
        assert await world.whose("ann") == Reason.SECRET_MISSING


BEGINNER = Beginner("default", "p-1", "session", "hub", "0" * 64, "https://gw.example/connections/hub/callback")


@pytest.mark.parametrize("member", BEGINNER.__slots__)
def test_a_state_is_of_one_tenant_person_session_connection_server_and_way_back(member: str) -> None:
    consents = Consents(b"k" * 32, lambda: 1_800_000_000.0)
    begun = consents.begin(BEGINNER)
    assert consents.read(begun.state, BEGINNER) == begun
    other = {name: getattr(BEGINNER, name) for name in BEGINNER.__slots__} | {member: "another"}
    with pytest.raises(Refused) as refusal:
        consents.read(begun.state, Beginner(**other))
    assert refusal.value.facts == {"problem": "state"}
    with pytest.raises(Refused):
        Consents(b"o" * 32, lambda: 1_800_000_000.0).read(begun.state, BEGINNER)


def test_a_state_is_over_after_ten_minutes_and_says_nothing_of_its_verifier() -> None:
    now = [1_800_000_000.0]
    consents = Consents(b"k" * 32, lambda: now[0])
    begun = consents.begin(BEGINNER)
    assert len(begun.verifier) == 43
    assert begun.verifier not in begun.state
    now[0] += CONSENT_SECONDS - 1
    assert consents.read(begun.state, BEGINNER).verifier == begun.verifier
    now[0] += 1
    with pytest.raises(Refused) as refusal:
        consents.read(begun.state, BEGINNER)
    assert refusal.value.facts == {"problem": "late"}
    assert consents.begin(BEGINNER).state != begun.state
