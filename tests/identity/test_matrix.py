"""Every route and page with every role by every kind of credential, on a real gateway beside a real provider.

What a role may do does not hang on how its holder proved who they are; and a credential of one door opens no other.
Nothing that a route would change is there to be changed: requests name things that do not exist, and bodies are empty.
"""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.certificates import Certificate
from gateway.console.routes import table as pages_of
from gateway.model import TRUSTED, Principal, Role
from gateway.permissions import EVERYONE, ROLE_PERMISSIONS, Permission, permits
from gateway.store.directory import NewPrincipal
from gateway.web.anthropic_requests import is_anthropic
from gateway.web.oauth import TOKEN_PATH
from gateway.web.routes import TABLE
from gateway.web.routing import Access, Endpoint
from tests.approvals.world import World, person
from tests.authority import Authority
from tests.identity.issuer import signed
from tests.identity.real import AUDIENCE
from tests.identity.town import FIRST, both
from tests.trust.hall import own_key

HEADERS = {"origin": "", "sec-fetch-site": "same-origin"}
NOBODY = "nobody-of-this-name"
HOOK = "/v1/hooks/claude-code"
"""Its answers are 200 and a denial to whoever may not (tests/web/test_hooks.py)."""
ROUTES = [one for one in TABLE if one.access is not Access.OPEN and one.path != HOOK]
CODES = {"permission_error": "auth.forbidden", "authentication_error": "auth.missing"}
"""How the Messages API calls them."""
HANDS = ["tool"]
"""Of whoever has to be bound: the role ``hand``, and with it everybody whom claims make."""
GROUPS = {f"{role}s": [str(role)] for role in Role}


@dataclass(frozen=True)
class Town:
    here: World
    credentials: Mapping[tuple[str, Role], str]


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """One principal of each role for each kind of credential."""
    claims = {"roles_claim": "/groups", "roles": GROUPS, "privileged_roles": sorted(TRUSTED), "hands": HANDS}
    authority = Authority(tmp_path / "ca")
    server = {"trusted_proxies": ["127.0.0.1"], "proxy_client_certificates": True}
    async with both(tmp_path, server=server, **claims) as (here, provider):
        root = await person(here, "root")
        directory = here.gateway.directory
        found: dict[tuple[str, Role], str] = {}
        now = int(time.time())
        body = {"iss": provider.issuer, "aud": AUDIENCE, "iat": now, "exp": now + 600, "client_id": "app"}
        for role in Role:
            for name in (f"{role}-key", f"{role}-linked", f"{role}-certified"):
                token, public = own_key()
                hands = HANDS if role is Role.HAND else None
                asked = {"id": name, "roles": [str(role)], "hands": hands, "ttl_days": 1, "api_key": public}
                alone = directory.add_principal(root, NewPrincipal(**asked))
                await agreed(here, root, "principal.add", asked, alone)
                found["api key", role] = found.get(("api key", role), token)
            linked = {"id": f"{role}-linked", "issuer": "company", "subject": f"linked {role}"}
            alone_linked = directory.link_subject(root, *linked.values())
            await agreed(here, root, "principal.link", linked, alone_linked)
            found["linked token", role] = signed({**body, "sub": f"linked {role}"}, FIRST, kid="first")
            grouped = {**body, "sub": f"claimed {role}", "groups": [f"{role}s", "others"]}
            found["token with claims", role] = signed(grouped, FIRST, kid="first")
            file = authority.issue(str(role))[0]
            shown = {"id": f"{role}-certified", "certificate": file.read_text()}
            alone_shown = directory.link_certificate(root, shown["id"], Certificate.read_pem(shown["certificate"]))
            await agreed(here, root, "principal.link", shown, alone_shown)
            found["certificate", role] = authority.header_of(file)
        yield Town(here, found)


async def agreed(here: World, root: Principal, name: str, asked: Any, alone: Awaitable[Any]) -> None:
    """Make a change; once there is a second security admin, with their signature."""
    made, done = await here.gateway.trust_changes.or_propose(root, name, asked, alone)
    if not done:
        second = await person(here, "security_admin-key")
        await here.gateway.proposals.sign(made["id"], second, document_sha256=made["document_sha256"])


def path_of(endpoint: Endpoint) -> str:
    return re.sub(r"\{\w+\}", NOBODY, endpoint.path)


async def status_of(http: httpx2.AsyncClient, endpoint: Endpoint, headers: Mapping[str, str]) -> tuple[int, str]:
    """Status and reason; the body of an answer that goes on is not waited for."""
    async with http.stream(endpoint.method, path_of(endpoint), headers=headers) as answer:
        if answer.status_code < 400:
            return answer.status_code, ""
        await answer.aread()
        told = answer.json()
        if is_anthropic(endpoint.path):
            return answer.status_code, CODES.get(told["error"]["type"], "")
        return answer.status_code, str(told.get("code", ""))


@pytest.mark.parametrize("kind", ["api key", "linked token", "token with claims", "certificate"])
async def test_a_role_opens_the_same_routes_by_every_credential(town: Town, kind: str) -> None:
    for role in Role:
        await walk(town, kind, role)


async def walk(town: Town, kind: str, role: Role) -> None:
    credential = town.credentials[kind, role]
    headers = {"client-cert": credential} if kind == "certificate" else {"authorization": f"Bearer {credential}"}
    me = (await town.here.http.get("/v1/me", headers=headers)).json()
    assert me["roles"] == [role], kind
    granted = ROLE_PERMISSIONS[role] | EVERYONE
    for endpoint in ROUTES:
        status, code = await status_of(town.here.http, endpoint, headers)
        allowed = not isinstance(endpoint.access, Permission) or endpoint.access in granted
        refused = (400 if endpoint.path == TOKEN_PATH else 403, "auth.forbidden")  # 400: RFC 6749 section 5.2
        if allowed:
            assert status != 401, (endpoint.method, endpoint.path, code)
            assert (status, code) != refused, (endpoint.method, endpoint.path)
        else:
            assert (status, code) == refused, (endpoint.method, endpoint.path)


READS_PAGES = (Permission.APPROVALS_READ, Permission.PROPOSALS_READ)
"""What people come to the pages for where nobody has anything to connect."""


async def test_a_session_opens_pages_alone_and_a_key_none_of_them(town: Town) -> None:
    for role in Role:
        await visit(town, role)


async def visit(town: Town, role: Role) -> None:
    here = town.here
    key = town.credentials["api key", role]
    pages = [one for one in pages_of(here.gateway) if one.access is not None and one.method == "GET"]
    assert pages
    async with httpx2.AsyncClient(base_url=here.url) as browser:
        form = {"api_key": key, "next": "/approvals"}
        entered = await browser.post("/login", data=form, headers={**HEADERS, "origin": here.url})
        person = await here.gateway.directory.authenticate(key, time.time())
        asks = permits(person, Permission.PLANS_SUBMIT) or permits(person, Permission.MCP_USE)
        may = not asks and any(permits(person, permission) for permission in READS_PAGES)
        assert entered.is_redirect is may, entered.text
        for one in pages:
            path = re.sub(r"\{\w+\}", NOBODY, one.path)
            shown = await browser.get(path)
            if not may:
                assert shown.headers.get("location", "").startswith("/login"), path
            elif one.access is not None and permits(person, one.access):
                assert shown.status_code in {200, 400, 404}, (path, shown.status_code)
            else:
                assert shown.status_code == 403, path
            stranger = await here.http.get(path, headers={"authorization": f"Bearer {key}"})
            assert stranger.headers.get("location", "").startswith("/login"), path
        for endpoint in ROUTES:
            status, code = await status_of(browser, endpoint, {})
            assert (status, code) == (401, "auth.missing"), endpoint.path
