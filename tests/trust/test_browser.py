"""The pages of proposals in a real browser: a person reads a change and signs it with an authenticator."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from gateway.settings import Settings
from tests.approvals.looking import CONTRAST, enrol, log_in, named, unnamed, with_authenticator
from tests.approvals.world import World
from tests.chromium import Browser
from tests.trust.desk import desk, lift, proposal, propose
from tests.web.conftest import serving

LONG = "a" + "-very-long-name" * 8


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with desk(tmp_path) as running:
        yield running


@pytest.mark.parametrize(("algorithms", "curve"), [("[-8, -7]", "Ed25519"), ("[-7]", "P-256")])
async def test_an_admin_enrols_a_key_reads_the_change_and_signs_it(
    here: World, browser: Browser, algorithms: str, curve: str
) -> None:
    made = await propose(here, LONG, "approver")
    tab = await browser.tab()
    authenticator = await with_authenticator(tab)
    await enrol(here, tab, "ann", algorithms=algorithms)
    ann = (await here.gateway.directory.principal("default", "ann")).pseudonym
    [key] = await here.gateway.directory.security_keys("default", ann)
    assert key.jwk["crv"] == curve
    await tab.goto(f"{here.url}/")
    assert await tab.eval("location.pathname") == "/proposals"
    async with tab.loading():
        await tab.click(f"a[href='/proposals/{made['id']}']")
    text = await tab.text("main")
    for word in (LONG, "approver: answers calls that are held for a person", "1 of 2", "root"):
        assert word in text
    await tab.click("button[value=sign]")
    await tab.until("document.querySelector('main')?.innerText.includes('In effect, by ann')")
    done = await proposal(here, made["id"])
    assert [(one["by"], one["attested_by"], one["kid"]) for one in done["signatures"]][1] == (
        "ann",
        "webauthn",
        key.kid,
    )
    [counted] = await here.gateway.directory.security_keys("default", ann)
    [credential] = (await tab.send("WebAuthn.getCredentials", authenticatorId=authenticator))["credentials"]
    assert counted.sign_count == credential["signCount"] > key.sign_count
    assert tab.errors == []


async def test_a_second_person_activates_with_their_key(here: World, browser: Browser) -> None:
    made = await lift(here)
    tab = await browser.tab()
    await with_authenticator(tab)
    await enrol(here, tab, "ann")
    await tab.goto(f"{here.url}/proposals/{made['id']}")
    await tab.click("button[value=activate]")
    await tab.until("document.querySelector('main')?.innerText.includes('In effect, by ann')")
    assert (await proposal(here, made["id"]))["decided_attested_by"] == "webauthn"


async def test_a_page_that_is_asked_to_sign_another_proposal_than_it_shows_signs_nothing(
    here: World, browser: Browser
) -> None:
    shown, other = await propose(here, "cat"), await propose(here, "eve")
    tab = await browser.tab()
    await with_authenticator(tab)
    await enrol(here, tab, "ann")
    await tab.goto(f"{here.url}/proposals/{shown['id']}")
    await tab.eval(f"document.querySelector('main form').dataset.challenge = '/proposals/{other['id']}/challenge'")
    await tab.click("button[value=sign]")
    await tab.until("document.getElementById('key-status').textContent.includes('not the call on this page')")
    for one in (shown, other):
        assert len((await proposal(here, one["id"]))["signatures"]) == 1


async def test_without_a_verified_person_nothing_is_sent_and_withdrawing_needs_no_key(
    here: World, browser: Browser
) -> None:
    made = await propose(here)
    tab = await browser.tab()
    authenticator = await with_authenticator(tab)
    await enrol(here, tab, "ann")
    await tab.send("WebAuthn.setUserVerified", authenticatorId=authenticator, isUserVerified=False)
    await tab.goto(f"{here.url}/proposals/{made['id']}")
    await tab.click("button[value=sign]")
    await tab.until("document.getElementById('key-status').textContent.includes('Nothing was sent')")
    assert len((await proposal(here, made["id"]))["signatures"]) == 1
    async with tab.loading():
        await tab.click("button[value=withdraw]")
    assert (await proposal(here, made["id"]))["status"] == "withdrawn"


async def test_keyboard_and_screen_reader_reach_what_is_signed(here: World, browser: Browser) -> None:
    made = await propose(here)
    tab = await browser.tab()
    await log_in(here, tab, "ben", f"/proposals/{made['id']}")
    assert await unnamed(tab) == []
    found = await named(tab)
    headings = [name for role, name in found if role == "heading"]
    assert headings[0] == "Should this be? Let cat in as: operator."
    assert {"What changes", "What was asked for", "Who agreed: 1 of 2", "Your word"} <= set(headings)
    assert {("button", "Sign"), ("button", "Withdraw"), ("columnheader", "Before"), ("rowheader", "roles")} <= set(
        found
    )
    passed = []
    for _ in range(30):
        await tab.key("Tab")
        passed.append(await tab.eval("document.activeElement.value || document.activeElement.innerText || ''"))
        assert await tab.eval("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if passed[-1] == "sign":
            break
    assert passed[0] == "Skip to the content"
    async with tab.loading():
        await tab.key("Enter")
    assert (await proposal(here, made["id"]))["status"] == "activated"
    assert tab.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_is_readable_and_nothing_overflows_a_phone(here: World, browser: Browser, scheme: str) -> None:
    made, freeze = await propose(here, LONG), await lift(here)
    tab = await browser.tab()
    await tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    await tab.send("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=1, mobile=True)
    await log_in(here, tab, "ben", "/proposals")
    for path in ("/proposals", "/proposals?all=1", f"/proposals/{made['id']}", f"/proposals/{freeze['id']}"):
        await tab.goto(f"{here.url}{path}")
        assert await tab.eval(CONTRAST) == [], path
        assert await tab.eval("document.documentElement.scrollWidth <= innerWidth"), path
    small = "[...document.querySelectorAll('button')].filter(b => b.getBoundingClientRect().height < 24).length"
    assert await tab.eval(small) == 0


async def test_another_site_shows_the_page_in_no_frame_and_sends_no_form(here: World, browser: Browser) -> None:
    made = await propose(here)
    tab = await browser.tab()
    await log_in(here, tab, "ben", f"/proposals/{made['id']}")
    fields = await tab.eval("Object.fromEntries(new FormData(document.querySelector('main form')))")
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())

    async def evil(_: Request) -> HTMLResponse:
        return HTMLResponse(
            f'<form method="post" action="{here.url}/proposals/{made["id"]}">{inputs}'
            '<input name="act" value="sign"><button id="go">win a prize</button></form>'
            f'<iframe id="frame" src="{here.url}/proposals/{made["id"]}"></iframe>'
        )

    async with serving(Starlette(routes=[Route("/", evil)]), Settings(server={"port": 0})) as port:
        await tab.goto(f"http://127.0.0.1:{port}/")
        assert any("frame" in said.lower() for said in tab.errors), tab.errors
        async with tab.loading():
            await tab.click("#go")
        assert "does not come from a page of this gateway" in await tab.text()
    assert (await proposal(here, made["id"]))["status"] == "open"
