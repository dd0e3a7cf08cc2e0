"""Canaries in every store at once: a hand is given all of them, echoes all of them, and they are found nowhere."""

import asyncio
from pathlib import Path
from typing import Any

import boto3
import httpx2
import orjson
import pytest
from moto.server import ThreadedMotoServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.settings import Settings
from tests.canaries import Canaries, found_in, rows_of
from tests.secrets.backends import TOKEN, Vault
from tests.secrets.world import HOWS, Api, World, echoed, opened
from tests.web.conftest import serving

STORES = ("sealed", "mounted", "process", "team", "amazon")


class Repeating(Api):
    """Answers with every secret that it was sent, each in the spelling that is asked for."""

    async def call(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        how = request.query_params.get("how", "raw")
        sent = [value for name, value in request.headers.items() if name.startswith("x-canary-")]
        texts = [bytes(echoed("raw" if how in {"structured", "blob"} else how, value).body).decode() for value in sent]
        return PlainTextResponse("\n".join(texts), 401 if how == "error" else 200)


async def test_no_store_s_secret_is_found_anywhere_but_at_the_api(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    canaries: Canaries,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    outside = tmp_path_factory.mktemp("stores")
    planted = {store: canaries.plant("awkward") for store in STORES}
    try:
        await _run(tmp_path, outside, planted, canaries, monkeypatch, capfd)
    finally:
        for path in outside.iterdir():  # the store itself is where it may be; the search at the end is not to find it
            path.unlink()


async def _run(
    home: Path,
    outside: Path,
    planted: dict[str, str],
    canaries: Canaries,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (outside / "mounted").write_text(planted["mounted"])
    (outside / "mounted").chmod(0o400)
    (outside / "token").write_text(TOKEN)
    monkeypatch.setenv("CANARY_OF_THE_TEST", planted["process"])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fake = Vault()
    fake.held["handrail/default/team"] = [planted["team"]]
    amazon = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    amazon.start()
    host, at = amazon.get_host_and_port()
    client = boto3.client("secretsmanager", endpoint_url=f"http://{host}:{at}", region_name="us-east-1")
    await asyncio.to_thread(client.create_secret, Name="handrail/default/amazon", SecretString=planted["amazon"])
    api = Repeating()
    routes = [Route("/v1/kv/data/{path:path}", fake.get), Route("/call", api.call)]
    try:
        async with serving(Starlette(routes=routes), Settings(server={"port": 0})) as port:
            api.url = f"http://127.0.0.1:{port}"
            stores: dict[str, dict[str, Any]] = {
                "mounted": {"kind": "files", "directory": outside},
                "process": {"kind": "environment", "variables": {"process": "CANARY_OF_THE_TEST"}},
                "team": {
                    "kind": "vault",
                    "url": api.url,
                    "mount": "kv",
                    "token_file": outside / "token",
                    "private_network": True,
                },
                "amazon": {"kind": "aws", "region": "us-east-1", "endpoint_url": f"http://{host}:{at}"},
            }
            named = {store: {"store": store, "place": "header", "parameter": f"X-Canary-{store}"} for store in planted}
            telemetry = {"traces": "console", "log_level": "debug"}
            more: dict[str, Any] = {"secrets": {"stores": stores}, "telemetry": telemetry}
            async with opened(home, api, named, **more) as world:
                await world.gateway.secrets.set(world.people["admin"], "sealed", planted["sealed"])
                await _search(world, api, planted, canaries)
    finally:
        client.close()
        amazon.stop()
    printed = "".join(capfd.readouterr())
    assert "7 dispatch" in printed, "the spans are there to be searched"
    canaries.must_not_be_in("logs and traces", printed.encode())


async def _search(world: World, api: Api, planted: dict[str, str], canaries: Canaries) -> None:
    checked = await world.gateway.secrets.check(world.people["admin"])
    assert [one["usable"] for one in checked] == [True] * len(planted), checked
    results = []
    for how in HOWS:
        step = await world.call(how)
        assert step["status"] == ("failed" if how == "error" else "succeeded"), (how, step)
        results.append(orjson.dumps(step))
    sent = "\n".join(api.headers[-1].values()).encode()
    assert sorted(found_in(canaries.values, sent)) == sorted(planted.values()), "or nothing was there to be found"
    canaries.must_not_be_in("results", b"\n".join(results))
    assert len(world.entries("SECUSE")) == len(HOWS) * len(planted)
    assert len(world.entries("SECECH")) == len(HOWS) * len(planted)
    canaries.must_not_be_in("the database", rows_of(world.gateway.engine))
    plans = {orjson.loads(one)["plan_id"] for one in results}
    async with httpx2.AsyncClient(base_url=world.url, timeout=60) as http:

        async def got(target: str, who: str) -> bytes:
            answer = await http.get(target, headers=world.tokens[who])
            assert answer.status_code == 200, f"{target}: {answer.text}"
            return answer.content

        for plan in plans:
            view = orjson.loads(await got(f"/v1/plans/{plan}", "bot"))
            canaries.must_not_be_in("a plan", orjson.dumps(view))
            for step in view["steps"]:
                canaries.must_not_be_in("a receipt", await got(f"/v1/receipts/{step['receipt_id']}", "bot"))
                canaries.must_not_be_in("why", await got(f"/v1/plans/{plan}/steps/{step['id']}/why", "eve"))
        for kind in ("ndjson", "csv", "ocsf", "cloudevents"):
            found = await got(f"/v1/audit/exports?format={kind}", "eve")
            assert b"SECUSE" in found, "or nothing was there to be searched"
            canaries.must_not_be_in(f"an export as {kind}", found)
        archive = await got("/v1/audit/exports?payloads=true", "eve")
        canaries.must_not_be_in("an evidence bundle", archive)
        canaries.must_not_be_in("metrics", await got("/metrics", "op"))
        for target in ("/v1/secrets", "/v1/secrets/sealed"):
            canaries.must_not_be_in(target, await got(target, "admin"))
