"""The MCP endpoints as OAuth protected resources: RFC 9728 metadata and challenges, RFC 8707 audiences."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from gateway.settings import Settings
from gateway.web.resources import METADATA_PATH, audiences, challenged, is_metadata
from tests.approvals.world import World, world
from tests.identity.issuer import signed
from tests.identity.real import AUDIENCE
from tests.identity.town import FIRST, both
from tests.web.rpc import INITIALIZE, JSON_RPC

ROLES = {"roles_claim": "/groups", "roles": {"agents": ["agent"]}}
HAND = "/mcp/mail"


class Town:
    def __init__(self, here: World, issuer: str) -> None:
        self.here, self.issuer, self.base = here, issuer, here.gateway.settings.public_url

    def token(self, aud: Any) -> str:
        now = int(time.time())
        body = {"iss": self.issuer, "sub": "bot", "aud": aud, "iat": now, "exp": now + 300, "client_id": "app"}
        return signed({**body, "groups": ["agents"]}, FIRST, kid="first")

    async def opens(self, path: str, aud: Any) -> int:
        headers = JSON_RPC | {"authorization": f"Bearer {self.token(aud)}"}
        return (await self.here.http.post(path, content=INITIALIZE, headers=headers)).status_code


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with both(tmp_path, **ROLES, scopes=["handrail.use"]) as (here, provider):
        yield Town(here, provider.issuer)


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Town]:
    async with both(tmp_path, **ROLES) as (here, provider):
        yield Town(here, provider.issuer)


async def test_a_client_finds_from_the_refusal_where_to_get_a_token_and_for_what(town: Town) -> None:
    http = town.here.http
    for path in ("/mcp", HAND, "/mcp/no-such-hand"):
        refused = await http.post(path, content=INITIALIZE, headers=JSON_RPC)
        assert refused.status_code == 401
        named = f"{town.base}{METADATA_PATH}{path}"
        assert refused.headers["www-authenticate"] == (
            f'Bearer realm="handrail", resource_metadata="{named}", scope="handrail.use"'
        )
        found = await http.get(f"{METADATA_PATH}{path}")
        assert found.status_code == 200
        assert found.json() == {
            "resource": f"{town.base}{path}",
            "authorization_servers": [town.issuer],
            "bearer_methods_supported": ["header"],
            "resource_name": "Handrail",
            "scopes_supported": ["handrail.use"],
            "tls_client_certificate_bound_access_tokens": False,
        }


async def test_a_token_without_the_scope_is_told_which(town: Town) -> None:
    headers = JSON_RPC | {"authorization": f"Bearer {town.token(f'{town.base}/mcp')}"}
    refused = await town.here.http.post("/mcp", content=INITIALIZE, headers=headers)
    assert refused.status_code == 403
    challenge = refused.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert f'resource_metadata="{town.base}{METADATA_PATH}/mcp", scope="handrail.use"' in challenge


@pytest.mark.parametrize(
    ("path", "aud", "taken"),
    [
        ("/mcp", "{base}/mcp", True),
        (HAND, "{base}/mcp", True),
        (HAND, "{base}/mcp/mail", True),
        (HAND, AUDIENCE, True),
        ("/mcp", "{base}/mcp/mail", False),
        (HAND, "{base}/mcp/other", False),
        (HAND, "{base}/mcp/mail/", False),
        (HAND, "{base}", False),
        (HAND, "http://elsewhere.example/mcp/mail", False),
        (HAND, ["{base}/mcp/mail", "http://elsewhere.example/mcp"], False),
    ],
)
async def test_a_token_opens_the_resource_that_it_names_and_no_other(
    plain: Town, path: str, aud: Any, taken: bool
) -> None:
    texts = [one.format(base=plain.base) for one in (aud if isinstance(aud, list) else [aud])]
    named = texts if isinstance(aud, list) else texts[0]
    assert await plain.opens(path, named) == (200 if taken else 401)


async def test_a_token_for_a_tool_is_no_token_for_the_api(plain: Town) -> None:
    for aud in (f"{plain.base}/mcp", f"{plain.base}{HAND}"):
        headers = {"authorization": f"Bearer {plain.token(aud)}"}
        for path in ("/v1/me", "/v1/plans/p", "/openapi.json", "/mcp/mail/x", "/mcpx"):
            assert (await plain.here.http.get(path, headers=headers)).status_code == 401, path


async def test_without_an_issuer_there_is_nobody_to_get_a_token_from(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        refused = await here.http.post("/mcp", content=INITIALIZE, headers=JSON_RPC)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="handrail"')
        absent = await here.http.get(f"{METADATA_PATH}/mcp")
        assert (absent.status_code, absent.json()["kind"]) == (404, "issuer of access tokens")
        assert "id" not in absent.json()


@pytest.mark.parametrize(
    "path",
    [
        METADATA_PATH,
        METADATA_PATH + "/",
        METADATA_PATH + "/mcp/",
        METADATA_PATH + "/mcp/mail/more",
        METADATA_PATH + "/v1/plans",
        METADATA_PATH + "/mcp\n",
        "/x" + METADATA_PATH + "/mcp",
    ],
)
def test_what_is_no_resource_has_no_open_metadata(path: str) -> None:
    assert not is_metadata(path)


async def test_what_is_no_resource_asks_for_a_key_like_every_other_path(plain: Town) -> None:
    async with httpx2.AsyncClient(base_url=plain.base) as http:
        for path in (METADATA_PATH, f"{METADATA_PATH}/mcp/mail/more", f"{METADATA_PATH}/v1/plans"):
            assert (await http.get(path)).status_code == 401


FORGED = [
    '/mcp/mail", resource_metadata="https:evil.example',
    "/mcp/mail\r\nset-cookie: a=b",
    "/mcp/mail\n",
    "/mcp/m\u00e4il",
    "/mcp/\u4fe1",
    "/mcp/mail\\",
    "/mcp/" + "m" * 64,
]


@pytest.mark.parametrize("path", FORGED, ids=ascii)
async def test_a_path_writes_nothing_into_the_challenge(plain: Town, path: str) -> None:
    """A link to this very gateway would else name the attacker's metadata, and so whom a client logs in at."""
    escaped = quote(path)
    async with httpx2.AsyncClient(base_url=plain.base) as http:
        for asked in (escaped, f"{METADATA_PATH}{escaped}"):
            refused = await http.get(asked)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="handrail"')
            assert "set-cookie" not in refused.headers
    assert not is_metadata(METADATA_PATH + path)
    assert audiences(plain.here.gateway.settings, path) == ()


def test_other_paths_take_no_more_audiences_and_other_challenges_stay() -> None:
    settings = Settings()
    assert audiences(settings, "/v1/plans") == audiences(settings, "/mcp/a/b") == audiences(settings, "/mcp/") == ()
    assert challenged(settings, "/mcp", 'DPoP algs="Ed25519"') == 'DPoP algs="Ed25519"'
