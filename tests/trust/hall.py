"""A real gateway behind its API, with several security admins, as people and attackers use it."""

import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from handrail import SigningKey
from handrail.proposals import check_proposal, check_request, sign_act
from sqlalchemy import Table, select

from gateway.app import build
from gateway.model import Principal, Role
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app

ISSUER = "https://login.example.com"
COMPANY = {"issuer": ISSUER, "audiences": ["https://g.example"], "algorithm": "ES256"}
PEOPLE = {
    "ann": "security_admin",
    "ben": "security_admin",
    "oli": "operator",
    "bob": "approver",
    "aut": "author",
    "eve": "auditor",
    "bot": "agent",
    "pia": "privacy_officer",
}


def own_key() -> tuple[str, str]:
    """An API key that its holder made, and its public part."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return f"hr_{key_id}_{secret}", f"hr_{key_id}:{hashlib.sha256(secret.encode()).hexdigest()}"


def public_jwk(key: SigningKey | None = None) -> dict[str, str]:
    return dict((key or SigningKey.generate()).public.public_jwk())


@dataclass
class Hall:
    """One gateway and what its people ask of it."""

    gateway: Gateway
    http: httpx2.AsyncClient
    late: list[float]
    tokens: dict[str, str] = field(default_factory=dict)
    keys: dict[str, SigningKey] = field(default_factory=dict)

    async def ask(self, who: str, method: str, path: str, body: Any = None) -> httpx2.Response:
        token = self.tokens.get(who, who)
        return await self.http.request(method, path, json=body, headers={"authorization": f"Bearer {token}"})

    async def ok(self, who: str, method: str, path: str, body: Any = None, *, status: int = 200) -> dict[str, Any]:
        answer = await self.ask(who, method, path, body)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    async def refused(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, str, str | None]:
        """Status, code and the cause of a conflict."""
        answer = await self.ask(who, method, path, body)
        assert answer.status_code >= 400, answer.text
        return answer.status_code, answer.json()["code"], answer.json().get("problem")

    async def add(self, name: str, role: str, by: str = "ann", **more: Any) -> dict[str, Any]:
        """Propose somebody with a key of their own."""
        token, public = own_key()
        hands = {"hands": ["crm"]} if role == Role.HAND else {}
        body = {"id": name, "roles": [role], "api_key": public, **hands, **more}
        made = await self.ok(by, "POST", "/v1/principals", body, status=202)
        self.tokens[name] = token
        return made

    def signed(self, who: str, shown: Mapping[str, Any]) -> dict[str, Any]:
        """What ``who`` sends to sign exactly what was shown."""
        binding = check_proposal(shown)
        check_request(shown)
        body: dict[str, Any] = {"document_sha256": binding["document_sha256"]}
        if who in self.keys:
            body["act"] = sign_act("sign", binding, key=self.keys[who], by=who, audience=self.gateway.log.origin)
        return body

    async def sign(self, who: str, made: Mapping[str, Any], *, status: int = 200) -> dict[str, Any]:
        shown = await self.ok("ann", "GET", f"/v1/proposals/{made['id']}")
        return await self.ok(who, "POST", f"/v1/proposals/{made['id']}/sign", self.signed(who, shown), status=status)

    async def not_signed(self, who: str, made: Mapping[str, Any]) -> tuple[int, str, str | None]:
        body = {"document_sha256": made["document_sha256"]}
        return await self.refused(who, "POST", f"/v1/proposals/{made['id']}/sign", body)

    async def agree(self, made: Mapping[str, Any], *others: str) -> dict[str, Any]:
        """Have the others sign; with the last of them it is done."""
        for who in others:
            made = await self.sign(who, made)
        assert made["status"] == "activated", made
        return dict(made)

    async def person(self, name: str) -> Principal:
        return await self.gateway.directory.principal("default", name)

    def entries(self, *types: str) -> list[dict[str, Any]]:
        with self.gateway.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT body FROM entries ORDER BY idx").scalars().all()
        found = [json.loads(row) for row in rows]
        return [entry for entry in found if not types or entry["type"] in types]

    def stored(self, table: Table) -> list[dict[str, Any]]:
        with self.gateway.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def rows(self, *tables: str) -> dict[str, Sequence[Any]]:
        """What the directory holds, to see that nothing changed."""
        wanted = tables or ("principals", "api_keys", "issuers", "issuer_keys", "identity_links")
        with self.gateway.engine.connect() as connection:
            return {
                name: sorted(map(str, connection.exec_driver_sql(f"SELECT * FROM {name}").all())) for name in wanted
            }


@asynccontextmanager
async def hall(
    home: Path,
    url: str | None = None,
    *,
    people: Mapping[str, str] = PEOPLE,
    enrolled: Mapping[str, SigningKey] | None = None,
    claims: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Hall]:
    """A gateway in ``home``; opening the same home again is a restart, with whom it knows already.

    Args:
        claims: the issuer, where its tokens' claims make people.
    """
    late = [0.0]
    built = build(
        Settings(
            home=home,
            database={"url": url},
            server={"port": 0},
            policy={"workers": 1, "deadline_milliseconds": 2000},
            identity={"company": dict(claims or COMPANY)},
            **settings,
        ),
        clock=lambda: time.time() + late[0],
    )
    await built.start()
    transport = httpx2.ASGITransport(app=create_app(built), client=("192.0.2.7", 5))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as http:
            made = Hall(built, http, late, keys=dict(enrolled or {}))
            if people:
                wanted = [
                    NewPrincipal(name, [role], approval_jwk=public_jwk(made.keys[name]) if name in made.keys else None)
                    for name, role in people.items()
                ]
                for one in await built.directory.bootstrap(wanted):
                    made.tokens[one["principal"]["id"]] = str(one["api_key"]["token"])
            yield made
    finally:
        await built.close()
