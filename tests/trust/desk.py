"""Pages at which people sign changes of trust: a real gateway behind a real server, three security admins, an operator
and an auditor, and their security keys in software."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.canonical import b64url_decode, b64url_encode
from gateway.store.directory import NewPrincipal
from gateway.two_person import Kind
from gateway.webauthn import Assertion
from tests.approvals.authenticator import Authenticator
from tests.approvals.visitor import Visitor, hidden
from tests.approvals.world import World, enrol, person, world
from tests.trust.hall import own_key

ADMINS = ("root", "ann", "ben")


@asynccontextmanager
async def desk(home: Path, **settings: Any) -> AsyncIterator[World]:
    async with world(home, **settings) as here:
        directory = here.gateway.directory
        root = await directory.principal("default", "root")
        oli = await directory.add_principal(root, NewPrincipal("oli", ["operator"]))
        here.keys["oli"] = str(oli["api_key"]["token"])
        for name in ADMINS[1:]:
            here.keys[name] = str((await directory.add_administrator(name))["api_key"]["token"])
        yield here


async def propose(here: World, name: str = "cat", role: str = "operator", by: str = "root") -> dict[str, Any]:
    """Somebody who is to decide, proposed at the terminal."""
    body = {"id": name, "roles": [role], "api_key": own_key()[1]}
    answer = await here.http.post("/v1/principals", json=body, headers=here.bearer(by))
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def lift(here: World, by: str = "oli") -> dict[str, Any]:
    """The lifting of a freeze, which a second person activates."""
    body = {"scope": "hand", "subject": "mail", "cause": "drill"}
    frozen = (await here.http.post("/v1/freezes", json=body, headers=here.bearer(by))).json()
    document = {"kind": str(Kind.FREEZE_LIFT), "document": {"freeze": frozen["id"]}}
    answer = await here.http.post("/v1/proposals", json=document, headers=here.bearer(by))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def proposal(here: World, proposal_id: str, who: str = "root") -> dict[str, Any]:
    return dict((await here.http.get(f"/v1/proposals/{proposal_id}", headers=here.bearer(who))).json())


async def enrolled(here: World, who: str, kind: str = "ES256") -> Authenticator:
    """A security key of one's own, by a ticket of another admin."""
    key = Authenticator(kind)
    other = "ann" if who == "root" else "root"
    ticket = (await here.gateway.directory.offer_enrolment(await person(here, other), who))["ticket"]
    await enrol(here, key, who, ticket)
    return key


async def fields(one: Visitor, proposal_id: str) -> dict[str, str]:
    return hidden((await one.get(f"/proposals/{proposal_id}")).text)


def parts(asserted: Assertion) -> dict[str, str]:
    """What the page's script puts into the form."""
    return {
        "payload": b64url_encode(asserted.payload),
        "credential_id": asserted.credential_id,
        "authenticator_data": b64url_encode(asserted.authenticator_data),
        "client_data_json": b64url_encode(asserted.client_data_json),
        "signature": b64url_encode(asserted.signature),
    }


async def payload(one: Visitor, proposal_id: str) -> bytes:
    answer = await one.get(f"/proposals/{proposal_id}/challenge")
    assert answer.status_code == 200, answer.text
    asked = answer.json()
    said = b64url_decode(asked["payload"])
    assert asked["challenge"] == b64url_encode(hashlib.sha256(said).digest())
    return said


def changed(said: bytes, **members: Any) -> bytes:
    return json.dumps({**json.loads(said), **members}, sort_keys=True, separators=(",", ":")).encode()


async def sign(
    one: Visitor, key: Authenticator, proposal_id: str, act: str = "sign", said: bytes | None = None, **changes: Any
) -> Any:
    """Sign as the page does, or not quite."""
    asserted = key.sign(said if said is not None else await payload(one, proposal_id), **changes)
    form = {**await fields(one, proposal_id), **parts(asserted), "act": act}
    return await one.post(f"/proposals/{proposal_id}", form)


async def at(here: World, who: str) -> Visitor:
    one = Visitor(here)
    assert (await one.log_in(who)).status_code == 303
    return one
