"""Signed messages to a real receiver, which checks them with another library than ours, and to some that misbehave."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.calls import HandResult, Injections
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.webhook import WebhookAdapter
from tests.hands.hands_support import call

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ACTIONS = {"alert": {"path": "/alerts", "args_schema": SCHEMA}, "close": {"path": "/closed", "args_schema": SCHEMA}}
SIGNATURE = {"signing": {"place": "signature"}}
SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
ARGS = {"text": "Grüße"}


def hand(url: str = "https://hooks.example/in", **more: Any) -> HandSettings:
    said = {"adapter": "webhook", "base_url": url, "private_network": True, "actions": ACTIONS, "secrets": SIGNATURE}
    return HandSettings(**{**said, **more})


@dataclass
class Receiver:
    """What it was sent, and what it answers."""

    answer: Callable[[], web.StreamResponse] = field(default=lambda: web.Response(status=204))
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    silent: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): text for name, text in request.headers.items()}
        self.got.append((request.path, headers, await request.read()))
        if self.silent:
            await self.over.wait()
        return self.answer()


@dataclass
class Hand:
    adapter: WebhookAdapter
    receiver: Receiver
    digest: str
    injections: Injections = field(default_factory=lambda: Injections(signing_secret=SECRET))
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def send(self, action: str = "alert", args: dict[str, Any] | None = None, **changes: Any) -> HandResult:
        async def inject(*target: Any) -> Injections:
            self.asked.append(target)
            return self.injections

        return await self.adapter.run(call("hooks", action, args or ARGS, self.digest, **{"inject": inject, **changes}))


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[Hand]]]:
    """``await connect(**receiver)`` -> a hand and the receiver that it speaks to."""
    cleanup: list[Callable[[], Awaitable[None]]] = []

    async def make(**said: Any) -> Hand:
        receiver = Receiver(**said)
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", receiver.handle)
        runner = web.AppRunner(application, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        settings = hand(f"http://127.0.0.1:{port}/in")
        WebhookAdapter.validate("hooks", settings)
        adapter = WebhookAdapter("hooks", settings, None)  # type: ignore[arg-type]

        async def close() -> None:
            receiver.over.set()
            await adapter.close()
            await runner.cleanup()

        cleanup.append(close)
        return Hand(adapter, receiver, (await adapter.manifest()).digest)

    yield make
    for close in reversed(cleanup):
        await close()


async def failing(awaitable: Any) -> tuple[Reason, HandFailure]:
    with pytest.raises(HandError) as caught:
        await awaitable
    return caught.value.reason, caught.value.failure


async def test_a_message_is_signed_as_others_check_it(connect: Any) -> None:
    link = await connect()
    result = await link.send()
    assert (result.is_error, result.structured, result.content) == (False, {"status": 204}, ())
    ((path, headers, body),) = link.receiver.got
    assert (path, body) == ("/in/alerts", '{"text":"Grüße"}'.encode())
    assert Webhook(SECRET).verify(body, headers) == ARGS
    assert "authorization" not in headers
    assert "dpop" not in headers
    for change in ({"webhook-id": "msg_other"}, {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body, headers | change)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)
    await link.send("close")
    assert link.receiver.got[1][0] == "/in/closed"
    assert link.asked[0][0::3] == ("http", "POST")
    assert link.asked[0][4] == "/in/alerts"


async def test_a_message_is_signed_by_a_key_whose_other_half_the_receiver_has(connect: Any) -> None:
    link = await connect()
    seed = secrets.token_bytes(32)
    link.injections = Injections(signing_secret="whsk_" + base64.b64encode(seed).decode())
    await link.send()
    ((_, headers, body),) = link.receiver.got
    version, _, signature = headers["webhook-signature"].partition(",")
    assert version == "v1a"
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
    Ed25519PrivateKey.from_private_bytes(seed).public_key().verify(base64.b64decode(signature), signed)


async def test_a_receiver_can_tell_a_repetition(connect: Any) -> None:
    link = await connect()

    async def sent(args: dict[str, Any] | None = None, **changes: Any) -> str:
        await link.send(args=args, **changes)
        return str(link.receiver.got[-1][1]["webhook-id"])

    key = {"idempotency_key": "k"}
    assert await sent() == await sent()
    assert await sent() != await sent(step_id="other")
    assert await sent(**key) == await sent(plan_id="other", **key)
    assert await sent(**key) != await sent({"text": "other"}, **key)


@pytest.mark.parametrize("secret", [None, "", "whsec_", "whsec_!!!", "whsec_YQ==", "a plain secret"])
async def test_a_message_that_nothing_signs_is_not_sent(connect: Any, secret: str | None) -> None:
    link = await connect()
    link.injections = Injections(signing_secret=secret)
    assert await failing(link.send()) == (Reason.SECRET_MISSING, HandFailure.NOT_EXECUTED)
    assert link.receiver.got == []


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410, 429, 500, 503])
async def test_an_answer_that_is_no_yes_is_an_error_and_no_redirect_is_followed(connect: Any, status: int) -> None:
    link = await connect(
        answer=lambda: web.Response(status=status, text="no", headers={"Location": "/elsewhere", "Set-Cookie": "a=b"})
    )
    result = await link.send()
    assert (result.is_error, result.structured) == (True, {"status": status})
    assert result.content == ({"type": "text", "text": "no"},)
    await link.send()
    assert [path for path, *_ in link.receiver.got] == ["/in/alerts"] * 2
    assert "cookie" not in link.receiver.got[1][1]


async def test_a_receiver_says_when_to_come_again(connect: Any) -> None:
    link = await connect(answer=lambda: web.Response(status=429, headers={"Retry-After": "7"}))
    assert (await link.send()).retry_after_seconds == 7


@pytest.mark.parametrize("status", [502, 504])
async def test_a_proxy_that_does_not_know_tells_nothing(connect: Any, status: int) -> None:
    link = await connect(answer=lambda: web.Response(status=status))
    assert await failing(link.send()) == (Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN)


async def test_an_answer_that_is_no_json_is_still_a_yes(connect: Any) -> None:
    link = await connect(answer=lambda: web.Response(status=200, body=b'{"a":1,"a":2', content_type="application/json"))
    result = await link.send()
    assert (result.is_error, result.structured) == (False, {"status": 200})


async def test_an_answer_beyond_measure_is_not_kept(connect: Any) -> None:
    link = await connect(answer=lambda: web.Response(status=200, body=b"x" * 100_000))
    assert await failing(link.send()) == (Reason.HAND_RESULT_TOO_LARGE, HandFailure.EXECUTED)


async def test_a_receiver_that_is_silent_may_have_acted_and_one_that_is_not_there_has_not(connect: Any) -> None:
    link = await connect(silent=True)
    for seconds in (0.3, 5.0, 60.0):
        found = await failing(link.send(deadline_seconds=seconds))
        if link.receiver.got:
            break
    assert found == (Reason.HAND_TIMEOUT, HandFailure.UNKNOWN)
    nowhere = hand("http://127.0.0.1:9/in")
    adapter = WebhookAdapter("hooks", nowhere, None)  # type: ignore[arg-type]
    gone = Hand(adapter, link.receiver, (await adapter.manifest()).digest)
    assert await failing(gone.send()) == (Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED)
    await adapter.close()


async def test_a_name_that_leads_into_the_own_network_is_not_dialled(connect: Any) -> None:
    link = await connect()
    link.adapter._private_network = False
    assert await failing(link.send()) == (Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED)
    assert link.receiver.got == []


async def test_other_secrets_are_sent_beside_and_replace_no_part_of_the_signature(connect: Any) -> None:
    link = await connect()
    link.injections = Injections({"Authorization": "Bearer t"}, signing_secret=SECRET)
    await link.send()
    ((_, headers, body),) = link.receiver.got
    assert headers["authorization"] == "Bearer t"
    Webhook(SECRET).verify(body, headers)


async def test_another_declaration_than_the_pinned_one_sends_nothing(connect: Any) -> None:
    link = await connect()
    link.digest = "0" * 64
    with pytest.raises(HandDrifted):
        await link.send()
    assert link.receiver.got == []


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"base_url": "http://hooks.example", "private_network": False}, "base_url"),
        ({"base_url": "https://user:password@hooks.example"}, "base_url"),
        ({"base_url": "https://hooks.example/?a=b"}, "base_url"),
        ({"base_url": "https://10.0.0.1", "private_network": False}, "base_url"),
        ({"base_url": "https://169.254.169.254"}, "base_url"),
        ({"base_url": None}, "base_url"),
        ({"actions": {}}, "no action"),
        ({"actions": {"alert": {"args_schema": SCHEMA}}}, "actions.alert"),
        ({"actions": {"alert": {"path": "/a"}}}, "actions.alert"),
        ({"actions": {"alert": {"path": "/a", "method": "GET", "args_schema": SCHEMA}}}, "actions.alert"),
        ({"actions": {"alert": {"path": "/{text}", "args_schema": SCHEMA}}}, "path"),
        ({"actions": {"alert": {"path": "/a?b=c", "args_schema": SCHEMA}}}, "path"),
        ({"actions": {"alert": {"path": "/../a", "args_schema": SCHEMA}}}, "path"),
        ({"actions": {"alert": {"path": "/%2e%2e/a", "args_schema": SCHEMA}}}, "path"),
        ({"actions": {"alert": {"path": "/a", "args_schema": SCHEMA, "result_schema": {}}}}, "result_schema"),
        ({"secrets": {"s": {"place": "signature", "targets": ["https://other.example"]}}}, "targets"),
        ({"secrets": {"s": {"place": "signature", "paths": ["/a"]}}}, "signed"),
        ({"secrets": {**SIGNATURE, "q": {"place": "query", "parameter": "k"}}}, "place"),
        ({"secrets": {**SIGNATURE, "q": {"place": "header", "parameter": "Webhook-Id"}}}, "place"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_refused(more: dict[str, Any], where: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        WebhookAdapter.validate("hooks", hand(**more))
    assert where in refusal.value.detail


def test_messages_are_signed_by_one_secret_and_other_hands_sign_nothing() -> None:
    for wrong in ({}, {"a": {"place": "signature"}, "b": {"place": "signature"}}, {"a": {"place": "bearer"}}):
        with pytest.raises(ValidationError):
            hand(secrets=wrong)
    with pytest.raises(ValidationError):
        HandSettings(adapter="http", base_url="https://a.example", secrets=SIGNATURE)


async def test_where_messages_go_is_pinned() -> None:
    async def digest(**more: Any) -> str:
        return (await WebhookAdapter("hooks", hand(**more), None).manifest()).digest  # type: ignore[arg-type]

    elsewhere = {"alert": {"path": "/other", "args_schema": SCHEMA}, "close": ACTIONS["close"]}
    assert len({await digest(), await digest(url="https://b.example"), await digest(actions=elsewhere)}) == 3
