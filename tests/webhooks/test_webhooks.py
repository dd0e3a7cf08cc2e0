"""Webhooks: what a receiver is told and can verify, and what a slow, hostile or dead receiver cannot do."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handrail import WebhookError, verify_webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.model import Answer, ApprovalStatus, Notice
from gateway.ports import Append
from gateway.settings import Settings, SettingsError, WebhookSettings
from gateway.store.leases import LEASE_SECONDS, LeaseKind, SqlLeases
from gateway.store.outbox import WAITING_MAX, Message, SqlOutbox
from gateway.webhooks.delivery import BACKOFF_MAX_SECONDS, Webhook, backoff_seconds
from gateway.webhooks.messages import standard
from gateway.webhooks.signing import MessageSigner
from hand_adapters.courier import courier
from tests.approvals.world import World, world
from tests.web.conftest import serving

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass
class Receiver:
    """A receiver of webhooks that a test can make slow, hostile or dead."""

    port: int = 0
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answer: Callable[[], Response] = lambda: PlainTextResponse("ok")
    stuck: asyncio.Event | None = None
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def handle(self, request: Request) -> Response:
        self.received.append((dict(request.headers), await request.body()))
        self.came.set()
        if self.stuck is not None:
            await self.stuck.wait()
        return self.answer()

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.received]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = Starlette(routes=[Route("/{path:path}", receiver.handle, methods=["POST", "GET"])])
    async with serving(app, Settings(server={"port": 0})) as port:
        receiver.port = port
        yield receiver


def secret_file(directory: Path, secret: str = SECRET) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "secret"
    file.write_text(f"{secret}\n")
    return file


@asynccontextmanager
async def told(home: Path, **webhook: Any) -> AsyncIterator[tuple[World, Receiver]]:
    """A gateway with one webhook. Nothing is sent but by :func:`send`, so that a test knows when."""
    async with receiving() as receiver:
        configured = {"url": receiver.url, "private_network": True, **webhook}
        if configured.get("format", "standard") == "standard":
            configured.setdefault("secret_file", secret_file(home))
        async with world(home, webhooks={"ops": configured}) as here:
            await quiet(here)
            yield here, receiver


async def quiet(here: World) -> None:
    """Stop the sender of its own accord."""
    deliveries = here.gateway.deliveries
    for task in deliveries._tasks:
        task.cancel()
    await asyncio.gather(*deliveries._tasks, return_exceptions=True)
    deliveries._tasks.clear()


async def send(here: World) -> int:
    deliveries = here.gateway.deliveries
    return await deliveries.send_due(deliveries.webhooks["ops"])


def rows(here: World) -> list[dict[str, Any]]:
    with here.gateway.engine.connect() as connection:
        return [dict(row) for row in connection.exec_driver_sql("SELECT * FROM outbox").mappings()]


def pass_time(here: World, seconds: float) -> None:
    later = here.gateway.deliveries.clock() + seconds
    here.gateway.deliveries.clock = lambda: later


def counted(here: World, outcome: str) -> float:
    return here.gateway.metrics.webhook_messages.labels("ops", outcome)._value.get()


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_a_request_and_its_end_are_told_signed_with_a_link_and_without_the_call(tmp_path: Path) -> None:
    async with told(tmp_path) as (here, receiver):
        approval_id = await here.ask({"to": "ada@example.com", "body": "secret plan"})
        assert await send(here) == 1
        bob = await here.gateway.directory.principal("default", "bob")
        await here.gateway.approvals.answer(approval_id, bob, answer=Answer.REFUSE)
        assert await send(here) == 1
        assert rows(here) == []
        (headers, body), (_, last) = receiver.received
        message = verify_webhook(headers, body, SECRET)
        assert message["type"] == "approval.requested"
        assert message["data"]["url"] == f"{here.url}/approvals/{approval_id}"
        assert (message["data"]["hand"], message["data"]["action"]) == ("mail", "send")
        assert json.loads(last)["type"] == "approval.refused"
        for word in (b"ada", b"secret plan", b"bot", b"bob", b"must look"):
            assert word not in body + last
        assert headers["user-agent"] == "handrail"
        assert counted(here, "delivered") == 2


async def test_the_operator_may_have_the_call_told(tmp_path: Path) -> None:
    async with told(tmp_path, details=True) as (here, receiver):
        await here.ask({"to": "p\u0430ypal@example.com", "body": "x" * 9000})
        await send(here)
        [message] = receiver.told()
        details = message["data"]["details"]
        assert details["args"]["to"] == "p\u0430ypal@example.com"
        assert (details["requested_by"], details["reasons"][0]["code"]) == ("bot", "test.ask")
        assert "Look twice at: /to." in details["text"], (
            "warnings come before the values, so that no value cuts them off"
        )
        assert "1 value is cut below" in details["text"]
        assert details["text"].endswith("more characters are on the page]")


@pytest.mark.parametrize("end", ["granted", "refused", "expired", "voided"])
async def test_every_end_of_a_request_is_told_once(tmp_path: Path, end: str) -> None:
    async with told(tmp_path, events=[f"approval.{end}"]) as (here, receiver):
        steps = [{"args": {"to": "a"}}, {"args": {"to": "b"}, "depends_on": ["s0"]}]
        first, _ = await here.ask_all(steps)
        bob = await here.gateway.directory.principal("default", "bob")
        approvals = here.gateway.approvals
        if end == "granted":
            await approvals.answer(first, bob, answer=Answer.APPROVE)
        elif end == "expired":
            now = here.gateway.clock()
            here.gateway.pipeline.clock = lambda: now + 3601
            await here.gateway.approval_upkeep.expire()
            pass_time(here, 3601)
        else:
            await approvals.answer(first, bob, answer=Answer.REFUSE)
        await here.gateway.pipeline.finish()
        await send(here)
        messages = receiver.told()
        assert {message["type"] for message in messages} == {f"approval.{end}"}
        told_of = [message["data"]["approval_id"] for message in messages]
        assert len(set(told_of)) == len(told_of) == (2 if end == "expired" else 1), "both were over"


async def test_a_request_that_is_asked_anew_is_told_of_with_every_asking(tmp_path: Path) -> None:
    async with told(tmp_path, events=["approval.rebound", "approval.voided"]) as (here, receiver):
        approval_id = await here.ask()
        for text in ("package handrail.note\n", "package handrail.note\n\nx := 1\n"):
            (tmp_path / "policy" / "handrail" / "note.rego").write_text(text)
            await here.gateway.policy.reload()
            await here.gateway.approval_upkeep.redecide()
            await here.gateway.pipeline.finish()
        await send(here)
        messages = receiver.told()
        assert [message["type"] for message in messages] == ["approval.rebound"] * 2
        assert {message["data"]["approval_id"] for message in messages} == {approval_id}


async def test_slack_gets_a_text_that_obeys_nothing_of_the_call(tmp_path: Path) -> None:
    async with told(tmp_path, format="slack", details=True) as (here, receiver):
        attack = "```\n<!channel> <https://evil.example|Approve> @here *bold* & \u202e"
        approval_id = await here.ask({"to": attack})
        await send(here)
        [message] = receiver.told()
        text = message["text"]
        assert f"<{here.url}/approvals/{approval_id}|Open the request>" in text
        assert text.count("```") == 2
        assert text.count("<") == 1, "the link is the only thing that Slack obeys"
        assert "&lt;!channel&gt;" in text
        assert "\u202e" not in text
        assert "\\u{202e}" in text.replace("\n  : ", "")
        assert set(message) == {"text", "unfurl_links", "unfurl_media"}
        assert "webhook-signature" not in receiver.received[0][0]


async def test_another_tenants_webhook_is_told_nothing(tmp_path: Path) -> None:
    async with told(tmp_path, tenants=["rival"]) as (here, receiver):
        await here.ask()
        assert (await send(here), rows(here), receiver.received) == (0, [], [])


async def test_without_a_webhook_nothing_is_written(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.ask()
        assert rows(here) == []


# --- receivers that fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
async def test_a_failure_is_tried_again_later_under_the_same_id_and_a_new_time(tmp_path: Path, status: int) -> None:
    async with told(tmp_path) as (here, receiver):
        await here.ask()
        receiver.answer = lambda: PlainTextResponse("no", status)
        await send(here)
        assert await send(here) == 0, "not at once"
        [row] = rows(here)
        assert (row["attempts"], row["dead"]) == (1, 0)
        assert 2 < row["next_at"] - row["created_at"] < 60
        receiver.answer = lambda: PlainTextResponse("ok")
        pass_time(here, 3600)
        assert await send(here) == 1
        assert rows(here) == []
        (one, body), (two, again) = receiver.received
        assert one["webhook-id"] == two["webhook-id"]
        assert int(two["webhook-timestamp"]) - int(one["webhook-timestamp"]) >= 3600
        assert body == again
        verify_webhook(two, again, SECRET, now=float(two["webhook-timestamp"]))
        with pytest.raises(WebhookError):
            verify_webhook(one, body, SECRET, now=float(two["webhook-timestamp"]))


async def test_a_receiver_that_asks_for_patience_gets_it(tmp_path: Path) -> None:
    async with told(tmp_path) as (here, receiver):
        await here.ask()
        receiver.answer = lambda: PlainTextResponse("later", 503, {"retry-after": "1800"})
        await send(here)
        [row] = rows(here)
        assert row["next_at"] - row["created_at"] >= 1800


async def test_a_receiver_may_name_the_hour_until_which_to_wait(tmp_path: Path) -> None:
    """RFC 9110 section 10.2.3; and however far away it is, nobody waits for longer than usual."""
    async with told(tmp_path) as (here, receiver):
        await here.ask()
        hour = formatdate(time.time() + 10 * BACKOFF_MAX_SECONDS, usegmt=True)
        receiver.answer = lambda: PlainTextResponse("later", 503, {"retry-after": hour})
        await send(here)
        [row] = rows(here)
        assert row["next_at"] - row["created_at"] >= BACKOFF_MAX_SECONDS


async def test_a_message_is_given_up_after_so_many_attempts_loudly(tmp_path: Path) -> None:
    async with told(tmp_path, attempts_max=3) as (here, receiver):
        await here.ask()
        receiver.answer = lambda: PlainTextResponse("no", 500)
        for _ in range(6):
            await send(here)
            pass_time(here, BACKOFF_MAX_SECONDS)
        assert len(receiver.received) == 3
        assert (counted(here, "dead"), counted(here, "retried")) == (1, 2)
        [row] = rows(here)
        assert row["dead"] == 1
        pass_time(here, 8 * 86_400)
        await here.gateway.deliveries.upkeep()
        assert rows(here) == [], "and forgotten after a week"


async def test_gone_means_never_again(tmp_path: Path) -> None:
    async with told(tmp_path) as (here, receiver):
        await here.ask()
        receiver.answer = lambda: PlainTextResponse("gone", 410)
        await send(here)
        assert rows(here)[0]["dead"] == 1


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async with told(tmp_path) as (here, receiver):
        await here.ask()
        receiver.answer = lambda: RedirectResponse(f"http://127.0.0.1:{receiver.port}/elsewhere", 307)
        await send(here)
        assert len(receiver.received) == 1


async def test_a_receiver_that_never_answers_delays_no_plan_and_no_other_webhook(tmp_path: Path) -> None:
    async with receiving() as slow, receiving() as quick:
        slow.stuck = asyncio.Event()
        common = {"private_network": True, "secret_file": secret_file(tmp_path)}
        hooks = {"slow": {"url": slow.url, **common}, "quick": {"url": quick.url, **common}}
        async with world(tmp_path, webhooks=hooks) as here:
            first = await here.ask()
            async with asyncio.timeout(30):
                await slow.came.wait()
                await quick.came.wait()
            bob = await here.gateway.directory.principal("default", "bob")
            answered = await here.gateway.approvals.answer(first, bob, answer=Answer.APPROVE)
            assert answered["status"] == "granted"
            assert await here.ask(), "and another plan is taken in"
            slow.stuck.set()


async def test_a_receiver_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    async with told(tmp_path, url="http://127.0.0.1:9/", timeout_seconds=2) as (here, _):
        await here.ask()
        await send(here)
        [row] = rows(here)
        assert (row["attempts"], row["dead"]) == (1, 0)


async def test_an_answer_without_end_is_not_read(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)

    async with told(tmp_path, timeout_seconds=5) as (here, receiver):
        await here.ask()
        receiver.answer = lambda: StreamingResponse(endless())
        assert await send(here) == 1
        assert rows(here) == []


# --- what survives ---------------------------------------------------------------------------------------------------


async def test_what_was_not_sent_is_sent_after_a_restart(tmp_path: Path) -> None:
    async with receiving() as receiver:
        hook = {"url": receiver.url, "private_network": True, "secret_file": secret_file(tmp_path)}
        receiver.answer = lambda: PlainTextResponse("no", 500)
        async with world(tmp_path, webhooks={"ops": hook}) as before:
            await quiet(before)
            await before.ask()
        receiver.answer = lambda: PlainTextResponse("ok")
        async with world(tmp_path, webhooks={"ops": hook}) as after:
            async with asyncio.timeout(30):
                await receiver.came.wait()
            await quiet(after)
            assert [message["type"] for message in receiver.told()] == ["approval.requested"]


async def test_a_gateway_that_is_gone_leaves_its_messages_to_the_others(tmp_path: Path) -> None:
    async with told(tmp_path) as (here, receiver):
        gateway = here.gateway
        gone = SqlLeases(gateway.engine, LeaseKind.WEBHOOK, "gw-gone")
        await gateway.log.append(Append((), [gone.take("ops", gateway.deliveries.clock() + LEASE_SECONDS)]))
        await here.ask()
        assert await send(here) == 0
        pass_time(here, LEASE_SECONDS + 1)
        assert await send(here) == 1
        assert len(receiver.received) == 1


async def test_two_gateways_send_a_message_once_and_one_that_stops_leaves_the_rest(tmp_path: Path) -> None:
    """The second looks while the first one waits for the receiver, and once more when that one has gone."""
    async with told(tmp_path) as (here, receiver):
        first = here.gateway.deliveries
        leases = SqlLeases(here.gateway.engine, LeaseKind.WEBHOOK, "gw-two")
        second = replace(first, leases=leases, _until={}, _tasks=[])
        receiver.stuck = asyncio.Event()
        await here.ask()
        sending = asyncio.create_task(first.send_due(first.webhooks["ops"]))
        await receiver.came.wait()
        assert await second.send_due(second.webhooks["ops"]) == 0
        receiver.stuck.set()
        assert await sending == 1
        await here.ask()
        assert await second.send_due(second.webhooks["ops"]) == 0
        await first._leave()
        assert await second.send_due(second.webhooks["ops"]) == 1
        assert await first.send_due(first.webhooks["ops"]) == 0
        assert len({headers["webhook-id"] for headers, _ in receiver.received}) == len(receiver.received) == 2


async def test_a_message_whose_request_is_gone_is_dropped_and_not_invented(tmp_path: Path) -> None:
    async with told(tmp_path) as (here, receiver):
        await here.ask()
        with here.gateway.engine.connect() as connection:
            connection.exec_driver_sql("DELETE FROM approvals")
            connection.commit()
        assert await send(here) == 1
        assert (rows(here), receiver.received) == ([], [])


@pytest.mark.parametrize(
    "change",
    [
        "tenant = 'rival'",
        "notice = 'approval.granted'",
        "notice = 'bogus'",
        "approval_id = 'x'",
        "message_id = 'msg_of_mine'",
        "created_at = 1",
        "created_at = 'yesterday'",
        "mac = ''",
    ],
)
async def test_a_row_that_no_gateway_wrote_is_never_sent_and_holds_up_none(tmp_path: Path, change: str) -> None:
    """It would be signed as the gateway's word, and would open sealed arguments for whoever can write rows."""
    async with told(tmp_path, details=True) as (here, receiver):
        await here.ask()
        with here.gateway.engine.connect() as connection:
            connection.exec_driver_sql(f"UPDATE outbox SET {change}")
            connection.commit()
        assert await send(here) == 1
        assert (receiver.received, [row["dead"] for row in rows(here)]) == ([], [1])
        await here.ask()
        assert await send(here) == 1
        assert len(receiver.received) == 1


async def test_a_row_of_another_webhook_or_of_a_state_that_is_over_is_not_sent(tmp_path: Path) -> None:
    async with told(tmp_path, events=["approval.refused"]) as (here, receiver):
        approval_id = await here.ask()
        [early] = here.gateway.deliveries.outbox.rows("default", approval_id, ApprovalStatus.REFUSED, time.time())
        await here.gateway.log.append(Append((), [early]))
        assert await send(here) == 1, "it is still open"
        assert (receiver.received, [row["dead"] for row in rows(here)]) == ([], [1])


def test_the_queue_is_bounded_and_what_does_not_fit_is_counted() -> None:
    outbox = SqlOutbox(None, {("default", Notice.REQUESTED): ["ops"]}, bytes(32))  # type: ignore[arg-type]
    outbox.waiting["ops"] = WAITING_MAX - 1
    assert len(outbox.rows("default", "a", ApprovalStatus.OPEN, 1.0)) == 1
    assert outbox.rows("default", "b", ApprovalStatus.OPEN, 1.0) == []
    assert outbox.dropped["ops"] == 1
    assert outbox.rows("default", "c", ApprovalStatus.GRANTED, 1.0) == []


def test_the_wait_doubles_with_jitter_and_has_an_end() -> None:
    for attempts in range(40):
        most = min(5.0 * 2**attempts, BACKOFF_MAX_SECONDS)
        waits = {backoff_seconds(attempts) for _ in range(20)}
        assert all(most / 2 <= wait <= most for wait in waits)
        assert len(waits) > 1
    assert backoff_seconds(0, 1e9) == BACKOFF_MAX_SECONDS


# --- signatures and settings -----------------------------------------------------------------------------------------


def test_a_signature_is_that_of_the_published_example() -> None:
    signer = MessageSigner("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_ed25519_messages_verify_with_the_public_half_alone() -> None:
    key = Ed25519PrivateKey.generate()
    signer = MessageSigner("whsk_" + base64.b64encode(key.private_bytes_raw()).decode())
    public = "whpk_" + base64.b64encode(key.public_key().public_bytes_raw()).decode()
    headers = signer.headers("msg_1", 100, b'{"a":1}')
    assert headers["webhook-signature"].startswith("v1a,")
    assert verify_webhook(headers, b'{"a":1}', public, now=100) == {"a": 1}
    other = "whpk_" + base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
    with pytest.raises(WebhookError):
        verify_webhook(headers, b'{"a":1}', other, now=100)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": "101"},
        {"webhook-timestamp": "x"},
        {"webhook-timestamp": "9" * 20},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v2,x"},
        {"webhook-signature": "v1,\u00e9"},
        {"webhook-id": None},
    ],
)
def test_a_changed_forged_or_incomplete_message_is_none(change: dict[str, str | None]) -> None:
    headers = dict(MessageSigner(SECRET).headers("msg_1", 100, b"{}"))
    assert verify_webhook(headers, b"{}", SECRET, now=100) == {}
    with pytest.raises(WebhookError):
        verify_webhook(headers, b"{ }", SECRET, now=100)
    changed = {name: value for name, value in {**headers, **change}.items() if value is not None}
    with pytest.raises(WebhookError):
        verify_webhook(changed, b"{}", SECRET, now=100)


def test_an_old_message_and_one_from_the_future_are_refused() -> None:
    headers = MessageSigner(SECRET).headers("msg_1", 1000, b"{}")
    for now in (1000 - 301, 1000 + 301):
        with pytest.raises(WebhookError):
            verify_webhook(headers, b"{}", SECRET, now=now)


@pytest.mark.parametrize(
    "secret", ["", "x", "whsec_", "whsec_!!", "whsec_" + "A" * 8, "whsk_" + "A" * 8, "whpk_" + "A" * 44, "two words"]
)
def test_a_secret_that_is_none_stops_the_start_and_is_not_repeated(tmp_path: Path, secret: str) -> None:
    file = secret_file(tmp_path, secret)
    settings = WebhookSettings(url="https://hooks.example/x", secret_file=file)
    with pytest.raises(SettingsError) as stopped:
        Webhook.open("ops", settings, courier)
    assert "A" * 8 not in stopped.value.detail
    assert "webhooks.ops.secret_file" in stopped.value.detail


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"url": "http://hooks.example/"}, "private_network"),
        ({"url": "https://169.254.169.254/"}, "does not dial"),
        ({"url": "https://127.0.0.1/"}, "does not dial"),
        ({"url": "https://user:pass@hooks.example/"}, "credentials"),
    ],
)
def test_an_address_that_would_be_refused_stops_the_start(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    settings = WebhookSettings(**{"secret_file": secret_file(tmp_path), **changes})
    with pytest.raises(SettingsError) as stopped:
        Webhook.open("ops", settings, courier)
    assert expected in stopped.value.detail


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"url": "https://a.example", "url_file": "x", "secret_file": "y"},
        {"url": "https://a.example"},
        {"url": "https://a.example", "format": "slack", "secret_file": "y"},
        {"url": "ftp://a.example", "secret_file": "y"},
        {"url": "https://a.example", "secret_file": "y", "events": []},
        {"url": "https://a.example", "secret_file": "y", "events": ["approval.maybe"]},
    ],
)
def test_settings_that_make_no_webhook_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        WebhookSettings(**settings)


async def test_a_secret_url_comes_from_a_file_and_stands_in_no_log(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("https://hooks.slack.com/services/T0/B0/hunter2\n")
    webhook = Webhook.open("ops", WebhookSettings(url_file=file, format="slack"), courier)
    assert webhook.url.endswith("/hunter2")
    assert "hunter2" not in repr(webhook)


def test_ids_are_random() -> None:
    outbox = SqlOutbox(None, {("default", Notice.REQUESTED): ["a", "b"]}, bytes(32))  # type: ignore[arg-type]
    made = outbox.rows("default", "x", ApprovalStatus.OPEN, time.time())
    assert len({write.parameters["message_id"] for write in made}) == 2


def test_the_body_is_the_same_in_whatever_order_a_request_is_read() -> None:
    view = {
        "hand": "mail",
        "action": "send",
        "args": {"to": "ada", "body": "x"},
        "reasons": [],
        "expires_at": "2033-05-18T03:33:20.000Z",
    }
    message = Message("msg_1", "ops", "default", Notice.REQUESTED, "a" * 32, 1e9, 0)
    bodies = {
        standard(message, shown, "https://gw.example/x", details=True) for shown in (view, dict(reversed(view.items())))
    }
    assert len(bodies) == 1
