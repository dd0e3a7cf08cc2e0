"""Nobody's name lies in clear: not while they are here, and not after an erasure, in any copy of the database.

People with names that are found nowhere by chance do everything by which a row can come to name somebody: they call
through MCP and by signed plans, also for others, wait for approvals and give them at the pages and with keys of their
own, propose and activate, are linked to an issuer's subject, told of by a webhook, and exported.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.names import Names
from gateway import key_stores
from gateway.model import Answer, Principal, UnverifiedPlan
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.store.directory_links import TOKEN, Identity
from gateway.store.tables import identity_links, principals
from tests.approvals.authenticator import Authenticator
from tests.approvals.world import World, asserted, enrol, person, world
from tests.pipeline.house import Brain
from tests.postgres import Server
from tests.privacy.scan import files_of, found_in
from tests.until import until
from tests.web.conftest import serving

AGENT, OTHER = "kunigunde.baumgartner", "leopoldine@quittenhain.example"
APPROVER, SIGNER = "zebulon.pfefferminz", "wunibald-hagebutte"
CHIEF, SECOND = "theodolinde.ackermann", "hildebrandt.sauerampfer"
SUBJECT = "00u-kreszentia.holunder"
ROLES = {
    AGENT: "agent",
    OTHER: "agent",
    APPROVER: "approver",
    SIGNER: "approver",
    CHIEF: "security_admin",
    SECOND: "operator",
    "officer": "privacy_officer",
}
ERASED = [name for name in ROLES if name != "officer"]
NAMES = [*ERASED, SUBJECT]


@contextlib.asynccontextmanager
async def receiver(told: list[bytes]) -> AsyncIterator[int]:
    """Of webhooks."""

    async def take(request: Request) -> Response:
        told.append(await request.body())
        return Response()

    app = Starlette(routes=[Route("/", take, methods=["POST"])])
    async with serving(app, Settings(server={"port": 0})) as port:
        yield port


async def send(here: World, who: str, method: str, path: str, body: Any = None, expect: int = 200) -> Any:
    answer = await here.http.request(method, path, headers=here.bearer(who), json=body)
    assert answer.status_code == expect, answer.text
    return answer.json()


async def join(here: World) -> None:
    root = await person(here, "root")
    for name, role in ROLES.items():
        added = await here.gateway.directory.add_principal(root, NewPrincipal(name, [role]))
        here.keys[name] = added["api_key"]["token"]
    await here.gateway.directory.link(root, AGENT, Identity(TOKEN, "default", "https://issuer.example", SUBJECT))


async def ask(here: World, brain: Brain, sub: str, caller: Principal) -> str:
    """A plan for ``sub`` that ``caller`` sends; the request of its held step."""
    action = {"id": "s0", "hand": "mail", "action": "send", "args": {"to": "someone", "body": "hello"}}
    payload = brain.payload(action, sub=sub, aud=here.gateway.log.origin)
    plan = UnverifiedPlan(brain.sign(payload), caller, here.gateway.clock())
    view = await here.gateway.pipeline.submit(plan, wait_seconds=30)
    return str(view["steps"][0]["approval_id"])


async def live(here: World, told: list[bytes]) -> None:
    """Everything by which somebody can be named."""
    await join(here)
    root, agent = await person(here, "root"), await person(here, AGENT)
    brain = Brain("their-brain")
    public = {**brain.key.as_dict(private=False), "kid": brain.kid, "alg": "Ed25519"}
    await here.gateway.directory.add_issuer(root, "their-brain", public, [AGENT, OTHER])
    own, for_other = await ask(here, brain, AGENT, agent), await ask(here, brain, OTHER, agent)
    await by_mcp(here)
    # At the pages, with a session; and with a security key.
    visit = await here.http.post(
        "/login",
        data={"api_key": here.keys[APPROVER], "next": "/approvals"},
        headers={"origin": here.url, "sec-fetch-site": "same-origin"},
    )
    cookie = {"cookie": visit.headers["set-cookie"].partition(";")[0]}
    here.http.cookies.clear()
    assert APPROVER in (await here.http.get("/approvals", headers=cookie)).text
    await send(here, APPROVER, "POST", f"/v1/approvals/{own}", {"answer": "approve"})
    key = Authenticator()
    await enrol(here, key, SIGNER)
    given = await asserted(here, key, for_other, SIGNER)
    await here.gateway.approvals.answer(for_other, await person(here, SIGNER), asserted=given)
    refused = await ask(here, brain, AGENT, agent)
    await here.gateway.approvals.answer(refused, await person(here, APPROVER), answer=Answer.REFUSE)
    # Two people's change, of somebody who is frozen.
    frozen = {"scope": "principal", "subject": OTHER, "cause": "drill", "why": "only a drill"}
    freeze = await send(here, CHIEF, "POST", "/v1/freezes", frozen, 201)
    lift = {"kind": "freeze.lift", "document": {"freeze": freeze["id"]}}
    proposal = await send(here, CHIEF, "POST", "/v1/proposals", lift, 201)
    assert proposal["proposed_by"] == CHIEF
    seen = {"document_sha256": proposal["document_sha256"]}
    done = await send(here, SECOND, "POST", f"/v1/proposals/{proposal['id']}/activate", seen)
    assert (done["proposed_by"], done["decided_by"]) == (CHIEF, SECOND)
    shown = await send(here, "dee", "GET", f"/v1/approvals/{own}")
    assert (shown["requested_by"], shown["answers"][0]["approver"]) == (AGENT, APPROVER)
    await until(lambda: len(told) >= 3)
    assert any(AGENT.encode() in one for one in told), "those who are to be told are"


async def by_mcp(here: World) -> None:
    async with (
        httpx2.AsyncClient(headers=here.bearer(OTHER), timeout=30) as http,
        Client(streamable_http_client(f"{here.url}/mcp", http_client=http)) as client,
    ):
        assert "mail__send" in [tool.name for tool in (await client.list_tools()).tools]


def dump(here: World, into: Path) -> Path:
    """Every row of every table, bytes as they are."""
    with here.gateway.engine.connect() as connection, into.open("wb") as file:
        for table in here.gateway.engine.dialect.get_table_names(connection):
            for row in connection.execute(text(f'SELECT * FROM "{table}"')):
                for value in row:
                    file.write(bytes(value) if isinstance(value, bytes | memoryview) else repr(value).encode())
                    file.write(b"\0")
    return into


def copied(home: Path, into: Path) -> Path:
    with contextlib.closing(sqlite3.connect(home / "handrail.db")) as hot:
        hot.execute("VACUUM INTO ?", (str(into),))
    return into


async def erase(here: World, name: str) -> None:
    asked = await send(here, "officer", "POST", "/v1/privacy/erasures", {"person": name, "acts": True}, 202)

    async def done() -> bool:
        found = await send(here, "officer", "GET", f"/v1/privacy/erasures/{asked['erasure_id']}")
        return bool(found["state"] == "done")

    await until(done)


async def said(here: World, into: Path, captured: Any) -> list[Path]:
    """What the process wrote, shows to whoever looks at it, and gives out of the log."""
    metrics = (await here.http.get("/metrics", headers=here.bearer("dee"))).text
    entries = (await here.http.get("/v1/audit/entries?limit=1000", headers=here.bearer("dee"))).text
    bundle = await here.http.get("/v1/audit/exports", headers=here.bearer("dee"))
    assert (bundle.status_code, "entries" in entries) == (200, True)
    output = captured.readouterr()
    (into / "said").write_text(output.out + output.err + metrics + entries)
    (into / "bundle").write_bytes(bundle.content)
    return [into / "said", into / "bundle"]


async def test_nobodys_name_lies_in_clear_before_or_after_an_erasure(
    tmp_path: Path, database: dict[str, Any], request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[bytes] = []
    home, kept = tmp_path / "world", tmp_path / "kept"
    kept.mkdir()
    places = [home / "home"]
    if database:
        server: Server = request.getfixturevalue("postgres_server")
        places.append(server.socket_directory / "data")
    async with receiver(told) as port:
        secret = tmp_path / "secret"
        secret.write_text("whsec_" + "A" * 43 + "=\n")
        hook = {"url": f"http://127.0.0.1:{port}/", "private_network": True, "details": True, "secret_file": secret}
        async with world(home, webhooks={"ops": hook}, **database) as here:
            await live(here, told)
            copies = [dump(here, kept / "before")]
            if not database:
                copies.append(copied(home / "home", kept / "before.db"))
            with here.gateway.engine.connect() as connection:
                tables = (principals, identity_links)
                old = [row.name_key for table in tables for row in connection.execute(table.select())]
                assert len(here.gateway.log.names.open(connection, old)) == len(old)
            assert found_in([*files_of(*places), *copies, *await said(here, kept, capfd)], NAMES) == []
            for name in ERASED:
                await erase(here, name)
            copies.append(dump(here, kept / "after"))
            assert found_in([*files_of(*places), *copies, *await said(here, kept, capfd)], NAMES) == []
            for name in ERASED:
                await send(here, "officer", "POST", "/v1/privacy/access", {"person": name}, 404)
            shown = await send(here, "dee", "GET", "/v1/approvals")
            assert all(one["requested_by"].startswith("p-") for one in shown["approvals"]), "by pseudonym, for good"
            # The same person again is somebody new.
            back = NewPrincipal(AGENT, ["agent"])
            await here.gateway.directory.add_principal(await person(here, "root"), back)
            again = await person(here, AGENT)
            assert again.pseudonym not in {one["requested_by"] for one in shown["approvals"]}
    if not database:
        nothing_opens(kept / "before.db", home / "home")


def nothing_opens(copy: Path, home: Path) -> None:
    """The copy from before, the master key, and the epoch keys of today."""
    epochs = EpochKeys(home / "epochs", key_stores.open_root(Settings(home=home)).derive("epoch"))
    engine = make_engine(f"sqlite:///{copy}")
    try:
        with engine.connect() as connection:
            keys = [row.name_key for row in connection.execute(principals.select())]
            assert keys
            assert Names(engine, epochs).open(connection, keys) == {}
    finally:
        engine.dispose()
