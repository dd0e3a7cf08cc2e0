"""A real gateway beside a real OpenID provider that it believes."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.approvals.world import World, world
from tests.identity.real import AUDIENCE, RealProvider, new_key, running

FIRST = new_key("first")
CLAIMS = {"machine": {"groups": ["agents", "unknown to us"]}, "app": {"groups": ["auditors"]}}


@asynccontextmanager
async def both(
    home: Path,
    claims: dict[str, Any] | None = None,
    server: dict[str, Any] | None = None,
    verify: ssl.SSLContext | bool = True,
    **identity: Any,
) -> AsyncIterator[tuple[World, RealProvider]]:
    async with running(FIRST, claims=claims or CLAIMS) as provider:
        company = {
            "issuer": provider.issuer,
            "audiences": [AUDIENCE],
            "algorithm": "RS256",
            "private_network": True,
            **identity,
        }
        async with world(home, identity={"company": company}, server=server or {}, verify=verify) as here:
            yield here, provider
