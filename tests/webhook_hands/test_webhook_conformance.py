"""A webhook hand keeps its promises (``handrail hands check``) at a real receiver, which checks each signature."""

import base64
import secrets

from aiohttp import web
from standardwebhooks import Webhook

from hand_adapters.conformance import Options, Promise, Status, check_adapter
from hand_adapters.webhook import WebhookAdapter
from tests.resilience.servers import serving

SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
SCHEMA = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 40}}, "required": ["text"]}


async def test_a_webhook_hand() -> None:
    ids: list[str] = []

    async def receive(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): text for name, text in request.headers.items()}
        Webhook(SECRET).verify(await request.read(), headers)
        ids.append(headers["webhook-id"])
        return web.Response(status=204)

    async with serving(receive) as port:
        settings = {
            "adapter": "webhook",
            "base_url": f"http://127.0.0.1:{port}/in",
            "private_network": True,
            "actions": {"alert": {"path": "/alerts", "args_schema": SCHEMA}},
            "secrets": {"signing": {"place": "signature"}},
        }
        options = Options(examples=6, seed=5, allow_effects=frozenset({"alert"}), secrets={"signing": SECRET})
        report = await check_adapter(WebhookAdapter, settings, options=options)
    assert not report.broken, report.text()
    kept = {one.promise for one in report.verdicts if one.status is Status.KEPT}
    assert kept >= {Promise.DECLARATION, Promise.SCHEMAS, Promise.SECRETS}, report.text()
    assert len(ids) >= options.examples
