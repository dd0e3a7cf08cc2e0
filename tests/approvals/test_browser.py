"""The pages in a real browser: without scripts, by keyboard, on a phone, for screen readers, beside other sites."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from gateway.settings import Settings
from tests.approvals.looking import CONTRAST, enrol, log_in, named, unnamed, with_authenticator
from tests.approvals.world import World, world
from tests.chromium import Browser
from tests.web.conftest import serving


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as running:
        yield running


async def test_a_person_logs_in_reads_the_call_and_approves_it_without_any_script(
    here: World, browser: Browser
) -> None:
    approval_id = await here.ask({"to": "ada@example.com", "body": "See you soon."})
    tab = await browser.tab()
    await tab.send("Emulation.setScriptExecutionDisabled", value=True)
    await log_in(here, tab, path=f"/approvals/{approval_id}")
    assert await tab.eval("location.pathname") == f"/approvals/{approval_id}"
    text = await tab.text("main")
    for word in ("Waits for people.", "mail send", "ada@example.com", "See you soon.", "A person must look at this."):
        assert word in text
    async with tab.loading():
        await tab.click("button[value=approve]")
    assert "Approved." in await tab.text("main")
    assert (await here.approval(approval_id))["answers"][0]["approver"] == "bob"
    await here.gateway.pipeline.finish()
    assert here.sent == [{"to": "ada@example.com", "body": "See you soon."}]
    assert tab.errors == []


async def test_a_keyboard_reaches_everything_and_the_focus_is_seen(here: World, browser: Browser) -> None:
    approval_id = await here.ask()
    tab = await browser.tab()
    await log_in(here, tab, path=f"/approvals/{approval_id}")
    passed = []
    for _ in range(30):
        await tab.key("Tab")
        where = await tab.eval(
            "[document.activeElement.value || document.activeElement.innerText || '',"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        passed.append(where[0])
        assert where[1] != "none", where
        if where[0] == "refuse":
            break
    assert passed[0] == "Skip to the content"
    assert {"Requests", "Log out", "hello", "approve", "refuse"} <= set(passed)
    async with tab.loading():
        await tab.key("Enter")
    assert (await here.approval(approval_id))["status"] == "refused"


async def test_a_screen_reader_is_told_what_everything_is(here: World, browser: Browser) -> None:
    approval_id = await here.ask({"to": "p\u0430ypal.example", "body": "hello"})
    tab = await browser.tab()
    await tab.goto(f"{here.url}/login")
    assert await unnamed(tab) == []
    assert await tab.eval("document.documentElement.lang") == "en"
    await log_in(here, tab, path=f"/approvals/{approval_id}")
    assert await unnamed(tab) == []
    found = await named(tab)
    headings = [name for role, name in found if role == "heading"]
    assert headings[0].startswith("May this run? mail send")
    assert {"Why you are asked", "The exact call", "Who asks", "Your answer", "Before you answer"} <= set(headings)
    assert ("region", "The exact call") in found
    assert ("button", "Approve") in found
    assert {"main", "banner", "navigation"} <= {role for role, _ in found}
    assert (await tab.eval("document.title")).startswith("mail send: Waits for people")
    levels = await tab.eval("[...document.querySelectorAll('h1,h2,h3')].map(h => h.tagName)")
    assert levels.count("H1") == 1
    assert set(levels) == {"H1", "H2"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_is_readable_and_nothing_overflows_a_phone(here: World, browser: Browser, scheme: str) -> None:
    args = {"to": "p\u0430ypal.example", "body": "x" * 5000, "links": ["https://a@b.example/" + "y" * 300]}
    approval_id = await here.ask(args)
    tab = await browser.tab()
    await tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    await tab.send("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=1, mobile=True)
    await tab.goto(f"{here.url}/login")
    pages = [f"/approvals/{approval_id}", "/approvals", f"/approvals/{'0' * 32}"]
    await log_in(here, tab)
    for path in pages:
        await tab.goto(f"{here.url}{path}")
        assert await tab.eval(CONTRAST) == [], path
        assert await tab.eval("document.documentElement.scrollWidth <= innerWidth"), path
    small = "[...document.querySelectorAll('button')].filter(b => b.getBoundingClientRect().height < 24).length"
    assert await tab.eval(small) == 0, "targets of at least 24 pixels (WCAG 2.2, 2.5.8)"


async def test_a_link_from_a_message_opens_for_who_is_logged_in_although_the_cookie_is_strict(
    here: World, browser: Browser
) -> None:
    approval_id = await here.ask()
    target = f"{here.url}/approvals/{approval_id}"

    async def message(_: Request) -> HTMLResponse:
        return HTMLResponse(f'<a id="link" href="{target}">Approve</a>')

    async with serving(Starlette(routes=[Route("/", message)]), Settings(server={"port": 0})) as port:
        tab = await browser.tab()
        await log_in(here, tab)
        await tab.goto(f"http://127.0.0.1:{port}/")
        await tab.click("#link")
        await tab.until(
            "location.pathname.startsWith('/approvals/') && !!document.querySelector('button[value=approve]')"
        )
        stranger = await browser.tab()
        await stranger.goto(f"http://127.0.0.1:{port}/")
        await stranger.click("#link")
        await stranger.until("location.pathname === '/login' && !!document.querySelector('#api_key')")
        await stranger.fill("#api_key", here.keys["cy"])
        await stranger.key("Enter")
        await stranger.until(f"location.pathname === '/approvals/{approval_id}'")


async def test_another_site_can_neither_send_a_form_nor_show_the_page_in_a_frame(here: World, browser: Browser) -> None:
    approval_id = await here.ask()
    tab = await browser.tab()
    await log_in(here, tab, path=f"/approvals/{approval_id}")
    fields = await tab.eval("Object.fromEntries(new FormData(document.querySelector('main form')))")
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())

    async def evil(_: Request) -> HTMLResponse:
        return HTMLResponse(
            f'<form method="post" action="{here.url}/approvals/{approval_id}">{inputs}'
            '<input name="answer" value="approve"><button id="go">win a prize</button></form>'
            f'<iframe id="frame" src="{here.url}/approvals/{approval_id}"></iframe>'
        )

    async with serving(Starlette(routes=[Route("/", evil)]), Settings(server={"port": 0})) as port:
        await tab.goto(f"http://127.0.0.1:{port}/")
        assert any("frame" in said.lower() for said in tab.errors), tab.errors
        async with tab.loading():
            await tab.click("#go")
        assert "does not come from a page of this gateway" in await tab.text()
    assert (await here.approval(approval_id))["answers"] == []


async def test_a_hostile_call_runs_nothing_and_hides_nothing_in_a_real_browser(here: World, browser: Browser) -> None:
    attack = "</pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    approval_id = await here.ask({"to": attack, "body": "\u202e" + attack, attack: attack})
    tab = await browser.tab()
    await log_in(here, tab, path=f"/approvals/{approval_id}")
    assert "owned" not in await tab.eval("document.title")
    assert await tab.eval("document.images.length + document.scripts.length") == 1
    assert await tab.eval("[...document.querySelectorAll('pre')].map(e => e.innerText)") == [
        attack,
        "\\u{202e}" + attack,
        attack,
    ]
    assert await tab.eval("document.querySelector('button[value=approve]').checkVisibility()")


async def test_the_cookie_is_out_of_reach_of_scripts(here: World, browser: Browser) -> None:
    tab = await browser.tab()
    await log_in(here, tab)
    assert await tab.eval("document.cookie") == ""
    [cookie] = (await tab.send("Network.getCookies"))["cookies"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert await tab.eval("Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0
    assert tab.errors == []


# --- security keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithms", "curve"), [("[-8, -7]", "Ed25519"), ("[-7]", "P-256")])
async def test_a_person_enrols_a_security_key_and_signs_the_exact_call_with_it(
    tmp_path: Path, browser: Browser, algorithms: str, curve: str
) -> None:
    async with world(tmp_path, duties={"enrolled_key": True}) as here:
        approval_id = await here.ask({"to": "ada@example.com"})
        tab = await browser.tab()
        authenticator = await with_authenticator(tab)
        await enrol(here, tab, algorithms=algorithms)
        bob = (await here.gateway.directory.principal("default", "bob")).pseudonym
        [key] = await here.gateway.directory.security_keys("default", bob)
        assert (key.jwk["crv"], key.rp_id) == (curve, "localhost")
        await tab.goto(f"{here.url}/approvals/{approval_id}")
        assert await unnamed(tab) == []
        await tab.click("button[value=approve]")
        await tab.until("document.querySelector('main')?.innerText.includes('Approved.')")
        shown = await here.approval(approval_id)
        assert [(one["approver"], one["attested_by"]) for one in shown["answers"]] == [("bob", "webauthn")]
        [counted] = await here.gateway.directory.security_keys("default", bob)
        [credential] = (await tab.send("WebAuthn.getCredentials", authenticatorId=authenticator))["credentials"]
        assert counted.sign_count == credential["signCount"] > key.sign_count
        await here.gateway.pipeline.finish()
        assert here.sent == [{"to": "ada@example.com"}]
        assert tab.errors == []


async def test_without_a_verified_person_or_with_another_key_nothing_is_sent(tmp_path: Path, browser: Browser) -> None:
    async with world(tmp_path, duties={"enrolled_key": True}) as here:
        approval_id = await here.ask()
        tab = await browser.tab()
        authenticator = await with_authenticator(tab)
        await enrol(here, tab)
        await tab.goto(f"{here.url}/approvals/{approval_id}")
        await tab.send("WebAuthn.setUserVerified", authenticatorId=authenticator, isUserVerified=False)
        await tab.click("button[value=approve]")
        await tab.until("document.getElementById('key-status').textContent.includes('Nothing was sent')")
        assert await tab.eval("!document.querySelector('button[value=approve]').disabled")
        await tab.send("WebAuthn.removeVirtualAuthenticator", authenticatorId=authenticator)
        await with_authenticator(tab)
        await tab.click("button[value=approve]")
        await tab.until("document.getElementById('key-status').textContent.includes('Nothing was sent')")
        assert (await here.approval(approval_id))["answers"] == []
        async with tab.loading():
            await tab.click("button[value=refuse]")
        assert (await here.approval(approval_id))["status"] == "refused", "a refusal needs no key"


async def test_a_page_that_is_asked_to_sign_another_call_than_it_shows_signs_nothing(
    tmp_path: Path, browser: Browser
) -> None:
    async with world(tmp_path) as here:
        shown, other = await here.ask({"to": "ada"}), await here.ask({"to": "eve"})
        tab = await browser.tab()
        await with_authenticator(tab)
        await enrol(here, tab)
        await tab.goto(f"{here.url}/approvals/{shown}")
        await tab.eval(f"document.querySelector('main form').dataset.challenge = '/approvals/{other}/challenge'")
        await tab.click("button[value=approve]")
        await tab.until("document.getElementById('key-status').textContent.includes('not the call on this page')")
        for approval_id in (shown, other):
            assert (await here.approval(approval_id))["answers"] == []


async def test_a_session_that_is_over_asks_for_a_login_and_not_for_the_key(tmp_path: Path, browser: Browser) -> None:
    async with world(tmp_path) as here:
        approval_id = await here.ask()
        tab = await browser.tab()
        await with_authenticator(tab)
        await enrol(here, tab)
        await tab.goto(f"{here.url}/approvals/{approval_id}")
        with here.gateway.engine.connect() as connection:
            connection.exec_driver_sql("DELETE FROM sessions")
            connection.commit()
        await tab.click("button[value=approve]")
        await tab.until("document.getElementById('key-status').textContent.includes('load the page again')")


async def test_where_browsers_offer_no_keys_the_page_says_why(tmp_path: Path, browser: Browser) -> None:
    async with world(tmp_path, server={"public_url": None}) as here:
        tab = await browser.tab()
        await log_in(here, tab, "bob", "/security-keys")
        assert "server.public_url" in await tab.text("main")
        assert await tab.eval("!document.querySelector('#ticket')")
