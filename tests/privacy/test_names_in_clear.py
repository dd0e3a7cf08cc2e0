"""Nobody's name lies in clear: not while they are here, and not after an erasure, in any copy of the database.

People with names that are found nowhere by chance do everything by which a row can come to name somebody: they call
through MCP and by signed plans, also for others, wait for approvals and give them at the pages and with keys of their
own, propose, sign and activate, are linked to an issuer's subject and to a name in certificates, set secrets, pin hands
and claim steps for them, are told of by a webhook, exported, and backed up.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from handrail.remote import RemoteHand
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
from gateway import backups
from gateway.certificates import NameKind
from gateway.keyring import stores as key_stores
from gateway.model import Answer, Principal, UnverifiedPlan
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.store.directory_links import TOKEN, Identity
from gateway.store.tables import hand_pins, identity_links, offers, principals, proposal_signatures, secrets
from tests.approvals.authenticator import Authenticator
from tests.approvals.world import World, asserted, enrol, person, world
from tests.pipeline.house import Brain
from tests.postgres import Server
from tests.privacy.scan import files_of, found_in
from tests.trust.hall import own_key
from tests.until import until
from tests.web.conftest import serving

AGENT, OTHER = "kunigunde.baumgartner", "leopoldine@quittenhain.example"
APPROVER, SIGNER = "zebulon.pfefferminz", "wunibald-hagebutte"
CHIEF, SECOND = "theodolinde.ackermann", "hildebrandt.sauerampfer"
HOLDER = "ottokar.zwetschgenmus"
AGREED, PROPOSED = "sieglinde.moosbrugger", "adelgunde.rohrspatz"
SUBJECT, MAILBOX = "00u-kreszentia.holunder", "walburga@fliederbusch.example"
ROLES = {
    AGENT: "agent",
    OTHER: "agent",
    APPROVER: "approver",
    SIGNER: "approver",
    SECOND: "operator",
    HOLDER: "hand",
    "officer": "privacy_officer",
    CHIEF: "security_admin",
}
"""In this order: with a second security admin, nobody is trusted on one person's word."""
ERASED = [*(name for name in ROLES if name != "officer"), AGREED, PROPOSED]
NAMES = [*ERASED, SUBJECT, MAILBOX]
ACTION = {"args_schema": {"type": "object"}, "side_effects": "none"}
HANDS = {
    "crm": {"adapter": "remote", "actions": {"note": ACTION}},
    "paper": {
        "adapter": "http",
        "base_url": "https://paper.example",
        "secrets": {"token": {}},
        "actions": {"print": {**ACTION, "method": "POST", "path": "/print"}},
    },
}


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


async def join(here: World, brain: Brain) -> None:
    root, directory = await person(here, "root"), here.gateway.directory
    public = {**brain.key.as_dict(private=False), "kid": brain.kid, "alg": "Ed25519"}
    for name, role in ROLES.items():
        if role == "security_admin":
            await directory.add_issuer(root, "their-brain", public, [AGENT, OTHER])
        added = await directory.add_principal(root, NewPrincipal(name, [role], ["crm"] if role == "hand" else None))
        here.keys[name] = added["api_key"]["token"]
    await directory.link(root, AGENT, Identity(TOKEN, "default", "https://issuer.example", SUBJECT))
    await directory.link_certificate(root, AGENT, (NameKind.EMAIL, MAILBOX))


async def agree(here: World) -> None:
    """Two people's change of trust, and one that waits for its second."""
    for name in (AGREED, PROPOSED):
        here.keys[name], public = own_key()
        body = {"id": name, "roles": ["approver"], "api_key": public}
        made = await send(here, CHIEF, "POST", "/v1/principals", body, 202)
        if name == AGREED:
            seen = {"document_sha256": made["document_sha256"]}
            await send(here, "root", "POST", f"/v1/proposals/{made['id']}/sign", seen)
    assert (await send(here, AGREED, "GET", "/v1/me"))["id"] == AGREED


async def keep_and_claim(here: World, brain: Brain, agent: Principal) -> None:
    """A secret that somebody sets, and a step of a hand that somebody pins and somebody claims."""
    await send(here, CHIEF, "POST", "/v1/secrets", {"name": "token", "value": "a value for a header"}, 201)
    await here.gateway.hands.settled()
    offered = (await send(here, SECOND, "GET", "/v1/hands/crm"))["offered_digest"]
    await send(here, SECOND, "POST", "/v1/hands/crm/pin", {"digest": offered})
    await send(here, APPROVER, "POST", f"/v1/approvals/{await ask(here, brain, AGENT, agent, CRM)}", YES)
    seen: list[str | None] = []
    origin = here.gateway.log.origin
    actions = {"note": lambda _args, step: seen.append(step.subject)}
    with RemoteHand(here.url, here.keys[HOLDER], "crm", actions, issuer=origin) as hand:
        assert await asyncio.to_thread(hand.once) == 1
    assert seen == [AGENT]


YES = {"answer": "approve"}
MAIL = {"id": "s0", "hand": "mail", "action": "send", "args": {"to": "someone", "body": "hello"}}
CRM = {"id": "s0", "hand": "crm", "action": "note", "args": {}}


async def ask(here: World, brain: Brain, sub: str, caller: Principal, action: Any = MAIL) -> str:
    """A plan for ``sub`` that ``caller`` sends; the request of its held step."""
    payload = brain.payload(action, sub=sub, aud=here.gateway.log.origin)
    plan = UnverifiedPlan(brain.sign(payload), caller, here.gateway.clock())
    view = await here.gateway.pipeline.submit(plan, wait_seconds=30)
    return str(view["steps"][0]["approval_id"])


async def live(here: World, told: list[bytes]) -> None:
    """Everything by which somebody can be named."""
    brain = Brain("their-brain")
    await join(here, brain)
    agent = await person(here, AGENT)
    await agree(here)
    await keep_and_claim(here, brain, agent)
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
    await send(here, APPROVER, "POST", f"/v1/approvals/{own}", YES)
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


async def backed_up(here: World, into: Path) -> list[Path]:
    """What ``handrail backup create`` writes."""
    await asyncio.to_thread(backups.create, here.gateway.settings, into)
    found = files_of(into)
    assert found
    return found


async def retire(here: World) -> None:
    """Two people take the right of one of them away, whom one person may not erase before."""
    gone = await send(here, "root", "DELETE", f"/v1/principals/{CHIEF}", expect=202)
    seen = {"document_sha256": gone["document_sha256"]}
    await send(here, CHIEF, "POST", f"/v1/proposals/{gone['id']}/sign", seen)


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
        places += server.files_of(database["database"]["url"])
    async with receiver(told) as port:
        secret = tmp_path / "secret"
        secret.write_text("whsec_" + "A" * 43 + "=\n")
        hook = {"url": f"http://127.0.0.1:{port}/", "private_network": True, "details": True, "secret_file": secret}
        async with world(home, webhooks={"ops": hook}, hands=HANDS, **database) as here:
            await live(here, told)
            copies = [dump(here, kept / "before")]
            if not database:
                copies.append(copied(home / "home", kept / "before.db"))
            copies += await backed_up(here, kept / "backup-before")
            with here.gateway.engine.connect() as connection:
                tables = (principals, identity_links)
                old = [row.name_key for table in tables for row in connection.execute(table.select())]
                assert len(here.gateway.log.names.open(connection, old)) == len(old)
                for table in (secrets, offers, hand_pins, proposal_signatures):
                    assert connection.execute(table.select()).all(), table.name
            assert found_in([*files_of(*places), *copies, *await said(here, kept, capfd)], NAMES) == []
            await retire(here)
            for name in ERASED:
                await erase(here, name)
            copies.append(dump(here, kept / "after"))
            copies += await backed_up(here, kept / "backup-after")
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
