"""What measures must measure right: the reading of the suite's summary, and the forwarder that changes one header."""

import aiohttp
import pytest
from aiohttp import web

from tests.mcp_conformance.forwarder import forwarding
from tests.mcp_conformance.suite import Found, SuiteError, lost, summary

PRINTED = """=== Running scenario: ping ===
✓ ping: 9 passed, 9 failed

=== SUMMARY ===
✓ ping: 2 passed, 0 failed
✗ resources-list: 1 passed, 1 failed
✓ nothing-checked: 0 passed, 0 failed
✓ draft: 3 passed, 0 failed

Total: 6 passed, 1 failed

Not scored for 2026-07-28: 1 scenario(s) run, 0 failing. These do not affect conformance.
  ✓ draft (pending)
"""


def test_the_summary_is_read_and_only_the_summary() -> None:
    assert summary(PRINTED) == {
        "ping": Found(2, 0, scored=True),
        "resources-list": Found(1, 1, scored=True),
        "nothing-checked": Found(0, 0, scored=True),
        "draft": Found(3, 0, scored=False),
    }
    for nothing in ("", "=== SUMMARY ===\n", PRINTED.partition("=== SUMMARY")[0]):
        with pytest.raises(SuiteError):
            summary(nothing)


def test_lost_is_what_passed_and_does_not_or_is_missing_and_nothing_checked_is_no_pass() -> None:
    good, bad, empty = Found(2, 0, scored=True), Found(1, 1, scored=True), Found(0, 0, scored=True)
    assert lost({"a": good, "b": good, "c": good, "d": bad, "e": empty}, {"a": good, "b": bad, "d": bad}) == ["b", "c"]
    assert lost({"a": good}, {"a": empty}) == ["a"]


async def test_the_forwarder_adds_its_header_and_leaves_what_scenarios_lie_in() -> None:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(status=418, text=await request.text(), headers={"mcp-session-id": "s1"})

    application = web.Application()
    application.router.add_route("*", "/mcp/x", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    (_, port), *_ = runner.addresses
    lies = {"Host": "evil.example.com", "Origin": "http://evil.example.com", "MCP-Protocol-Version": "x"}
    try:
        async with (
            forwarding(f"http://127.0.0.1:{port}/mcp/x", {"authorization": "Bearer k"}) as url,
            aiohttp.ClientSession() as http,
            http.post(url, data=b"{}", headers=lies) as got,
        ):
            assert (got.status, await got.text(), got.headers["mcp-session-id"]) == (418, "{}", "s1")
    finally:
        await runner.cleanup()
    [request] = seen
    assert {name: request.headers.getall(name) for name in (*lies, "Authorization")} == {
        **{name: [value] for name, value in lies.items()},
        "Authorization": ["Bearer k"],
    }
