"""Exports over HTTP: what is asked is read strictly, what breaks off is never taken for the whole, and one caller
cannot hold everybody's streams."""

import asyncio

import httpx2
import pytest
from starlette.applications import Starlette

from audit.export.lines import Format
from gateway.errors import Refused, Unavailable
from gateway.model import Role
from gateway.reasons import Reason
from gateway.web.access import ResponseAborted
from gateway.web.downloads import Download
from gateway.web.metrics import WebMetrics
from gateway.web.sse import STREAMS_PER_PRINCIPAL_MAX, Streams
from tests.web.fake import testing_only_Gateway, token

PATH = "/v1/audit/exports"


async def test_an_export_says_how_much_comes_and_of_which_log(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    asked = f"{PATH}?format=ocsf&hand=git&type=policy%20denied&since=2023-11-14T22:13:20Z&first=3&end=9"
    answer = await client.get(asked, headers=token(Role.AUDITOR))
    assert (answer.status_code, answer.content) == (200, b"one\ntwo\n")
    assert answer.headers["handrail-entries"] == "2"
    assert answer.headers["handrail-tree-size"] == "9"
    assert answer.headers["content-disposition"] == 'attachment; filename="ocsf.ndjson"'
    assert "no-store" in answer.headers["cache-control"]
    [(found, who)] = gateway.exports.asked
    assert (found.format, found.first, found.end, who) == (Format.OCSF, 3, 9, "auditor")
    assert (found.wanted.tenant, found.wanted.hand, found.wanted.type) == ("default", "git", "POLDNY")
    assert found.wanted.since == "2023-11-14T22:13:20.000Z"
    assert gateway.exports.closed == 1


async def test_what_a_bundle_and_going_on_need(client: httpx2.AsyncClient, gateway: testing_only_Gateway) -> None:
    asked = f"{PATH}?format=bundle&payloads=true&kept=4,7&tree_size=9&offset=512&sha256={'a' * 64}"
    assert (await client.get(asked, headers=token(Role.AUDITOR))).status_code == 200
    assert (await client.get(f"{PATH}?format=csv&tree_size=9&after=3", headers=token(Role.AUDITOR))).status_code == 200
    (whole, _), (lines, _) = gateway.exports.asked
    assert (whole.payloads, whole.kept, whole.tree_size, whole.offset) == (True, (4, 7), 9, 512)
    assert (lines.tree_size, lines.after) == (9, 3)


@pytest.mark.parametrize(
    "asked",
    ["format=", "format=zip", "format=csv&payloads=true", "format=csv&kept=3", "format=csv&after=3",
     "format=bundle&after=3&tree_size=9", "format=bundle&offset=5", "format=bundle&offset=5&tree_size=9",
     "format=csv&offset=5&tree_size=9&sha256=" + "a" * 64,
     "format=bundle&sha256=" + "a" * 64, "format=bundle&sha256=xyz&offset=1&tree_size=9", "format=bundle&kept=0",
     "format=bundle&kept=a", "format=bundle&payloads=yes", "format=csv&tenant=other", "format=csv&format=csv",
     "format=csv&uncosigned=true", "format=csv&wait=3", "format=csv&checkpoint=YQ&tree_size=9",
     "format=bundle&checkpoint=YQ", "format=bundle&checkpoint=Y&tree_size=9", "format=bundle&checkpoint=_w&tree_size=9",
     "uncosigned=true&wait=3", "uncosigned=maybe", "wait=61", "wait=-1", "uncosigned=true&tree_size=9",
     "wait=2&tree_size=9", "format=csv&first=-1", "format=csv&type=NOTHING", "format=csv&since=yesterday"],
)  # fmt: skip
async def test_what_is_not_understood_is_refused_before_anything_is_on_record(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, asked: str
) -> None:
    answer = await client.get(f"{PATH}?{asked}", headers=token(Role.AUDITOR))
    assert (answer.status_code, answer.json()["code"]) == (400, "request.malformed")
    assert gateway.exports.asked == []


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.AUDITOR])
async def test_nobody_else_exports(client: httpx2.AsyncClient, gateway: testing_only_Gateway, role: Role) -> None:
    answer = await client.get(f"{PATH}?format=csv", headers=token(role))
    assert (answer.status_code, answer.json()["code"]) == (403, "auth.forbidden")
    assert gateway.exports.asked == []


async def test_a_bundle_says_who_cosigned_it_and_what_came_after(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    answer = await client.get(f"{PATH}?wait=12.5", headers=token(Role.AUDITOR))
    assert answer.headers["handrail-cosignatures"] == "1/2"
    assert answer.headers["handrail-later"] == "2"
    note = answer.headers["handrail-checkpoint"]
    again = f"{PATH}?tree_size=9&checkpoint={note}"
    assert (await client.get(again, headers=token(Role.AUDITOR))).status_code == 200
    (first, _), (second, _) = gateway.exports.asked
    assert (first.wait_seconds, first.checkpoint) == (12.5, "")
    assert second.checkpoint == await gateway.log.checkpoint()


async def test_one_that_waits_takes_the_callers_place(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, app: Starlette
) -> None:
    streams = await _streams(app)
    seen = []
    plain = gateway.exports.open

    async def looking(*asked):  # type: ignore[no-untyped-def]
        seen.append(streams.total)
        return await plain(*asked)

    gateway.exports.open = looking  # type: ignore[method-assign]
    await client.get(f"{PATH}?wait=1", headers=token(Role.AUDITOR))
    gateway.exports.refusal = Unavailable(Reason.LOG_UNAVAILABLE)
    await client.get(f"{PATH}?wait=1", headers=token(Role.AUDITOR))
    assert (seen, streams.total) == ([1, 1], 0)


async def test_a_refusal_before_the_first_byte_is_a_problem_document(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    gateway.exports.refusal = Unavailable(Reason.LOG_UNAVAILABLE)
    answer = await client.get(f"{PATH}?format=csv", headers=token(Role.AUDITOR))
    assert (answer.status_code, answer.json()["code"]) == (503, "log.unavailable")
    gateway.exports.refusal = None
    gateway.exports.pieces, gateway.exports.breaks = [], Refused(Reason.REQUEST_CONFLICT)
    late = await client.get(f"{PATH}?format=csv", headers=token(Role.AUDITOR))
    assert (late.status_code, late.json()["code"]) == (409, "request.conflict")


async def test_what_breaks_off_is_no_whole_answer(port: int, gateway: testing_only_Gateway) -> None:
    gateway.exports.breaks = Unavailable(Reason.LOG_UNAVAILABLE)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(f"{PATH}?format=csv", headers=token(Role.AUDITOR))
    assert gateway.exports.closed == 1


async def _streams(app: Starlette) -> Streams:
    found = app.state.streams
    assert isinstance(found, Streams)
    return found


async def test_a_caller_has_so_many_exports_at_once_and_no_more(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, app: Starlette
) -> None:
    streams = await _streams(app)
    for _ in range(STREAMS_PER_PRINCIPAL_MAX):
        streams.enter("default/auditor")
    answer = await client.get(f"{PATH}?format=csv", headers=token(Role.AUDITOR))
    assert (answer.status_code, answer.json()["code"]) == (503, "gateway.overloaded")
    assert gateway.exports.asked == [], "nothing was counted, and no export is on record that nobody got"
    streams.leave("default/auditor")
    assert (await client.get(f"{PATH}?format=csv", headers=token(Role.AUDITOR))).status_code == 200
    assert streams.total == STREAMS_PER_PRINCIPAL_MAX - 1


async def test_a_caller_who_was_revoked_meanwhile_gets_no_more(gateway: testing_only_Gateway) -> None:
    """The clock passes the quarter of a minute between two pieces."""
    times = iter([0.0, 1.0, 20.0])
    sent: list[bytes] = []

    async def revoked() -> None:
        raise Refused(Reason.AUTH_INVALID)

    async def chunks():  # type: ignore[no-untyped-def]
        for piece in (b"a", b"b", b"c", b"d"):
            yield piece

    async def send(message) -> None:  # type: ignore[no-untyped-def]
        sent.append(message.get("body", b""))

    answer = Download(chunks(), {}, Streams(WebMetrics(gateway.metrics)), "o", revoked, lambda: next(times))
    with pytest.raises(ResponseAborted):
        await answer({"type": "http", "method": "GET"}, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert b"".join(sent) == b"ab"
