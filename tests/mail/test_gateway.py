"""Mail and webhooks behind a real gateway: what is judged is who gets what, and the use of a secret is on record."""

import base64
import json
import re
import secrets
import shutil
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web
from handrail import Plan, Signer, SigningKey
from sqlalchemy import func, select
from standardwebhooks import Webhook

from audit.tables import entries
from gateway.app import build
from gateway.calls import HandResult
from gateway.model import UnverifiedPlan
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from hand_adapters.contract import HandError
from tests.authority import Authority
from tests.hands.hands_support import call
from tests.mail.conftest import ARGS, MAIL
from tests.mail.servers import PASSWORD, USER, Mailbox, authenticate, real
from tests.web.conftest import serving

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def bundle(directory: Path, hand: str, action: str) -> Path:
    """The shipped rules and the one that docs/mail.md shows, with a grant for one action."""
    shutil.copytree(ROOT / "policies", directory)
    rules = directory / "handrail"
    (shown,) = re.findall(r"```rego\n(.*?)```", (ROOT / "docs" / "mail.md").read_text(encoding="utf-8"), re.DOTALL)
    (rules / "mailing").mkdir()
    (rules / "mailing" / "mailing.rego").write_text(shown)
    with (rules / "decisions.rego").open("a") as every:
        every.write("\ndecisions contains decision if some decision in data.handrail.mailing.decisions\n")
    grant = {"roles": ["agent"], "hand": hand, "actions": [action], "external": True, "unattended": True}
    grants = rules / "grants" / "data.json"
    grants.write_text(json.dumps({**json.loads(grants.read_text()), "table": [grant]}))
    return directory


class World:
    """A gateway with one hand, pinned."""

    def __init__(self, gateway: Any, hand: str, signer: Signer, people: dict[str, Any]) -> None:
        self.gateway, self.hand, self.signer, self.people = gateway, hand, signer, people

    async def call(self, action: str, args: dict[str, Any]) -> dict[str, Any]:
        plan = Plan(request="Write to ann@example.org, and show it to ben@example.org.")
        plan.step(self.hand, action, args)
        unverified = UnverifiedPlan(self.signer.sign(plan).encode(), self.people["bot"], time.time())
        view = await self.gateway.pipeline.submit(unverified, wait_seconds=30)
        step: dict[str, Any] = view["steps"][0]
        return {**step, "plan_id": view["plan_id"]}

    def recorded(self, kind: str) -> int:
        with self.gateway.engine.connect() as connection:
            query = select(func.count()).select_from(entries).where(entries.c.type == kind)
            return int(connection.execute(query).scalar_one())


async def require_held_to_its_host(world: World, action: str, args: dict[str, Any]) -> None:
    """Where a decision names hosts, the hand reaches no other."""
    manifest = world.gateway.hands.manifest("default", world.hand)

    async def run(hosts: tuple[str, ...] | None) -> HandResult:
        one = call(world.hand, action, args, manifest.digest, egress_hosts=hosts)
        result: HandResult = await world.gateway.hands.run(one)
        return result

    for hosts in (("other.example",), ()):
        with pytest.raises(HandError) as caught:
            await run(hosts)
        assert (caught.value.reason, caught.value.failure) == (Reason.POLICY_OBLIGATION, HandFailure.NOT_EXECUTED)
    for reached in (("127.0.0.1",), None):
        assert (await run(reached)).structured


@asynccontextmanager
async def opened(directory: Path, name: str, hand: dict[str, Any], action: str) -> AsyncIterator[World]:
    from gateway.web.asgi import create_app

    home = directory / "home"
    home.mkdir()
    policy = {"bundle": bundle(directory / "policies", name, action)}
    gateway = build(Settings(home=home, server={"port": 0}, policy=policy, hands={name: hand}))
    async with serving(create_app(gateway), gateway.settings) as port:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            assert (await http.get("/readyz")).status_code == 200
        names = [("admin", "security_admin"), ("op", "operator"), ("bot", "agent")]
        people = await gateway.directory.bootstrap([NewPrincipal(name, [role]) for name, role in names])
        ids = [one["principal"]["id"] for one in people]
        found = {one: await gateway.directory.principal("default", one) for one in ids}
        key = SigningKey.generate()
        await gateway.directory.add_issuer(found["admin"], "brain", key.public.jwk(), ["bot"], attests_request=True)
        await gateway.hands.settled()
        await gateway.hands.pin(name, (await gateway.hands.offer(name)).digest, found["op"])
        yield World(gateway, name, Signer("brain", key, gateway.log.origin, "default", "bot"), found)


async def test_a_message_is_judged_by_who_gets_it_and_the_password_is_on_record(
    tmp_path: Path, listen: Any, authority: Authority, server_tls: ssl.SSLContext
) -> None:
    mailbox = Mailbox()
    login = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    port = await listen(real(mailbox, **login), server_tls)
    mail = {**MAIL, "port": port, "security": "tls", "user": USER, "ca_file": authority.certificate}
    hand = {
        "adapter": "mail",
        "private_network": True,
        "mail": mail,
        "actions": {"send": {}},
        "secrets": {"mail": {"place": "password"}},
    }
    async with opened(tmp_path, "mail", hand, "send") as world:
        without = await world.call("send", ARGS)
        assert (without["status"], without["error"]["code"]) == ("failed", "secret.missing")
        await world.gateway.secrets.set(world.people["admin"], "mail", PASSWORD)
        sent = await world.call("send", ARGS)
        assert (sent["status"], sent["result"]["structured"]["recipients"]) == ("succeeded", ARGS["to"])
        assert world.recorded("SECUSE") == 1
        hidden = await world.call("send", {**ARGS, "bcc": ["ben@example.org"]})
        assert hidden["status"] == "denied"
        assert {reason["code"] for reason in hidden["decision"]["reasons"]} == {"mailing.hidden"}
        stranger = await world.call("send", {**ARGS, "to": ["evil@y.example"]})
        assert (stranger["status"], stranger["error"]["code"]) == ("denied", "schema.args")
        forged = await world.call("send", {**ARGS, "subject": "=?utf-8?q?x?="})
        assert (forged["status"], forged["error"]["problem"]) == ("denied", "mail.subject")
        assert len(mailbox.taken) == 1
        mailbox.refused["ann@example.org"] = "550 no such user"
        refused = await world.call("send", ARGS)
        assert (refused["status"], refused["error"]["code"]) == ("failed", "hand.failed")
        await require_held_to_its_host(world, "send", ARGS)


async def test_a_webhook_is_signed_by_the_secret_of_the_hand_which_nobody_is_shown(tmp_path: Path) -> None:
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    got: list[tuple[bytes, dict[str, str]]] = []

    async def receive(request: web.Request) -> web.Response:
        got.append((await request.read(), dict(request.headers)))
        return web.Response(status=202, text=f"you know {secret}")

    application = web.Application()
    application.router.add_post("/in/alerts", receive)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hand = {
        "adapter": "webhook",
        "base_url": f"http://127.0.0.1:{runner.addresses[0][1]}/in",
        "private_network": True,
        "actions": {"alert": {"path": "/alerts", "args_schema": SCHEMA}},
        "secrets": {"signing": {"place": "signature"}},
    }
    try:
        async with opened(tmp_path, "hooks", hand, "alert") as world:
            await world.gateway.secrets.set(world.people["admin"], "signing", secret)
            sent = await world.call("alert", {"text": "hello"})
            assert (sent["status"], sent["result"]["structured"]) == ("succeeded", {"status": 202})
            assert secret not in json.dumps(sent)
            assert world.recorded("SECUSE") == 1
            ((body, headers),) = got
            assert Webhook(secret).verify(body, headers) == {"text": "hello"}
            await require_held_to_its_host(world, "alert", {"text": "hello"})
    finally:
        await runner.cleanup()
