"""A person connects a service in a real browser, whose cookies do not come along from another site."""

from urllib.parse import urlsplit

from tests.chromium import Browser
from tests.connections.world import World
from tests.until import until


async def test_a_person_connects_and_takes_back(world: World, browser: Browser) -> None:
    tab = await browser.tab()
    await tab.goto(f"{world.url}/connections")
    await tab.fill("input[name=api_key]", world.keys["ann"])
    async with tab.loading():
        await tab.click("form button[type=submit]")
    assert "Not connected." in await tab.text("main")
    assert await tab.text("nav") == "Connections"
    async with tab.loading():
        await tab.click("main button[type=submit]")
    assert urlsplit(world.provider.issuer).netloc in await tab.text("main")
    assert tab.errors == []
    async with tab.loading():
        await tab.click("a.button")
    ours = urlsplit(world.url).netloc
    for _ in range(3):
        if await tab.eval("document.querySelector('input[name=login]') !== null"):
            await tab.fill("input[name=login]", "ann@hub")
            await tab.fill("input[name=password]", "any")
        async with tab.loading():
            await tab.click("button[type=submit]")
        if await tab.eval("location.host") == ours:
            break

    async def connected() -> bool:
        return "The Hub is connected" in await tab.text("main")

    await until(connected, 60)
    assert await world.whose("ann") == "ann@hub"
    await tab.goto(f"{world.url}/connections")
    assert "Connected:" in await tab.text("main")
    async with tab.loading():
        await tab.click("form[action$='/remove'] button")
    assert "you took it back" in await tab.text("main")
