"""A real headless Chromium, driven over the DevTools protocol: what a page does is what a browser does with it."""

import asyncio
import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aiohttp
import pytest

from tests import services
from tests.until import until

PROGRAM: Final = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)
_SECONDS: Final = 60


class BrowserError(AssertionError):
    """The browser refused a command, or a page did not do what was waited for."""


class Tab:
    """One page in a browser context of its own: its cookies are nobody else's."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser = browser
        self._session = session
        self.errors: list[str] = []
        """What the page's console said at level error: blocked scripts, styles and frames among it."""

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol to this page."""
        return await self._browser.send(method, params, self._session)

    async def goto(self, url: str, **params: Any) -> None:
        """Open a URL and wait until it is loaded."""
        async with self.loading():
            answer = await self.send("Page.navigate", url=url, **params)
            if answer.get("errorText"):
                raise BrowserError(f"{url}: {answer['errorText']}")

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """Wait until a page that the body of the block leads to is loaded. The load event of the page before may come
        as late as that, so the page that is left is marked, and the wait is for one without the mark."""
        await self.eval("window.left = true")
        yield
        await self.until("window.left !== true && document.readyState === 'complete'")

    async def eval(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is awaited."""
        answer = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until a JavaScript expression is true; returns its value."""

        async def look() -> Any:
            # Between two pages there is no context to evaluate in.
            with suppress(BrowserError):
                return await self.eval(expression)

        return await until(look, _SECONDS)

    async def text(self, selector: str = "body") -> str:
        """What a person reads in an element."""
        return str(await self.eval(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def fill(self, selector: str, text: str) -> None:
        """Type into a field."""
        await self.eval(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.send("Input.insertText", text=text)

    async def key(self, name: str, **params: Any) -> None:
        """Press a key."""
        codes = {"Tab": 9, "Enter": 13, "Space": 32}
        text = {"Enter": "\r", "Space": " "}.get(name)
        common = {"key": " " if name == "Space" else name, "code": name, "windowsVirtualKeyCode": codes[name], **params}
        await self.send("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        await self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    async def click(self, selector: str) -> None:
        """Click an element as a person does: with a mouse, where it stands."""
        found = json.dumps(selector)
        await self.eval(f"document.querySelector({found}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = await self.eval(
            f"(() => {{const r = document.querySelector({found}).getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send(
                "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1, buttons=1
            )

    async def screenshot(self, *, width: int, height: int, dark: bool, scale: float = 1) -> bytes:
        """A PNG of the whole page."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        shot = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


class Browser:
    """A connection to a running Chromium."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._events: dict[tuple[str, str], list[asyncio.Future[dict[str, Any]]]] = {}
        self._tabs: dict[str, Tab] = {}
        self._reader = asyncio.create_task(self._read())

    async def send(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        """One command; returns its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await self._socket.send_json(message if session is None else {**message, "sessionId": session})
        async with asyncio.timeout(_SECONDS):
            return await answer

    @asynccontextmanager
    async def event(self, session: str, method: str) -> AsyncIterator[None]:
        """Wait at the end of the block for an event that comes after its beginning."""
        future = asyncio.get_running_loop().create_future()
        self._events.setdefault((session, method), []).append(future)
        yield
        async with asyncio.timeout(_SECONDS):
            await future

    async def tab(self) -> Tab:
        """A new page, with no cookies."""
        context = (await self.send("Target.createBrowserContext", {"disposeOnDetach": True}))["browserContextId"]
        target = await self.send("Target.createTarget", {"url": "about:blank", "browserContextId": context})
        attached = await self.send("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        tab = self._tabs[attached["sessionId"]] = Tab(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            await tab.send(f"{domain}.enable")
        return tab

    async def close(self) -> None:
        """Let go of the browser; its process goes on."""
        await self._socket.close()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        async for received in self._socket:
            message = json.loads(received.data)
            if "id" in message:
                future = self._answers.pop(message["id"])
                if future.done():
                    continue
                if "error" in message:
                    future.set_exception(BrowserError(str(message["error"])))
                else:
                    future.set_result(message["result"])
                continue
            session, method, params = message.get("sessionId", ""), message["method"], message["params"]
            if method == "Log.entryAdded" and params["entry"]["level"] == "error" and session in self._tabs:
                self._tabs[session].errors.append(params["entry"]["text"])
            for waiting in self._events.pop((session, method), []):
                if not waiting.done():
                    waiting.set_result(params)


@pytest.fixture(scope="session")
def chromium_url() -> Iterator[str]:
    """The DevTools address of a browser with an empty profile, for the whole session."""
    services.require(PROGRAM, "Chromium", "On Debian: apt-get install chromium.")
    # HOME is the profile too: nothing of the person who runs the tests is read or written.
    with tempfile.TemporaryDirectory(prefix="hr-chromium-", ignore_cleanup_errors=True) as profile:
        environment = {**os.environ, "HOME": profile}
        command = [str(PROGRAM), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
            try:
                yield _listening(process)
            finally:
                process.terminate()
                process.wait(30)


@pytest.fixture
async def browser(chromium_url: str) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession() as session:
        connected = Browser(await session.ws_connect(chromium_url, max_msg_size=0))
        try:
            yield connected
        finally:
            await connected.close()


def _listening(process: subprocess.Popen[str]) -> str:
    said: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        found = re.search(r"DevTools listening on (ws://\S+)", line)
        if found:
            return found[1]
    raise RuntimeError(f"Chromium did not start: {''.join(said)[-2000:]}")
