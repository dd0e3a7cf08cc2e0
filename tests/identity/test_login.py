"""People log in to the pages at a real OpenID provider: the way there, the way back, and every detour."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from sqlalchemy import select, update

from gateway.entries import EntryType
from gateway.errors import Refused
from gateway.freeze import Scope
from gateway.freezing import FreezeOrder
from gateway.identity.login import PENDING_SECONDS, PendingLogins
from gateway.store.directory_links import TOKEN, Identity
from gateway.store.tables import sessions
from tests.approvals.world import World, person, world
from tests.chromium import Browser
from tests.identity.real import AUDIENCE, SECRET, RealProvider, log_in, running
from tests.identity.town import FIRST
from tests.ports import free_port
from tests.until import until

GROUPS = {"gus": ["approvers"], "ann": ["agents"], "nil": []}
BY_CLAIMS = {
    "roles_claim": "/groups",
    "roles": {"approvers": ["approver"], "agents": ["agent"], "auditors": ["auditor"]},
    "privileged_roles": ["approver"],
}


@asynccontextmanager
async def town(
    home: Path, login: dict[str, Any] | None = None, **identity: Any
) -> AsyncIterator[tuple[World, RealProvider]]:
    """A gateway whose people log in at a provider."""
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (home / "gateway.port").write_text(str(port))
    (home / "client-secret").write_text(SECRET)
    callback = f"http://localhost:{port}/login/company/callback"
    async with running(FIRST, callback=callback, groups=GROUPS) as provider:
        company = {
            "issuer": provider.issuer,
            "audiences": [AUDIENCE],
            "algorithm": "RS256",
            "private_network": True,
            "login": {"client_id": "app", "client_secret_file": home / "client-secret", **(login or {})},
            **identity,
        }
        async with world(home, identity={"company": company}) as here:
            yield here, provider


async def begin(here: World, browser: httpx2.AsyncClient, onward: str = "/approvals") -> str:
    """The URL at the provider that a browser is sent to."""
    answer = await browser.get(f"{here.url}/login/company", params={"next": onward})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def came_back(here: World, browser: httpx2.AsyncClient, who: str = "bob") -> httpx2.Response:
    """The page that a person sees after they logged in at the provider."""
    async with httpx2.AsyncClient() as elsewhere:
        back = await log_in(elsewhere, await begin(here, browser), None, who)
    return await browser.get(back)


async def is_in(here: World, browser: httpx2.AsyncClient) -> bool:
    return (await browser.get(f"{here.url}/approvals")).status_code == 200


async def link(here: World, subject: str = "bob", principal: str = "bob") -> str:
    body = {"issuer": "company", "subject": subject}
    answer = await here.http.post(f"/v1/principals/{principal}/links", headers=here.bearer("root"), json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_a_linked_person_logs_in_and_approves(tmp_path: Path) -> None:
    async with town(tmp_path) as (here, _), httpx2.AsyncClient() as browser:
        await link(here)
        approval_id = await here.ask()
        page = await browser.get(f"{here.url}/login?next=/approvals/{approval_id}")
        assert "Log in with company" in page.text
        url = await begin(here, browser, f"/approvals/{approval_id}")
        query = parse_qs(urlsplit(url).query)
        assert query["code_challenge_method"] == ["S256"]
        assert query["scope"] == ["openid"]
        async with httpx2.AsyncClient() as elsewhere:
            back = await log_in(elsewhere, url, None, "bob")
        done = await browser.get(back)
        assert done.status_code == 200
        assert f'content="0; url=/approvals/{approval_id}"' in done.text
        shown = await browser.get(f"{here.url}/approvals/{approval_id}")
        assert "Logged in as" in shown.text
        fields = dict(re.findall(r'name="(csrf_token|call)" value="([^"]+)"', shown.text))
        answered = await browser.post(
            f"{here.url}/approvals/{approval_id}",
            data={**fields, "answer": "approve"},
            headers={"origin": here.url, "sec-fetch-site": "same-origin"},
        )
        assert answered.is_redirect, answered.text
        assert (await here.approval(approval_id))["answers"][0]["approver"] == "bob"
        (opened,) = here.entries(EntryType.SESSION_OPENED)
        assert opened["facts"].keys() == {"link", "session"}
        await here.gateway.pipeline.finish()


async def test_a_subject_that_is_nobody_here_is_not_let_in(tmp_path: Path) -> None:
    async with town(tmp_path) as (here, _), httpx2.AsyncClient() as browser:
        page = await came_back(here, browser, "stranger")
        assert page.status_code == 403
        assert "handrail_session" not in browser.cookies
        assert not await is_in(here, browser)
        assert not here.entries(EntryType.SESSION_OPENED)


async def test_claims_of_the_login_say_who_may_look(tmp_path: Path) -> None:
    async with town(tmp_path, {"scopes": ["groups"]}, **BY_CLAIMS) as (here, _):
        for who, status in (("gus", 200), ("ann", 403), ("nil", 403)):
            async with httpx2.AsyncClient() as browser:
                assert (await came_back(here, browser, who)).status_code == status
                assert await is_in(here, browser) is (status == 200)
        assert len(here.entries(EntryType.SESSION_OPENED)) == 1


async def test_a_session_may_no_more_than_its_own_login_gave(tmp_path: Path) -> None:
    """The row of a principal made from claims keeps every role that any token of theirs ever gave."""
    async with town(tmp_path, {"scopes": ["groups"]}, **BY_CLAIMS) as (here, provider), httpx2.AsyncClient() as browser:
        await provider.group(gus=["auditors"])
        assert (await came_back(here, browser, "gus")).status_code == 200
        await provider.group(gus=["auditors", "approvers"])
        async with httpx2.AsyncClient() as other:
            assert (await came_back(here, other, "gus")).status_code == 200
            approval_id = await here.ask()
            for client, status in ((browser, 403), (other, 303)):
                shown = await client.get(f"{here.url}/approvals/{approval_id}")
                fields = dict(re.findall(r'name="(csrf_token|call)" value="([^"]+)"', shown.text))
                answered = await client.post(
                    f"{here.url}/approvals/{approval_id}",
                    data={**fields, "answer": "approve"},
                    headers={"origin": here.url, "sec-fetch-site": "same-origin"},
                )
                assert answered.status_code == status, answered.text
        await here.gateway.pipeline.finish()


@pytest.mark.parametrize("how", ["link", "principal", "freeze", "logout", "row"])
async def test_a_session_ends_with_what_opened_it(tmp_path: Path, how: str) -> None:
    async with town(tmp_path) as (here, _), httpx2.AsyncClient() as browser:
        link_id = await link(here)
        assert (await came_back(here, browser)).status_code == 200
        assert await is_in(here, browser)
        root = await person(here, "root")
        if how == "link":
            await here.gateway.directory.unlink(root, "bob", link_id)
        elif how == "principal":
            await here.gateway.directory.revoke_principal(root, "bob")
        elif how == "freeze":
            await here.gateway.freezing.set(root, FreezeOrder(Scope.PRINCIPAL, "bob"))
        elif how == "logout":
            shown = await browser.get(f"{here.url}/approvals")
            csrf = re.search(r'name="csrf_token" value="([^"]+)"', shown.text)
            assert csrf
            headers = {"origin": here.url, "sec-fetch-site": "same-origin"}
            await browser.post(f"{here.url}/logout", data={"csrf_token": csrf[1]}, headers=headers)
        else:
            # Whoever writes to the database gives a session more than its login did.
            with here.gateway.engine.begin() as connection:
                connection.execute(update(sessions).values(roles='["security_admin"]'))
        assert not await is_in(here, browser)


async def test_an_answer_is_worth_nothing_in_another_browser_and_nothing_twice(tmp_path: Path) -> None:
    async with town(tmp_path) as (here, _), httpx2.AsyncClient() as mine, httpx2.AsyncClient() as theirs:
        await link(here)
        async with httpx2.AsyncClient() as elsewhere:
            back = await log_in(elsewhere, await begin(here, mine), None, "bob")
        # The attacker's own answer in the victim's browser would log the victim in as the attacker.
        assert (await theirs.get(back)).status_code == 401
        await begin(here, theirs)
        assert (await theirs.get(back)).status_code == 401
        assert not await is_in(here, theirs)
        kept = dict(mine.cookies)
        assert (await mine.get(back)).status_code == 200
        assert "handrail_login" not in mine.cookies, "a login is over when it is finished"
        for name, value in kept.items():
            theirs.cookies.set(name, value, domain="localhost.local")
        async with httpx2.AsyncClient(cookies=kept) as again:
            assert (await again.get(back)).status_code == 401, "the code is spent"
        assert len(here.entries(EntryType.SESSION_OPENED)) == 1


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"state": "x" * 43}, 401),
        ({"state": ""}, 401),
        ({"state": "\u00e9"}, 401),
        ({"iss": "https://other.example"}, 401),
        ({"iss": None}, 401),
        ({"code": ""}, 401),
        ({"code": "guessed"}, 401),
        ({"code": "x" * 5000}, 401),
        ({"error": "access_denied"}, 403),
        ({"error": "<script>"}, 403),
        ({"session_state": "ignored", "code": None}, 401),
    ],
)
async def test_an_answer_that_was_tampered_with_logs_nobody_in(
    tmp_path: Path, changed: dict[str, str | None], status: int
) -> None:
    async with town(tmp_path) as (here, _), httpx2.AsyncClient() as browser:
        await link(here)
        async with httpx2.AsyncClient() as elsewhere:
            back = urlsplit(await log_in(elsewhere, await begin(here, browser), None, "bob"))
        answer: dict[str, str | None] = {name: value[0] for name, value in parse_qs(back.query).items()}
        tampered = urlencode({name: value for name, value in {**answer, **changed}.items() if value is not None})
        page = await browser.get(back._replace(query=tampered).geturl())
        assert (page.status_code, "<script>" in page.text) == (status, False)
        assert not await is_in(here, browser)


async def test_a_parameter_that_comes_twice_and_one_that_nobody_knows(tmp_path: Path) -> None:
    async with town(tmp_path) as (here, _), httpx2.AsyncClient() as browser:
        await link(here)
        async with httpx2.AsyncClient() as elsewhere:
            back = await log_in(elsewhere, await begin(here, browser), None, "bob")
        twice = await browser.get(back + "&state=again")
        assert twice.status_code == 400
        async with httpx2.AsyncClient() as elsewhere:
            back = await log_in(elsewhere, await begin(here, browser), None, "bob")
        assert (await browser.get(back + "&authuser=0&hd=example.com")).status_code == 200


async def test_no_other_site_begins_a_login_and_no_name_leads_elsewhere(tmp_path: Path) -> None:
    async with town(tmp_path) as (here, _), httpx2.AsyncClient() as browser:
        refused = await browser.get(f"{here.url}/login/company", headers={"sec-fetch-site": "cross-site"})
        assert (refused.status_code, "location" in refused.headers) == (403, False)
        assert (await browser.get(f"{here.url}/login/nobody")).status_code == 404
        assert (await browser.get(f"{here.url}/login/nobody/callback?code=x&state=y")).status_code == 404
        location = await begin(here, browser, "https://evil.example/approvals")
        async with httpx2.AsyncClient() as elsewhere:
            await link(here)
            page = await browser.get(await log_in(elsewhere, location, None, "bob"))
        assert 'content="0; url=/approvals"' in page.text
        assert "evil" not in page.text
        assert (await browser.get(f"{here.url}/login", headers={"host": "evil.example"})).status_code == 403
        assert (await browser.get(f"{here.url}/login/company", headers={"host": "evil.example"})).status_code == 403


async def test_an_issuer_that_is_down_is_said_so_and_keys_still_log_in(tmp_path: Path) -> None:
    async with town(tmp_path) as (here, provider), httpx2.AsyncClient() as browser:
        provider.process.kill()
        await provider.process.wait()
        page = await browser.get(f"{here.url}/login/company")
        assert page.status_code == 503
        assert "Your API key" in page.text
        headers = {"origin": here.url, "sec-fetch-site": "same-origin"}
        entered = await browser.post(f"{here.url}/login", data={"api_key": here.keys["bob"]}, headers=headers)
        assert entered.is_redirect
        assert await is_in(here, browser)


async def test_logins_of_one_address_are_counted(tmp_path: Path) -> None:
    async with town(tmp_path) as (here, _), httpx2.AsyncClient() as browser:
        limit = here.gateway.settings.console.logins_per_minute
        statuses = [(await browser.get(f"{here.url}/login/company")).status_code for _ in range(limit + 1)]
        assert statuses[:-1] == [303] * limit
        assert statuses[-1] == 429


def test_what_a_browser_keeps_is_not_what_the_issuer_is_told() -> None:
    now = [1_800_000_000.0]
    logins = PendingLogins(b"k" * 32, lambda: now[0])
    first, second = logins.begin("company", "/approvals"), logins.begin("company", "/approvals")
    secrets = [derive(one) for one in (first, second) for derive in (logins.state, logins.nonce, logins.verifier)]
    assert len(set(secrets)) == 6
    assert not any(secret in one.cookie for secret in secrets for one in (first, second))
    assert logins.read(first.cookie, "company") == first
    other = PendingLogins(b"o" * 32, lambda: now[0])
    for cookie, issuer, reader in (
        (first.cookie, "other", logins),
        (first.cookie, "company", other),
        (first.cookie[:-1] + ("A" if first.cookie[-1] != "A" else "B"), "company", logins),
        (first.cookie.replace("company", "other"), "other", logins),
        (first.cookie + "~" + "x" * 600, "company", logins),
        (first.cookie[:-1] + "\xe9", "company", logins),
        ("a~b~c~d~\u20ac", "company", logins),
        ("", "company", logins),
        (None, "company", logins),
    ):
        with pytest.raises(Refused):
            reader.read(cookie, issuer)
    now[0] += PENDING_SECONDS
    with pytest.raises(Refused):
        logins.read(first.cookie, "company")


async def test_a_person_in_a_browser(tmp_path: Path, browser: Browser) -> None:
    async with town(tmp_path, {"title": "Example Company"}) as (here, _):
        await link(here)
        approval_id = await here.ask()
        tab = await browser.tab()
        await tab.goto(f"{here.url}/approvals/{approval_id}")
        async with tab.loading():
            await tab.click("a.button")
        for _ in range(2):
            if await tab.eval("document.querySelector('input[name=login]') !== null"):
                await tab.fill("input[name=login]", "bob")
                await tab.fill("input[name=password]", "any")
            async with tab.loading():
                await tab.click("button[type=submit]")
            if await tab.eval("location.host") == urlsplit(here.url).netloc:
                break

        async def there() -> bool:
            return bool(await tab.eval("location.pathname") == f"/approvals/{approval_id}")

        await until(there)
        tab.errors.clear()  # the provider's own pages look for fonts elsewhere
        async with tab.loading():
            await tab.send("Page.reload")
        assert "Logged in as" in await tab.text("header")
        assert "ada@example.com" in await tab.text("main")
        assert tab.errors == []


async def test_a_link_of_a_revoked_principal_is_known_and_opens_nothing(tmp_path: Path) -> None:
    async with town(tmp_path) as (here, provider), httpx2.AsyncClient() as browser:
        await link(here)
        assert (await came_back(here, browser)).status_code == 200
        root = await person(here, "root")
        await here.gateway.directory.revoke_principal(root, "bob")
        identity = Identity(TOKEN, "default", provider.issuer, "bob")
        assert (found := await here.gateway.directory.linked(identity)) is not None
        assert found.principal is None
        with here.gateway.engine.connect() as connection:
            assert connection.execute(select(sessions.c.link_id)).scalars().all() == [found.link_id]
        assert not await is_in(here, browser)
