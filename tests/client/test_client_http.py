"""Both clients over a real socket: what they send, what they make of answers, and streams that break."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from handrail import (
    ApprovalMismatchError,
    AsyncClient,
    Client,
    ClientError,
    HandrailProblem,
    MalformedError,
    Plan,
    Signer,
    SigningKey,
    Trust,
    UnexpectedReply,
    Unreachable,
    operations,
    parse_time,
    verify_receipt,
)
from handrail.following import RECONNECTS_MAX
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from tests.client.stand_in import NOW, ORIGIN, TOKEN, StandIn, problem, running

KEY = SigningKey(b"\x01" * 32)
PLAN_ID = "aa" * 32


@pytest.fixture(scope="module")
def listening() -> Iterator[StandIn]:
    with running() as stand_in:
        yield stand_in


@pytest.fixture
def gateway(listening: StandIn) -> StandIn:
    listening.reset()
    return listening


class Both:
    """Calls one operation through the sync and through the async client and requires one answer."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in

    async def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        import asyncio

        def blocking() -> Any:
            with Client(self.stand_in.url, TOKEN) as client:
                return getattr(client, name)(*args, **kwargs)

        first = await asyncio.to_thread(blocking)
        async with AsyncClient(self.stand_in.url, TOKEN) as client:
            method: Callable[..., Awaitable[Any]] = getattr(client, name)
            second = await method(*args, **kwargs)
        assert first == second
        return first


@pytest.fixture
def both(gateway: StandIn) -> Both:
    return Both(gateway)


def signed(*actions: str) -> str:
    plan = Plan("c1")
    for action in actions:
        plan.step("git", action)
    return Signer("agent", KEY, ORIGIN, "default", "alice").sign(plan)


def test_every_operation_is_on_both_clients() -> None:
    offered = {
        name
        for name, value in vars(operations).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == operations.__name__
    }
    for kind in (Client, AsyncClient):
        missing = {name for name in offered if not callable(getattr(kind, name, None))}
        assert not missing
        assert all(getattr(kind, name).__doc__ for name in offered)


async def test_a_plan_is_submitted_as_the_bytes_that_were_signed(gateway: StandIn, both: Both) -> None:
    token = signed("git_status", "hold")
    view = await both("submit", token, wait=1.5)
    assert [step["status"] for step in view["steps"]] == ["succeeded", "held"]
    method, path, headers, body = gateway.seen[0]
    assert (method, path, body) == ("POST", "/v1/plans?wait=1.5", token.encode())
    assert headers["content-type"] == "application/jose"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert (await both("plan", PLAN_ID))["status"] == "waiting"


async def test_admin_calls_send_what_the_api_documents(gateway: StandIn, both: Both) -> None:
    key = KEY.public
    assert (await both("add_principal", "p", ["agent"], hands=["git"], approval_key=key, ttl_days=3))["api_key"]
    assert (await both("add_issuer", "agent", key, speaks_for=["bob"], attests_request=True))["id"] == "agent"
    assert await both("revoke_principal", "a/b c") == {}
    assert await both("revoke_issuer", "agent") == {}
    assert (await both("answers", "ap-1"))[0]["attested_by"] == "gateway"
    assert (await both("name_principal", "p-1", "p"))["id"] == "p"
    assert (await both("offer_enrolment", "p"))["ticket"] == "hre_x.y"
    assert (await both("security_keys", "p"))[0]["kid"] == "k"
    assert (await both("revoke_security_key", "p", "k"))["security_keys"]
    assert await both("principals")
    assert await both("issuers")
    assert await both("keys")
    assert (await both("rotate_key", "receipt"))["kid"] == "k1"
    assert await both("revoke_key", "k1")
    assert await both("revoke_key", "k1", datetime(2027, 1, 15, 8, tzinfo=UTC))
    assert (await both("key_list"))["now"] == NOW
    assert parse_time(NOW).second == 9
    assert (await both("create_key", "receipt"))["asked"] == {"purpose": "receipt"}
    assert (await both("key_history")).count(".") == 2
    assert await both("hands")
    assert (await both("hand", "git"))["diff"]
    assert (await both("pin_hand", "git", "ab" * 32))["asked"] == {"digest": "ab" * 32}
    assert (await both("policy"))["engine"] == "embedded"
    assert (await both("audit_entries", type="POLDNY", after=3, plan=None))["tree_size"] == 9
    assert (await both("controls_report", "gdpr", **{"from": None}, samples=1))["framework"] == "gdpr"
    assert (await both("access_review"))["principals"]
    assert (await both("processing_record", to="2026-01-01"))["activities"]
    assert (await both("policy_rollout"))["observed"][0]["hand"] == "git"
    assert (await both("policy_shadow"))["comparison"]["shed"] == 4
    assert (await both("start_policy_shadow", "cd" * 32, lasts_seconds=60))["shadow"]["digest"] == "cd" * 32
    assert not (await both("stop_policy_shadow"))["shadow"]["in_force"]
    assert (await both("policy_canary"))["canary"]["percent"] == 5
    lines = await both("evaluations", since=datetime(2027, 1, 15, 8, tzinfo=UTC), until="2027-01-16", limit=2)
    assert lines.splitlines()[-1].startswith(b'{"next": null')
    assert (await both("why", PLAN_ID, "s1"))["reasons"][0]["line"] == 12
    assert (await both("me"))["id"] == "alice"
    page = await both("approvals", status="open", after="ap-0", limit=1)
    assert (page["approvals"][0]["id"], page.get("next")) == ("ap-1", None)
    assert (await both("ready"))["checks"]
    assert (await both("policy_bundles"))["activations"][0]["number"] == 2
    assert (await both("policy_bundle", "ab" * 32))["commit"] == "a" * 40
    assert await both("policy_bundle_file", "ab" * 32) == "a.b.c"
    assert (await both("add_policy_bundle", b"a.b.c"))["digest"] == "ab" * 32
    for name in ("policy_remote", "pull_policy_remote"):
        assert (await both(name))["digest"] == "ab" * 32
    assert (await both("rollback_policy", "cd" * 32, replaces="ab" * 32))["way"] == "rollback"
    assert (await both("proposals", status="open", kind="policy.observe", limit=1))["proposals"]
    assert (await both("proposal", "0" * 32))["subject"] == "ab" * 32
    assert (await both("propose", "policy.observe", {"hand": "git"}, subject="git"))["status"] == "open"
    assert (await both("activate", "0" * 32))["status"] == "activated"
    assert (await both("withdraw", "0" * 32))["status"] == "withdrawn"
    sent = {(method, path) for method, path, _, _ in gateway.seen}
    assert ("DELETE", "/v1/principals/a/b c") in sent, "the server sees the quoted id as one segment's text"
    assert ("GET", "/v1/audit/entries?type=POLDNY&after=3") in sent
    assert ("GET", "/v1/policy/evaluations?since=2027-01-15T08%3A00%3A00%2B00%3A00&until=2027-01-16&limit=2") in sent
    bodies = {path: body for method, path, _, body in gateway.seen if method == "POST"}
    assert bodies["/v1/keys/k1/revoke"] == b'{"compromised_at": "2027-01-15T08:00:00+00:00"}'
    assert b'"speaks_for": ["bob"]' in bodies["/v1/issuers"]
    assert b'"d"' not in bodies["/v1/issuers"] + bodies["/v1/principals"], "a private key never leaves"


async def test_saved_receipts_verify_offline(gateway: StandIn, both: Both) -> None:
    import json

    await both("submit", signed("git_status"))
    [bundle] = await both("receipts", PLAN_ID)
    report = verify_receipt(json.dumps(bundle).encode(), Trust.from_document(await both("trust")))
    assert report.receipt_id == "jti-1"


# --- approvals -------------------------------------------------------------------------------------------------------


async def test_an_approval_is_signed_for_the_caller_and_this_log(gateway: StandIn) -> None:
    async with AsyncClient(gateway.url, TOKEN) as client:
        assert (await client.approve("ap-1", KEY))["status"] == "granted"
    [claims] = gateway.answers
    assert (claims["approver"], claims["aud"], claims["answer"]) == ("alice", ORIGIN, "approve")
    assert claims["binding"] == gateway.approval()["binding"]


async def test_an_approval_without_a_key_is_only_a_word(gateway: StandIn, both: Both) -> None:
    await both("refuse", "ap-1")
    assert gateway.answers[0] == {"answer": "refuse"}


async def test_what_was_shown_is_signed_even_if_the_gateway_changes_its_mind(gateway: StandIn) -> None:
    with Client(gateway.url, TOKEN) as client:
        shown = client.approval("ap-1")
        gateway.text = "something else"
        client.approve(shown, KEY)
    assert gateway.answers[0]["binding"] == shown["binding"]
    assert gateway.answers[0]["binding"] != gateway.approval()["binding"]


async def test_a_lying_gateway_gets_neither_signature_nor_answer(gateway: StandIn) -> None:
    gateway.shown_args = {"repo_path": "/repo", "message": "harmless"}
    with Client(gateway.url, TOKEN) as client, pytest.raises(ApprovalMismatchError):
        client.approve("ap-1", KEY)
    assert gateway.answers == []


# --- refusals --------------------------------------------------------------------------------------------------------


async def test_a_problem_document_becomes_a_typed_exception(gateway: StandIn) -> None:
    gateway.next("POST", "/v1/plans", lambda _: problem("verify.replayed", 409, pointer="/jti", limit=3))
    with Client(gateway.url, TOKEN) as client, pytest.raises(HandrailProblem) as caught:
        client.submit("a.b.c")
    assert (caught.value.code, caught.value.status, caught.value.request_id) == ("verify.replayed", 409, "req-1")
    assert caught.value.facts == {"pointer": "/jti", "limit": 3}
    assert caught.value.detail == "Text of verify.replayed."


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: Response("<html>Bad gateway</html>", 502, media_type="text/html"),
        lambda _: JSONResponse({"code": "x.y", "detail": "z"}, 400),
        lambda _: Response("{", 400, media_type="application/problem+json"),
        lambda _: Response('{"code": 1}', 400, media_type="application/problem+json"),
        lambda _: PlainTextResponse("hello"),
        lambda _: JSONResponse(["list"]),
        lambda _: Response('{"a":1,"a":2}', media_type="application/json"),
        lambda _: Response(b"\xff", media_type="application/json"),
        lambda _: RedirectResponse("http://127.0.0.1:1/v1/me"),
    ],
)
async def test_an_answer_that_is_not_a_gateways_is_refused(gateway: StandIn, answer: Any) -> None:
    gateway.next("GET", "/v1/me", answer)
    with Client(gateway.url, TOKEN) as client, pytest.raises(UnexpectedReply):
        client.me()


async def test_a_key_is_not_sent_to_where_a_redirect_points(gateway: StandIn) -> None:
    with running() as other:
        gateway.next("GET", "/v1/me", lambda _: RedirectResponse(f"{other.url}/v1/me"))
        with Client(gateway.url, TOKEN) as client, pytest.raises(UnexpectedReply):
            client.me()
        assert other.seen == []


async def test_lists_of_the_wrong_shape_are_refused(gateway: StandIn) -> None:
    for body in ({}, {"hands": 1}, {"hands": [1]}):
        gateway.next("GET", "/v1/hands", lambda _, body=body: JSONResponse(body))
        with Client(gateway.url, TOKEN) as client, pytest.raises(UnexpectedReply, match="hands"):
            client.hands()


async def test_nobody_at_the_address_is_unreachable() -> None:
    with running() as gone:
        url = gone.url
    with Client(url, TOKEN) as client, pytest.raises(Unreachable):
        client.me()
    async with AsyncClient(url, TOKEN) as client:
        with pytest.raises(Unreachable):
            await client.me()
        with pytest.raises(Unreachable):
            await anext(client.follow(PLAN_ID))
    with Client(url, TOKEN) as client, pytest.raises(Unreachable):
        next(client.follow(PLAN_ID))


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "gateway:8080", "http://", "http://u:p@h", "http://h?x=1", "http://h#f"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ClientError):
        Client(url)


@pytest.mark.parametrize("key", ["", "a b", "a\r\nX-Evil: 1", "\u00e9"])
def test_an_api_key_that_would_bend_the_header_is_refused(key: str) -> None:
    with pytest.raises(ClientError):
        Client("http://127.0.0.1", key)


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_an_id_that_would_bend_the_path_is_refused(gateway: StandIn, name: str) -> None:
    with Client(gateway.url, TOKEN) as client, pytest.raises(MalformedError):
        client.revoke_principal(name)
    assert gateway.seen == []


@pytest.mark.parametrize("name", ["../keys", "a?b=c", "a#b", "a%2fb", "\u202e"])
async def test_an_id_stays_one_segment_of_the_path(gateway: StandIn, name: str) -> None:
    raw: list[bytes] = []

    def answer(request: Request) -> Response:
        raw.append(request.scope["raw_path"])
        return Response(status_code=204)

    gateway.next("DELETE", f"/v1/principals/{name}", answer)
    with Client(gateway.url, TOKEN) as client:
        client.revoke_principal(name)
    assert raw[0].count(b"/") == 3
    assert b"?" not in raw[0]


# --- streams ---------------------------------------------------------------------------------------------------------


def step(number: int) -> tuple[str, str, dict[str, Any]]:
    return (str(number), "step", {"id": f"s{number}"})


DONE = ("9", "done", {})


async def follow(gateway: StandIn, kind: str) -> list[str]:
    ids = []
    if kind == "sync":
        with Client(gateway.url, TOKEN, reconnect_pause_seconds=0) as client:
            ids = [event["id"] for event in client.follow(PLAN_ID)]
    else:
        async with AsyncClient(gateway.url, TOKEN, reconnect_pause_seconds=0) as client:
            ids = [event["id"] async for event in client.follow(PLAN_ID)]
    return ids


def resumed_from(gateway: StandIn) -> list[str | None]:
    return [headers.get("last-event-id") for _, path, headers, _ in gateway.seen if path.endswith("/events")]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_stream_that_breaks_is_resumed_where_it_broke(gateway: StandIn, kind: str) -> None:
    gateway.events = [[step(1), step(2), "break"], [], [step(3), DONE]]
    assert await follow(gateway, kind) == ["1", "2", "3", "9"]
    assert resumed_from(gateway) == [None, "2", "2"]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_events_that_a_gateway_sends_again_are_given_once(gateway: StandIn, kind: str) -> None:
    gateway.events = [[step(1), step(2)], [step(1), step(2), ": a comment\n\n", step(3), DONE]]
    assert await follow(gateway, kind) == ["1", "2", "3", "9"]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_gateway_that_restarts_is_waited_for(gateway: StandIn, kind: str) -> None:
    gateway.events = [[step(1)], [step(2), DONE]]
    path = f"/v1/plans/{PLAN_ID}/events"
    gateway.next("GET", path, lambda _: StandInStream.first(gateway))
    gateway.next("GET", path, lambda _: problem("gateway.overloaded", 503))
    assert await follow(gateway, kind) == ["1", "2", "9"]


class StandInStream:
    """The stand-in's own stream, for a handler queued before others."""

    @staticmethod
    def first(gateway: StandIn) -> Response:
        from starlette.responses import StreamingResponse

        return StreamingResponse(gateway._stream(), media_type="text/event-stream")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_stream_that_never_brings_anything_ends_as_unreachable(gateway: StandIn, kind: str) -> None:
    gateway.events = [[step(1)], *([] for _ in range(RECONNECTS_MAX))]
    with pytest.raises(Unreachable):
        await follow(gateway, kind)
    assert len(resumed_from(gateway)) == RECONNECTS_MAX + 1


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_refused_stream_is_a_problem_and_not_retried(gateway: StandIn, kind: str) -> None:
    gateway.next("GET", f"/v1/plans/{PLAN_ID}/events", lambda _: problem("request.not_found", 404))
    with pytest.raises(HandrailProblem):
        await follow(gateway, kind)
    assert len(gateway.seen) == 1


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "message",
    ["id: x\ndata: {}\n\n", "data: {}\n\n", "id: 1\ndata: []\n\n", "id: 1\ndata: {\n\n", 'id: 1\ndata: {"a":NaN}\n\n'],
)
async def test_an_event_that_is_not_a_gateways_is_refused(gateway: StandIn, kind: str, message: str) -> None:
    gateway.events = [[message]]
    with pytest.raises(UnexpectedReply):
        await follow(gateway, kind)
