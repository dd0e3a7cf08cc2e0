"""What an authorization server answers is believed as far as the standards go, and no further."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.connections.server import AuthorizationServer, ConsentOver, Tokens
from gateway.errors import Unavailable
from gateway.reasons import Reason
from gateway.settings import ConnectionSettings, Settings
from hand_adapters.fetcher import HttpFetcher
from tests.connections.world import HUB, Api, opened, server
from tests.web.conftest import serving

GOOD = {"access_token": "a" * 20, "token_type": "Bearer", "expires_in": 300, "refresh_token": "r" * 20}
NOW = 1_800_000_000.0


class Hostile:
    """A server that answers what it is told to."""

    def __init__(self) -> None:
        self.answer: Response = JSONResponse(GOOD)
        self.metadata: dict[str, Any] = {}
        self.asked: list[dict[str, list[str]]] = []
        self.url = ""

    async def describe(self, request: Request) -> Response:
        own = {name: f"{self.url}/{name}" for name in ("authorization_endpoint", "token_endpoint")}
        return JSONResponse({"issuer": self.url, **own, **self.metadata})

    async def give(self, request: Request) -> Response:
        self.asked.append(parse_qs((await request.body()).decode()))
        return self.answer


@pytest.fixture
async def hostile() -> AsyncIterator[Hostile]:
    running = Hostile()
    routes = [
        Route("/.well-known/oauth-authorization-server", running.describe),
        Route("/token_endpoint", running.give, methods=["POST"]),
        Route("/elsewhere", running.give, methods=["POST"]),
        Route("/revoke", running.give, methods=["POST"]),
    ]
    async with serving(Starlette(routes=routes), Settings(server={"port": 0})) as port:
        running.url = f"http://127.0.0.1:{port}"
        yield running


@asynccontextmanager
async def client(hostile: Hostile, secret: str = "secret-of-it", **changes: Any) -> AsyncIterator[AuthorizationServer]:
    told = {"issuer": hostile.url, "client_id": "gw", "client_secret": "s", "targets": ("https://api.example",)}
    settings = ConnectionSettings(**{**told, "private_network": True, "timeout_seconds": 5, **changes})
    reason = Reason.CONNECTION_UNAVAILABLE

    async def read() -> str:
        return secret

    fetcher = HttpFetcher("test", private_network=settings.private_network, ca_file=None, reason=reason)
    made = AuthorizationServer("hub", settings, fetcher, read, clock=lambda: NOW)
    try:
        yield made
    finally:
        await made.close()


async def refreshed(hostile: Hostile, **changes: Any) -> Tokens:
    async with client(hostile, **changes) as made:
        return await made.refresh(Tokens("a" * 20, "r" * 20, NOW, NOW, ("read",)))


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({**GOOD, "token_type": "DPoP"}),
        JSONResponse({**GOOD, "token_type": None}),
        JSONResponse({**GOOD, "access_token": None}),
        JSONResponse({**GOOD, "access_token": "short"}),
        JSONResponse({**GOOD, "access_token": "with\r\nX-Header: y"}),
        JSONResponse({**GOOD, "access_token": "a" * 9000}),
        JSONResponse({**GOOD, "expires_in": -1}),
        JSONResponse({**GOOD, "expires_in": 0}),
        JSONResponse({**GOOD, "expires_in": 1e30}),
        JSONResponse({**GOOD, "expires_in": True}),
        JSONResponse({**GOOD, "refresh_token": 7}),
        JSONResponse({**GOOD, "scope": ["read"]}),
        JSONResponse([GOOD]),
        Response(b'{"access_token": "aaaaaaaaaaaa", "access_token": "b"}'),
        Response(b"x" * 70_000),
        Response(b"not json"),
        JSONResponse(GOOD, 500),
        JSONResponse({"error": "temporarily_unavailable"}, 503),
        JSONResponse({"error": "<script>"}, 400),
        JSONResponse({"error": "invalid_client"}, 401),
        RedirectResponse("/elsewhere", 307),
    ],
    ids=lambda answer: f"{answer.status_code} {bytes(answer.body)[:60]!r}",
)
async def test_an_answer_that_is_no_good_token_gives_none_and_ends_nothing(hostile: Hostile, answer: Response) -> None:
    hostile.answer = answer
    with pytest.raises(Unavailable) as caught:
        await refreshed(hostile)
    assert caught.value.reason is Reason.CONNECTION_UNAVAILABLE == "connection.unavailable"
    assert len(hostile.asked) == 1, "no redirect is followed, and nothing is asked twice"
    assert "aaaa" not in caught.value.detail


async def test_only_invalid_grant_ends_a_consent(hostile: Hostile) -> None:
    hostile.answer = JSONResponse({"error": "invalid_grant"}, 400)
    with pytest.raises(ConsentOver):
        await refreshed(hostile)


async def test_a_refresh_token_stays_where_no_new_one_is_given_and_times_are_told(hostile: Hostile) -> None:
    hostile.answer = JSONResponse({"access_token": "n" * 20, "token_type": "bearer", "expires_in": "100"})
    found = await refreshed(hostile, resource="https://api.example")
    assert (found.refresh_token, found.scopes) == ("r" * 20, ("read",))
    assert (found.due_at, found.expires_at) == (NOW + 80, NOW + 100)
    assert hostile.asked[0]["resource"] == ["https://api.example"]
    hostile.answer = JSONResponse({"access_token": "n" * 20, "token_type": "Bearer", "expires_in": 3600})
    assert (await refreshed(hostile)).due_at == NOW + 3540
    hostile.answer = JSONResponse({"access_token": "n" * 20, "token_type": "Bearer", "scope": "read write"})
    endless = await refreshed(hostile)
    assert (endless.due_at, endless.expires_at, endless.scopes) == (None, None, ("read", "write"))


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": "ftp://127.0.0.1/token"},
        {"token_endpoint": "http://user:pw@127.0.0.1/token"},
        {"authorization_endpoint": "http://127.0.0.1/a#b"},
        {"code_challenge_methods_supported": ["plain"]},
        {"token_endpoint": "http://127.0.0.1/" + "x" * 2000},
    ],
)
async def test_metadata_of_somebody_else_or_without_pkce_is_none(hostile: Hostile, metadata: dict[str, Any]) -> None:
    hostile.metadata = metadata
    with pytest.raises(Unavailable):
        await refreshed(hostile)
    assert hostile.asked == []


async def test_an_address_that_may_not_be_dialled_is_not(hostile: Hostile) -> None:
    endpoints = {"authorization_endpoint": "https://127.0.0.1/a", "token_endpoint": "https://127.0.0.1/t"}
    with pytest.raises(Unavailable):
        await refreshed(hostile, issuer=None, private_network=False, **endpoints)


@pytest.mark.parametrize(("status", "revoked"), [(200, True), (503, False)])
async def test_what_is_revoked_is_the_refresh_token_and_a_server_that_cannot_is_told(
    hostile: Hostile, status: int, *, revoked: bool
) -> None:
    hostile.metadata = {"revocation_endpoint": f"{hostile.url}/revoke"}
    hostile.answer = Response(status_code=status)
    tokens = Tokens("a" * 20, "r" * 20, None, None, ())
    async with client(hostile, client_authentication="client_secret_post") as made:
        assert await made.revoke(tokens) is revoked
        assert hostile.asked[0]["token"] == ["r" * 20]
        assert hostile.asked[0]["token_type_hint"] == ["refresh_token"]
        assert hostile.asked[0]["client_secret"] == ["secret-of-it"]
    hostile.metadata = {}
    async with client(hostile) as made:
        assert await made.revoke(tokens) is False
    assert len(hostile.asked) == 1


async def test_a_client_assertion_is_for_the_issuer_alone(hostile: Hostile) -> None:
    key = ECKey.generate_key("P-256", {"kid": "gw-1", "alg": "ES256"}, private=True)
    method = "private_key_jwt"
    async with client(hostile, orjson.dumps(key.as_dict(private=True)).decode(), client_authentication=method) as made:
        await made.refresh(Tokens("a" * 20, "r" * 20, NOW, NOW, ()))
    [assertion] = hostile.asked[0]["client_assertion"]
    decoded = jwt.decode(assertion, key, algorithms=["ES256"])
    assert decoded.header["kid"] == "gw-1"
    assert (decoded.claims["aud"], decoded.claims["iss"], decoded.claims["sub"]) == (hostile.url, "gw", "gw")


@pytest.mark.parametrize(
    "secret",
    ["no json at all", '{"kty":"oct","alg":"HS256","k":"c2VjcmV0LXNlY3JldA"}', '{"kty":"EC"}', "[1,2,3,4,5]"],
)
async def test_a_secret_that_is_no_private_key_signs_nothing(hostile: Hostile, secret: str) -> None:
    async with client(hostile, secret, client_authentication="private_key_jwt") as made:
        with pytest.raises(Unavailable):
            await made.refresh(Tokens("a" * 20, "r" * 20, NOW, NOW, ()))
    assert hostile.asked == []


async def test_a_real_server_takes_the_gateways_assertions(tmp_path: Path, api: Api) -> None:
    key = ECKey.generate_key("P-256", {"kid": "gw-1", "alg": "ES256", "use": "sig"}, private=True)
    method = {"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256"}
    hub = {**HUB, **method, "jwks": {"keys": [key.as_dict(private=False)]}}
    del hub["client_secret"]
    secret = orjson.dumps(key.as_dict(private=True)).decode()
    changes = {"client_authentication": "private_key_jwt"}
    async with server(tmp_path, hub) as provider, opened(tmp_path / "one", api, provider, changes, secret) as world:
        assert (await world.connect("ann")).status_code == 200
        assert await world.whose("ann") == "ann"
