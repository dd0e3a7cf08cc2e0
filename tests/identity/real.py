"""A real OpenID provider in a process of its own: the certified ``oidc-provider`` of npm, by ``make tools``."""

import asyncio
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx2
from joserfc.jwk import RSAKey

from gateway.canonical import b64url_encode
from tests.meta.tree import ROOT
from tests.services import require

AUDIENCE: Final = "https://handrail.test"
CALLBACK: Final = "http://127.0.0.1/callback"
VERIFIER: Final = "v" * 64
SECRET: Final = "s" * 48
_FOLDER: Final = ROOT / ".tools" / "oidc"


@dataclass
class RealProvider:
    """The provider's process."""

    issuer: str
    process: asyncio.subprocess.Process

    async def rotate(self, *keys: RSAKey) -> None:
        """Have it sign with the first of these, and publish all."""
        await self._tell({"jwks": _private(*keys)})

    async def claim(self, **claims: Any) -> None:
        """Have it put other claims into the tokens of a client from now on."""
        await self._tell({"claims": claims})

    async def group(self, **groups: list[str]) -> None:
        """Have people be in other groups from now on."""
        await self._tell({"groups": groups})

    async def live(self, seconds: int) -> None:
        """Have access tokens live that long from now on."""
        await self._tell({"lifetime_seconds": seconds})

    async def machine(self, client: str = "machine") -> dict[str, Any]:
        """A token by client credentials (RFC 6749 section 4.4)."""
        async with httpx2.AsyncClient() as http:
            data = {"grant_type": "client_credentials", "scope": "handrail"}
            answer = await http.post(f"{self.issuer}/token", data=data, auth=(client, SECRET))
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

    async def person(self, name: str) -> dict[str, Any]:
        """Tokens of a person by the code flow with PKCE (RFC 7636), as a browser would go through it."""
        challenge = b64url_encode(hashlib.sha256(VERIFIER.encode()).digest())
        query = {
            "client_id": "app",
            "response_type": "code",
            "redirect_uri": CALLBACK,
            "scope": "openid handrail",
            "resource": AUDIENCE,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "state": "st",
            "nonce": "n",
        }
        async with httpx2.AsyncClient() as http:
            callback = await log_in(http, f"{self.issuer}/auth", query, name)
            code = parse_qs(urlsplit(callback).query)["code"][0]
            data = {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": CALLBACK,
                "code_verifier": VERIFIER,
                "resource": AUDIENCE,
            }
            answer = await http.post(f"{self.issuer}/token", data=data, auth=("app", SECRET))
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

    async def _tell(self, document: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(document).encode() + b"\n")
        await self.process.stdin.drain()
        line = await self.process.stdout.readline()
        assert line, "the provider ended"
        return dict(json.loads(line))


async def log_in(http: httpx2.AsyncClient, url: str, query: dict[str, str] | None, name: str) -> str:
    """Go through the provider's pages as a person with a browser: the URL that it sends them back to."""
    answer = await http.get(url, params=query)
    for _ in range(10):
        while answer.is_redirect:
            target = str(answer.next_request.url) if answer.next_request else ""
            if not target.startswith(str(answer.url.copy_with(path="/", query=None))):
                return target
            answer = await http.get(target)
        form = re.search(r'<form[^>]* action="([^"]+)"', answer.text)
        assert form, answer.text
        prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
        assert prompt, answer.text
        data = {"prompt": prompt[1], "login": name, "password": "any"}
        answer = await http.post(str(answer.url.join(form[1])), data=data)
    raise AssertionError("the provider asks for ever")


def new_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"}, private=True)


@asynccontextmanager
async def running(
    key: RSAKey,
    *,
    claims: dict[str, Any] | None = None,
    callback: str = CALLBACK,
    groups: dict[str, list[str]] | None = None,
    lifetime_seconds: int = 300,
    clients: Sequence[Mapping[str, Any]] = (),
) -> AsyncIterator[RealProvider]:
    """Start the provider and end it.

    Args:
        claims: client -> claims of its access tokens.
        callback: where the code flow leads back to.
        groups: person -> groups in their ID token, for the scope ``groups``.
        clients: further ones, as RFC 7591 has their metadata.
    """
    own = ROOT / ".tools" / "node" / "bin" / "node"
    node = str(own) if own.exists() else shutil.which("node") or ""
    require(node and (_FOLDER / "node_modules").is_dir(), "oidc-provider", "Run: make tools")
    shared = {"client_secret": SECRET, "token_endpoint_auth_method": "client_secret_basic"}
    machine = {**shared, "grant_types": ["client_credentials"], "redirect_uris": [], "response_types": []}
    told = {
        "jwks": _private(key),
        "audience": AUDIENCE,
        "algorithm": "RS256",
        "lifetime_seconds": lifetime_seconds,
        "scopes": ["handrail"],
        "claims": claims or {},
        "groups": groups or {},
        "clients": [
            {**machine, "client_id": "machine"},
            {**shared, "client_id": "app", "grant_types": ["authorization_code"], "redirect_uris": [callback]},
            *clients,
        ],
    }
    process = await asyncio.create_subprocess_exec(
        node,
        str(_FOLDER / "provider.mjs"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    provider = RealProvider("", process)
    try:
        provider.issuer = (await provider._tell(told))["issuer"]
        yield provider
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _private(*keys: RSAKey) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=True) for key in keys]}
